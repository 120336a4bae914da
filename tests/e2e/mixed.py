# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests at random for servers of two hosts, while services are killed. Each is followed to its end and counted."""
import collections
import random
import time

# Name of an action -> (what is asked for, the server's status before, and afterwards).
ACTIONS = {
    "pause": ({"pause": None}, "ACTIVE", "PAUSED"),
    "unpause": ({"unpause": None}, "PAUSED", "ACTIVE"),
    "stop": ({"os-stop": None}, "ACTIVE", "SHUTOFF"),
    "start": ({"os-start": None}, "SHUTOFF", "ACTIVE"),
    "reboot": ({"reboot": {"type": "HARD"}}, "ACTIVE", "ACTIVE"),
    "suspend": ({"suspend": None}, "ACTIVE", "SUSPENDED"),
    "resume": ({"resume": None}, "SUSPENDED", "ACTIVE"),
    "image": ("image", None, None),
    "backup": ("backup", None, None),
}
FOLLOW_S = 120  # a round's requests, all together


class Mixed:
    """`victims`: name of a service -> the function that kills it and starts it again. `novasnapd`: whether the
    snapshots of the first host are novasnapd's."""

    def __init__(self, env, servers, seed, victims, novasnapd):
        self.env, self.servers, self.victims, self.novasnapd = env, servers, victims, novasnapd
        self.random = random.Random(seed)
        self.asked = 0
        # Events are counted by name: what was asked for, and what became of it.
        self.count = collections.Counter()
        print(f"# seed {seed}", flush=True)

    def run(self, requests):
        """Sends this many requests, and returns what became of them."""
        while self.asked < requests:
            self._round()
        print(f"# {'with' if self.novasnapd else 'without'} novasnapd: {dict(sorted(self.count.items()))}", flush=True)
        return self.count

    def _round(self):
        """One request for each server. A service may be killed while they are served."""
        asked = []
        for host, server in self.servers:
            status = server.record()["status"]
            name = self.random.choice([name for name, (_, before, _) in ACTIONS.items() if before in (None, status)])
            what, _, after = ACTIONS[name]
            asked.append((host, server, name, server.ask(what, f"mixed-{self.asked}"), after or status))
            self.asked += 1
        # All choices are made in both runs, so that they ask for the same.
        pause, victim = self.random.uniform(0, 1.5), self.random.choice(["novasnapd", "nova-compute", "broker", None])
        time.sleep(pause)
        if victim in self.victims:
            self.count[f"kills of {victim}"] += 1
            self.victims[victim]()
        else:
            victim = None
        # What is lost does not end: all of them share the time.
        until = time.monotonic() + FOLLOW_S
        for request in asked:
            self._follow(*request, victim, max(5, until - time.monotonic()))

    def _may_be_lost(self, host, image, victim):
        """nova-compute acks a request before it serves it. A broker that is killed loses what is in transient queues,
        and the answers to calls. What is lost without novasnapd is only counted."""
        if not self.novasnapd:
            return True
        ours = image and host == self.env.cloud.host
        if victim == "broker":
            return not (ours and self.env.durable)
        return victim == "nova-compute" and host == self.env.cloud.host and not ours

    def _follow(self, host, server, name, image, status, victim, seconds):
        kind = "snapshots" if image else "other requests"
        self.count[kind] += 1
        may_be_lost = self._may_be_lost(host, image, victim)
        by = f"by a kill of {victim}" if victim else "without a kill"
        try:
            record = server.wait_idle(seconds)
            events = server.events()
            assert record["status"] == status, (host, name, status, record, events)
            assert "Error" not in {result for _, result in events}, (host, name, events)
            if image:
                found = self.env.wait_image(server, image)
                assert found and found.status == "active", (name, found)
                self.env.check_whole(image)
        except AssertionError:
            if not may_be_lost:
                raise
            self.count[f"{kind} lost {by}"] += 1
            self.env.repair(server)
        self._count_repeats(server, kind, victim, by)
        if image:
            self.env.cloud.connection().image.delete_image(image, ignore_missing=True)

    def _count_repeats(self, server, kind, victim, by):
        """A request that was served twice has two events of one name."""
        events = [event for event, _ in server.events() if event.startswith("compute_")]
        if len(events) == len(set(events)):
            return
        assert not self.novasnapd or (kind != "snapshots" and victim), events
        self.count[f"{kind} repeated {by}"] += 1
