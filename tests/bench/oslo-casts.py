#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures how many casts a second oslo.messaging's own server takes: the executor `threading`, nova-compute's target
and serializer, and a snapshot_instance that does nothing.
  oslo-casts.py decode BODY [ROUNDS]     no broker: the driver's listener and the dispatcher, one recorded body
  oslo-casts.py broker URL HOST COUNT    takes that many from the queue compute.HOST
Prints {"name": ..., "rounds": [casts a second, ...]}."""
import json
import re
import sys
import threading
import time

import kombu
import oslo_messaging
from nova import objects, rpc
from nova.objects import base
from oslo_config import cfg
from oslo_messaging._drivers import amqpdriver, impl_rabbit
from oslo_messaging.rpc import dispatcher

ROUND_S = 1
WAIT_S = 240


class Compute:
    """Takes the place of nova.compute.manager.ComputeManager."""
    target = oslo_messaging.Target(version="6.1")

    def __init__(self, wanted=0):
        self.wanted, self.taken = wanted, 0
        self.first = self.last = 0.0
        self.lock = threading.Lock()
        self.done = threading.Event()

    def snapshot_instance(self, _context, image_id, instance):
        assert image_id and instance.uuid
        with self.lock:
            self.last = time.monotonic()
            self.first = self.first or self.last
            self.taken += 1
            if self.taken == self.wanted:
                self.done.set()


def serializer():
    """Returns the serializer that nova.rpc.get_server makes."""
    kind = rpc.ProfilerRequestContextSerializer if rpc.profiler else rpc.RequestContextSerializer
    return kind(base.NovaObjectSerializer())


class Nothing:
    """Takes the place of connection and channel, which are only used for acks."""
    prefetch_size = 0
    no_ack_consumers = frozenset()

    def basic_ack(self, *_args, **_kwargs):
        pass


def decode_round(body, number, seconds):
    """Returns (casts per second, the next number). `body` makes the body of a number."""
    compute = Compute()
    listener = amqpdriver.RpcAMQPListener(Nothing(), Nothing())
    dispatch = dispatcher.RPCDispatcher([compute], serializer(), dispatcher.DefaultRPCAccessPolicy)
    began = now = time.monotonic()
    while now - began < seconds:
        message = kombu.Message(body(number + compute.taken), channel=Nothing(), delivery_tag=1,
                                content_type="application/json", content_encoding="utf-8")
        listener(impl_rabbit.RabbitMessage(message))
        dispatch.dispatch(listener.incoming.pop(0))
        now = time.monotonic()
    return compute.taken / (now - began), number + compute.taken


def decode(path, rounds=5):
    with open(path, encoding="utf-8") as file:
        before, after = re.split(r'(?<=_unique_id\\": \\")[0-9a-f]{32}', file.read())
    rates, number = [], 0
    for _ in range(int(rounds)):
        rate, number = decode_round(lambda n: f"{before}{n:032x}{after}".encode(), number, ROUND_S)
        rates.append(rate)
    return rates


def serve(url, host, count):
    conf = cfg.ConfigOpts()
    conf([])
    transport = oslo_messaging.get_rpc_transport(conf, url=url)
    conf.set_override("control_exchange", "nova")
    compute = Compute(int(count))
    target = oslo_messaging.Target(exchange="nova", topic="compute", server=host)
    server = oslo_messaging.get_rpc_server(
        transport, target, [compute], executor="threading", serializer=serializer(),
        access_policy=dispatcher.DefaultRPCAccessPolicy)
    server.start()
    try:
        if not compute.done.wait(WAIT_S):
            raise SystemExit(f"oslo-casts.py: {compute.taken} casts came, not {count}")
    finally:
        server.stop()
        server.wait()
        transport.cleanup()
    return [(compute.taken - 1) / (compute.last - compute.first)]


def main():
    objects.register_all()
    how = {"decode": decode, "broker": serve}[sys.argv[1]]
    rates = how(*sys.argv[2:])
    print(json.dumps({"name": sys.argv[1], "rounds": [round(rate) for rate in rates]}))


if __name__ == "__main__":
    main()
