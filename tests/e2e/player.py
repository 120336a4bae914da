# SPDX-License-Identifier: LGPL-2.1-or-later
"""A server under a real Nova that goes through actions, and what each must show: task states, events, messages and the
image."""
import contextlib
import os
import threading

import release
import tap
from firehose import EVENT_END, differences, recorded, steps
from images import qemu_img
from server import Server

RUNNING, PAUSED, SHUTDOWN = 1, 3, 4
IMAGE = ["image_snapshot_pending", "image_snapshot", "image_pending_upload", "image_uploading",
         "image_pending_upload", "image_uploading", None]


class Sampler(threading.Thread):
    """Samples a server's task state through nova-api."""

    def __init__(self, cloud, server):
        super().__init__(daemon=True)
        self.cloud, self.server = cloud, server
        self.seen, self.ended = [], threading.Event()

    def run(self):
        while not self.ended.is_set():
            task = self.cloud.get(f"/servers/{self.server}")["server"]["OS-EXT-STS:task_state"]
            if not self.seen or self.seen[-1] != task:
                self.seen.append(task)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join(30)


def is_within(seen, allowed):
    """Returns whether the observed states are among the allowed ones, in their order."""
    rest = iter(allowed)
    return all(any(state == other for other in rest) for state in seen)


class Player(Server):
    """Takes one server through the actions of a table, and records the messages of each. A line of the table is what is
    asked for, the event of the action, the task states that may be seen, in this order, and the server's status and power
    state afterwards."""
    table = {}

    def __init__(self, cloud, firehose, server):
        super().__init__(cloud, server)
        self.firehose = firehose
        self.images = {}
        self.messages = {}

    def play(self, name):
        what, event, states, status, power = self.table[name]
        mark = self.firehose.mark()
        with Sampler(self.cloud, self.server) as sampler:
            tap.wait_for("first sample", lambda: sampler.seen, 20, 0.01)
            with self.measured(name):
                image = self.ask(what, name)
                # nova-api has set the task state before it answers.
                record = self.wait_idle()
        seen = sampler.seen[1:] if sampler.seen[0] is None else sampler.seen
        assert is_within(seen, states), (name, seen, states)
        assert record["status"] == status, (name, record["status"], record.get("fault"))
        assert record["OS-EXT-STS:power_state"] == power, (name, record["OS-EXT-STS:power_state"])
        tap.wait_for(f"event {event}", lambda: self.events() == [(event, "Success")], 20, 0.1)
        if image:
            self.images[name] = image
            self.check_image(image)
        # The end is reported after the state was cleared.
        tap.wait_for("last message", lambda: self.end_was_published(mark, event, image), 20, 0.05)
        self.messages[name] = steps(self.firehose.messages[mark:], self.server)

    def measured(self, _name):
        """Hook: what measures the action, a context."""
        return contextlib.nullcontext()

    def end_was_published(self, mark, event, image):
        messages = [entry["message"] for entry in self.firehose.messages[mark:]]
        return any((message.get("args") or {}).get("objmethod") == EVENT_END and event in str(message)
                   for message in messages) and (
                       not image or any(message.get("event_type") == "instance.snapshot.end" for message in messages))

    def check_image(self, image):
        record = self.cloud.connection().image.get_image(image)
        assert record.status == "active" and record.disk_format == "qcow2", record
        qemu_img("check", "-f", "qcow2", os.path.join(self.cloud.images, image))
        qemu_img("compare", "-U", "-f", "qcow2", "-F", "qcow2",
                 os.path.join(self.cloud.images, image), self.cloud.disk(self.server))


def ends_early(event):
    return release.SNAPSHOT_EVENT_ENDS_EARLY and event == "compute_snapshot_instance"


def compare_with(name, got, leave_out=()):
    """Compares messages with a recording of a real nova-compute in tests/data/wire."""
    messages = recorded(release.recording(name))
    cast = messages[0]["message"]
    first = cast["args"]["instance"]["nova_object.data"]["uuid"]
    lines = differences(steps(messages, first), got, {"power_state", "properties", "payload", "context", *leave_out},
                        ends_early(f"compute_{cast['method']}"))
    assert not lines, "\n".join(lines)
