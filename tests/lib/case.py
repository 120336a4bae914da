# SPDX-License-Identifier: LGPL-2.1-or-later
"""One cast of a snapshot of one guest, with what must be true of guest, image, controller and host after its end."""
import os

import tap
from environment import Environment
from images import qemu_img, same_content
from paths import CAST
from standin_glance import GlanceStandIn


class Case:
    """One cast of a guest, which may be lost while the broker is away."""
    event = "compute_snapshot_instance"
    task_state = "image_snapshot_pending"  # in which the cast is sent
    image_properties = {}
    undisturbed = "whole"  # the outcome without a fault
    point = kind = None  # of the injected fault

    def __init__(self, env, agent, guest=None):
        """`env`: whose Glance and conductor (if any) it uses, and whose guest, if no other is given."""
        self.glance, self.conductor, self.agent, self.guest = env.glance, env.conductor, agent, guest or env.guest
        self.state, self.definition = self.guest.state(), self.guest.definition()
        self.mark = len(agent.text())
        self.faults = 1  # that a failure writes; None: any number, as a killed process may have written one
        if self.conductor:
            self._prepare_conductor()
        self.image = self.make_image()

    def _prepare_conductor(self):
        conductor, uuid = self.conductor, self.guest.uuid
        conductor.host = self.agent.host
        for key in self._events():
            del conductor.events[key]
        conductor.faults[:] = [other for other in conductor.faults if other != uuid]
        conductor.task_states[uuid] = self.task_state

    def _events(self):
        return {key: ended for key, ended in self.conductor.events.items() if key[0] == self.guest.uuid}

    def make_image(self):
        """Makes an image as nova-api does. Returns its id. The image waits for data."""
        return self.glance.create("case", container_format="bare", disk_format="qcow2",
                                  instance_uuid=self.guest.uuid, **self.image_properties)

    def send(self):
        self.agent.command("send", "snapshot_instance", "--file", CAST, "--instance",
                           self.guest.uuid, "--image", self.image)
        return self

    def said(self):
        """Returns the log's lines about the instance since the case was made."""
        return "\n".join(line for line in self.agent.text()[self.mark:].split("\n") if self.guest.uuid in line)

    def shown(self):
        return self.agent.shown(self.image or self.guest.uuid)

    def has_ended(self):
        return self.agent.has_ended(self.image or self.guest.uuid)

    def wait_end(self, seconds=90):
        tap.wait_for(f"end of the job; the log: {self.agent.log}", self.has_ended, seconds, 0.2)
        return self

    def wait_failed(self, seconds=60):
        """Waits until the snapshot has failed. Steps may still be open."""
        tap.wait_for("failure", lambda: (shown := self.shown()) and " open " not in shown, seconds, 0.2)

    def check_dead(self):
        """Checks what must be true also while no novasnapd runs."""

    def outcome(self, alone=True):
        """Returns "whole" or "deleted", after everything else was checked. `alone`: no other job is under way."""
        self.check_guest()
        if alone:
            self.nothing_left()
        if self.conductor:
            self.check_told()
        what = self.check_image()
        if what == "deleted" and self.conductor and self.faults is not None:
            assert self.conductor.faults.count(self.guest.uuid) == self.faults, self.conductor.faults
        return what

    def check_guest(self):
        assert self.guest.state() == self.state, self.guest.state()
        assert not self.guest.has_job() and not self.guest.is_saved()
        assert self.guest.definition() == self.definition
        assert "novasnap-" not in qemu_img("snapshot", "-U", "-l", self.guest.disk)

    def check_told(self):
        uuid = self.guest.uuid
        assert self.conductor.task_states[uuid] is None, self.conductor.task_states[uuid]
        assert self._events() == {(uuid, self.event): True}, self.conductor.events

    def check_image(self):
        record = self.glance.get(self.image)
        if record is None:
            return "deleted"
        assert record["status"] == "active", record["status"]
        kind = self.guest.format
        assert same_content(self.glance.file(self.image), kind, self.guest.disk, kind)
        return "whole"

    def nothing_left(self):
        assert self.agent.left() == [], self.agent.left()

    def forget(self):
        """Deletes its image, which takes room."""
        if self.image and self.glance.get(self.image):
            self.glance.delete(self.image)

    def is_whole(self, alone=True):
        self.wait_end()
        assert self.outcome(alone) == "whole", self.said()

    def is_deleted(self, words=None):
        self.wait_end()
        assert self.outcome() == "deleted", self.said()
        assert words is None or words in self.said(), self.said()


class CaseEnvironment(Environment):
    """An environment with a running guest, the conductor, and `front`, the stand-in through which agents upload into
    Glance."""
    services = ("broker", "glance", "libvirt", "conductor")
    guest_options = {"size_mib": 64, "data_mib": 4}

    def set_up(self):
        self.guest = self.make_guest(**self.guest_options)
        self.wait_services()
        self.front = self.enter(GlanceStandIn(self.glance))

    def before_test(self):
        self.conductor.reset()
        self.front.reset()
        self.guest.reset()

    def make_agent(self, name="agent", sections=None, **novasnap):
        return super().make_agent(name, {"glance_url": self.front.url, **(sections or {})}, **novasnap)

    def hold(self, agent, times=1):
        """Sends a snapshot whose upload is held up until `front.release` is set, as are those that follow it."""
        self.front.reset(*["hold"] * times)
        case = Case(self, agent).send()
        self.wait_held(1)
        return case

    def wait_held(self, count):
        tap.wait_for("upload", lambda: self.front.puts() == ["hold"] * count, 30)

    def start_more_guests(self, count):
        guests = [self.make_guest(**self.guest_options) for _ in range(count)]
        for guest in guests:
            guest.start()
        return guests


def is_copying(agent):
    """Returns whether the method rebase has begun its copy."""
    return any(os.path.exists(os.path.join(agent.snapshots, name, "delta")) for name in os.listdir(agent.snapshots))


def is_saving(guest):
    """Returns whether libvirt has begun to write the guest's memory."""
    return os.path.exists(os.path.join(guest.libvirt.save, f"{guest.name}.save"))
