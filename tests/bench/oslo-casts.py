#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same casts by oslo.messaging, as nova-compute takes them (nova's serializer, the executor `threading`).
  oslo-casts.py decode CAST.json SECONDS
  oslo-casts.py serve URL HOST COUNT"""
import json
import sys
import threading
import time

import oslo_messaging
from nova import objects, rpc
from nova.objects import base
from oslo_config import cfg
from oslo_messaging._drivers import common
from oslo_messaging.rpc import dispatcher


class Endpoint:
    target = oslo_messaging.Target(version="6.5")

    def __init__(self, wanted=0):
        self.served, self.wanted, self.done = 0, wanted, threading.Event()
        self.first = self.last = 0
        self.lock = threading.Lock()

    def snapshot_instance(self, ctxt, image_id, instance):
        assert instance.uuid and instance.root_device_name and image_id and ctxt.request_id
        with self.lock:
            self.last = time.monotonic()
            self.first = self.first or self.last
            self.served += 1
            if self.served == self.wanted:
                self.done.set()


class Incoming:
    """What the driver hands to the dispatcher."""
    client_timeout = None

    def __init__(self, body):
        message = common.deserialize_msg(json.loads(body))
        self.ctxt = {key[len("_context_"):]: message.pop(key) for key in list(message)
                     if key.startswith("_context_")}
        self.message = message


def main():
    objects.register_all()
    serializer = rpc.RequestContextSerializer(base.NovaObjectSerializer())
    if sys.argv[1] == "decode":
        with open(sys.argv[2]) as file:
            body = json.dumps(common.serialize_msg(json.load(file)))
        endpoint = Endpoint()
        dispatch = dispatcher.RPCDispatcher([endpoint], serializer,
                                            dispatcher.DefaultRPCAccessPolicy)
        began = time.monotonic()
        while time.monotonic() - began < float(sys.argv[3]):
            for _ in range(20):
                dispatch.dispatch(Incoming(body))
        print(f"{endpoint.served / (time.monotonic() - began):.0f}")
        return
    conf = cfg.ConfigOpts()
    conf([])
    transport = oslo_messaging.get_rpc_transport(conf, url=sys.argv[2])
    conf.set_override("control_exchange", "nova")
    endpoint = Endpoint(int(sys.argv[4]) // 16 * 16)
    server = oslo_messaging.get_rpc_server(
        transport, oslo_messaging.Target(exchange="nova", topic="compute", server=sys.argv[3]),
        [endpoint], executor="threading", serializer=serializer)
    server.start()
    if not endpoint.done.wait(240):
        raise SystemExit("oslo-casts.py: it took too long")
    server.stop()
    server.wait()
    print(f"{(endpoint.served - 1) / (endpoint.last - endpoint.first):.0f}")


if __name__ == "__main__":
    main()
