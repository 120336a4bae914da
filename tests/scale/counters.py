# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a broker has and counts: connections, channels, queues, messages and bytes."""
import collections
import json
import re
import time

MESSAGES = {"received": "messages_received_total", "delivered": "messages_delivered_total",
            "returned": "messages_unroutable_returned_total"}


def listed(broker, what, *columns):
    return json.loads(broker.ctl("--formatter", "json", what, *columns) or "[]")


def connections(broker, program="novasnap"):
    """Returns the connections of a program and those of others, each with its name, channels, bytes and heartbeat."""
    own, others = [], []
    for each in listed(broker, "list_connections", "pid", "client_properties", "channels", "recv_oct", "send_oct",
                       "timeout"):
        each["name"] = next((value for key, _type, value in each["client_properties"] if key == "connection_name"), "")
        (own if each["name"].startswith(program) else others).append(each)
    return own, others


def kind(queue):
    """A queue's name, with the words HOST and ID for what differs between hosts."""
    name = re.sub(r"\bh\d{5}$", "HOST", queue)
    return re.sub(r"(reply|fanout)_.*", r"\1_ID", name)


def census(broker, agents):
    """Returns what the broker has of each agent, and of the others."""
    own, others = connections(broker)
    queues = collections.Counter(kind(each["name"]) for each in listed(broker, "list_queues", "name"))
    heartbeats = collections.Counter(each["timeout"] for each in own)
    return {"connections": {name: round(count / agents, 2) for name, count in
                            collections.Counter(each["name"] for each in own).items()},
            "channels": round(sum(each["channels"] for each in own) / agents, 2),
            "queues": {name: round(count / agents, 3) for name, count in queues.items()},
            "heartbeat_s": max(heartbeats, key=heartbeats.get, default=0),
            "all": {"connections": len(own) + len(others), "queues": sum(queues.values())},
            "erlang_processes": int(broker.ctl("eval", "erlang:system_info(process_count)."))}


def messages(broker):
    """Returns how many messages a broker has received, delivered and returned since its start."""
    text = broker.ctl("eval", "rabbit_global_counters:overview().")
    return {name: sum(map(int, re.findall(rf"\b{key} => (\d+)", text))) for name, key in MESSAGES.items()}


class Traffic:
    """Counts at several brokers, from its making to rates()."""

    def __init__(self, brokers, program="novasnap"):
        self.brokers, self.program = brokers, program
        self.first, self.began = self._count()

    def _count(self):
        """Returns the counts, and when they were taken."""
        total = collections.Counter()
        for each in connections(self.brokers[0], self.program)[0]:  # which lists those of the whole cluster
            total.update(from_agents_bytes=each["recv_oct"], to_agents_bytes=each["send_oct"])
        for broker in self.brokers:
            total.update(messages(broker))
        return total, time.monotonic()

    def rates(self, agents):
        """Returns messages and bytes per agent and second."""
        last, now = self._count()
        return {name: round((last[name] - self.first[name]) / (now - self.began) / agents, 4) for name in last}
