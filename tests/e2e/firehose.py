# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records every message that a broker passes on, with RabbitMQ's firehose, and compares what must be the same whether
nova-compute or novasnapd sent it."""
import json
import socket
import threading

import amqp

OURS = "novasnap.snapshot.progress"
EVENT_END = "event_finish_with_failure"
PROPERTIES = ("priority", "delivery_mode", "content_type", "content_encoding", "expiration")


class Firehose:
    def __init__(self, broker):
        self.broker = broker
        self.messages = []
        self.ended = threading.Event()
        self.connection = self.thread = None

    def __enter__(self):
        self.broker.ctl("trace_on")
        self.connection = amqp.Connection(f"127.0.0.1:{self.broker.port}", userid="guest",
                                          password="guest")
        self.connection.connect()
        channel = self.connection.channel()
        queue = channel.queue_declare("", exclusive=True).queue
        channel.queue_bind(queue, "amq.rabbitmq.trace", "publish.#")
        channel.basic_consume(queue, no_ack=True, callback=self._take)
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join(10)
        self.connection.close()

    def _listen(self):
        while not self.ended.is_set():
            try:
                self.connection.drain_events(timeout=0.5)
            except socket.timeout:
                pass

    def _take(self, message):
        headers = message.headers
        body = message.body if isinstance(message.body, str) else bytes(message.body).decode()
        try:
            inner = json.loads(body)
            if "oslo.message" in inner:
                inner = json.loads(inner["oslo.message"])
        except ValueError:
            return
        self.messages.append({"exchange": headers.get("exchange_name"),
                              "routing_key": headers["routing_keys"][0],
                              "properties": headers["properties"], "message": inner})

    def mark(self):
        return len(self.messages)


def recorded(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def shape(value):
    """Returns the keys of a payload and the types of its values, and of an object its name and version."""
    if isinstance(value, dict):
        return {key: item if key in ("nova_object.name", "nova_object.version") else shape(item)
                for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


def is_of(message, server):
    return server in json.dumps(message)


def steps(messages, server):
    """Returns the messages about a server after its cast, each as a dictionary that must be the same for two agents. It
    leaves out calls with which nova-compute only reads, or refreshes its records of networks."""
    found = []
    for entry in messages:
        inner = entry["message"]
        args = inner.get("args") or {}
        name = inner.get("method") or inner.get("event_type")
        instance = args.get("objinst") or {}
        if entry["exchange"] == "" or name == OURS or not is_of(inner, server):
            continue
        if entry["routing_key"].startswith("compute") or "scheduler" in entry["routing_key"]:
            continue
        if str(args.get("objmethod")).startswith(("get_", "refresh")):
            continue
        if instance.get("nova_object.name") not in (None, "Instance", "InstanceFault"):
            continue
        data = instance.get("nova_object.data", {})
        found.append({
            "key": entry["routing_key"], "name": name, "object": args.get("objname"),
            "method": args.get("objmethod"), "version": inner.get("version"),
            # Some saves of nova also refresh its record of networks.
            "changes": sorted({*(instance.get("nova_object.changes") or [])} - {"info_cache"}),
            "task_state": data.get("task_state"), "vm_state": data.get("vm_state"),
            "power_state": data.get("power_state"), "kwargs": args.get("kwargs"),
            "properties": {key: value for key, value in entry["properties"].items()
                           if key in PROPERTIES} if entry.get("properties") else None,
            "payload": shape(inner.get("payload")),
            "members": sorted(key for key in inner if not key.startswith("_context_")),
            "context": sorted(key for key in inner if key.startswith("_context_")),
        })
    return found


def paths(one, other, path=""):
    """Returns the places where two values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            if key not in one or key not in other:
                yield f"{path}/{key} is {'not there' if key not in other else 'there'}"
            else:
                yield from paths(one[key], other[key], f"{path}/{key}")
    elif one != other:
        yield f"{path} is {json.dumps(other)[:200]}, expected {json.dumps(one)[:200]}"


def take_event_end(found):
    """Takes the end of the action's event out of the steps. Returns a line if it is not where another thread may
    publish it: between the first save and the last one."""
    saves = [number for number, step in enumerate(found) if step["method"] == "save"]
    ends = [number for number, step in enumerate(found) if step["method"] == EVENT_END]
    for number in reversed(ends):
        del found[number]
    if len(ends) != 1 or not saves[0] < ends[0] < saves[-1]:
        return f"the event ends with the messages {ends}, expected between those of the saves {saves}"
    return None


def differences(expected, got, leave_out=(), event_ends_early=False):
    """Returns lines that say where two lists of steps differ, or none if they are the same. `event_ends_early`: a
    thread of nova-compute publishes the end of the event while another takes the snapshot."""
    lines = []
    if event_ends_early:
        expected, got = list(expected), list(got)
        lines += [line for line in (take_event_end(expected), take_event_end(got)) if line]
    if len(expected) != len(got):
        lines.append(f"{len(got)} messages, {len(expected)} expected")
    for number, (one, other) in enumerate(zip(expected, got)):
        for key in one:
            if key in leave_out or one[key] is None and key == "properties":
                continue
            lines += [f"message {number} ({one['name']} {one['method'] or ''} {one['changes']}): {where}"
                      for where in paths(one[key], other[key], key)]
    return lines
