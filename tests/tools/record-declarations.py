#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records what the installed oslo.messaging declares at a real RabbitMQ as a nova-compute does, in each layout that it
knows (tests/lib/layouts.py).
    tests/tools/record-declarations.py [FOLDER]     tests/data/declarations by default
A file has the methods of AMQP that a nova-compute sends, in their order: those of its RPC server, those of a client
that makes a call, and those of its notifications."""
import importlib.metadata
import inspect
import json
import os
import re
import sys
import threading

import amqp

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import layouts  # noqa: E402
import supervisor  # noqa: E402
import tap  # noqa: E402
from broker import Broker  # noqa: E402
from nova_service import NovaService, forget_queue_manager  # noqa: E402
from paths import TOP  # noqa: E402

HOST = "node1"
OPERATIONS = {"exchange_declare": "exchange", "queue_declare": "queue", "queue_bind": "bind",
              "basic_consume": "consume", "basic_qos": "qos"}
# A step's members, and the parameters of py-amqp's methods that they come from.
MEMBERS = {
    "exchange": {"name": "exchange", "type": "type", "durable": "durable", "auto_delete": "auto_delete",
                 "passive": "passive", "arguments": "arguments"},
    "queue": {"name": "queue", "durable": "durable", "auto_delete": "auto_delete", "exclusive": "exclusive",
              "passive": "passive", "arguments": "arguments"},
    "bind": {"name": "queue", "exchange": "exchange", "key": "routing_key", "arguments": "arguments"},
    "consume": {"name": "queue", "no_ack": "no_ack", "exclusive": "exclusive", "arguments": "arguments"},
    "qos": {"prefetch": "prefetch_count", "global": "a_global"},
}


class Recorder:
    """Wraps the methods of py-amqp's channels, through which everything of oslo.messaging goes."""

    def __init__(self):
        self._lock = threading.Lock()
        self._steps = []  # (connection, step)
        for method, operation in OPERATIONS.items():
            self._wrap(method, operation)

    def _wrap(self, name, operation):
        real = getattr(amqp.Channel, name)
        signature = inspect.signature(real)

        def method(channel, *args, **more):
            given = signature.bind(channel, *args, **more)
            given.apply_defaults()
            step = {"op": operation}
            for member, parameter in MEMBERS[operation].items():
                value = given.arguments[parameter]
                step[member] = dict(value or {}) if member == "arguments" else value
            with self._lock:
                self._steps.append((id(channel.connection), step))
            return real(channel, *args, **more)
        setattr(amqp.Channel, name, method)

    def consumed(self):
        """Returns how many consumers were started."""
        with self._lock:
            return sum(step["op"] == "consume" for _connection, step in self._steps)

    def take(self):
        """Returns the steps so far, and forgets them. The steps of each connection are together, because the
        connections' threads run in any order."""
        with self._lock:
            steps, self._steps = self._steps, []
        connections = list(dict.fromkeys(connection for connection, _step in steps))
        return [step for each in connections for connection, step in steps if connection == each]


def record(recorder, folder, url, options):
    """Returns the steps of each part of a nova-compute, whose conductor has the same options."""
    recorded = {}
    with NovaService(folder, url, options, topic="conductor", host="node9", process="nova-conductor") as conductor, \
            NovaService(folder, url, options, host=HOST) as compute:
        conductor.serve()
        tap.wait_for("consumers of the conductor", lambda: recorder.consumed() == 3)

        def part(name):
            recorded[name] = _anonymous(recorder.take(), compute)
        recorder.take()
        compute.serve()
        tap.wait_for("consumers", lambda: recorder.consumed() == 3)
        part("server")
        compute.call("conductor", "node9", "test_call")
        part("client")
        compute.notify("info")
        part("notifier")
        for service in (compute, conductor):
            if service.manager:
                forget_queue_manager(service.manager)
    return recorded


def _anonymous(steps, service):
    """Replaces what each process or host has of its own."""
    text = json.dumps(steps).replace(f"compute.{HOST}", "compute.<host>")
    if service.manager:
        text = re.sub(re.escape(":".join(service.manager)) + r":\d+", "<host>:<process>:<n>", text)
    return json.loads(re.sub(r"(?<=_)[0-9a-f]{32}\b", "<id>", text))


def write(path, recording):
    """One step a line."""
    with open(path, "w") as file:
        file.write("{\n")
        members = [f'"{name}": {json.dumps(recording[name])}' for name in ("oslo", "options")]
        for name in ("server", "client", "notifier"):
            lines = ",\n".join(f"  {json.dumps(step)}" for step in recording[name])
            members.append(f'"{name}": [\n{lines}\n]')
        file.write(",\n".join(members) + "\n}\n")


def record_all(folder, target):
    version = importlib.metadata.version("oslo.messaging")
    recorder = Recorder()
    with Broker(folder, management=True) as broker:
        for layout, options in layouts.known_layouts().items():
            recording = {"oslo": version, "options": options,
                         **record(recorder, folder, broker.add_vhost(layout), options)}
            write(os.path.join(target, f"oslo-{version.split('.')[0]}-{layout}.json"), recording)


def main():
    target = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(TOP, "tests/data/declarations"))
    os.makedirs(target, exist_ok=True)
    sys.exit(supervisor.run(lambda folder: record_all(folder, target)))


if __name__ == "__main__":
    main()
