# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a test of casts needs, and one cast of a guest of ours, with what must be true of guest, image, controller and
host after its end."""
from collections import namedtuple


import tap
from conductor import StandInConductor
from guest import Guest, qemu_img, same_content
from services import CAST, Broker, Folder, Glance, Libvirt, begin

EVENT = "compute_snapshot_instance"

Stage = namedtuple("Stage", "folder broker glance libvirt guests conductor")


def set_up(stack, guests=1, libvirt=Libvirt, **kind):
    """A broker, a Glance, a libvirtd, so many guests of that kind (Guest's arguments), which run, and the stand-in
    conductor; all end with the stack."""
    folder = stack.enter_context(Folder())
    broker, glance = Broker(folder), Glance(folder)
    begin(stack, broker, glance)
    libvirtd = stack.enter_context(libvirt(folder))
    made = [stack.enter_context(Guest(folder, **kind)) for _ in range(guests)]
    for guest in made:
        guest.start()
    broker.wait()
    glance.wait()
    return Stage(folder, broker, glance, libvirtd, made, stack.enter_context(StandInConductor(broker.url)))


class Case:
    """`conductor` is the stand-in, or None with control = none. What is sent may be lost: the broker may be away."""
    event = EVENT
    task_state = "image_snapshot_pending"  # in which the cast is sent
    image_properties = {}
    point = kind = None  # of the fault that is put in

    def __init__(self, glance, conductor, agent, guest):
        self.glance, self.conductor, self.agent, self.guest = glance, conductor, agent, guest
        self.state, self.definition = guest.state(), guest.definition()
        self.mark = len(agent.text())
        self.faults = 1  # that a failure writes; None: once more, after a kill
        if conductor:
            conductor.host = agent.host
            conductor.events.pop((guest.uuid, self.event), None)
            conductor.faults[:] = [uuid for uuid in conductor.faults if uuid != guest.uuid]
            conductor.task_states[guest.uuid] = self.task_state
        self.image = self.make_image()

    def make_image(self):
        """As nova-api does: the id of one that waits for data."""
        return self.glance.request("POST", "/v2/images", {
            "name": "case", "container_format": "bare", "disk_format": "qcow2",
            "instance_uuid": self.guest.uuid, **self.image_properties})["id"]

    def send(self):
        self.agent.command("send", "snapshot_instance", "--file", CAST, "--instance",
                           self.guest.uuid, "--image", self.image)
        return self

    def said(self):
        """The log's lines on the instance, of this cast."""
        return "\n".join(line for line in self.agent.text()[self.mark:].split("\n")
                         if self.guest.uuid in line)

    def shown(self):
        return self.agent.shown(self.image or self.guest.uuid)

    def has_ended(self):
        return self.agent.has_ended(self.image or self.guest.uuid)

    def wait_end(self, seconds=90):
        tap.wait_for(f"end of the job; the log: {self.agent.log}", self.has_ended, seconds)
        return self

    def wait_failed(self, seconds=60):
        """Until it has failed, whatever may be left of it."""
        tap.wait_for("failure", lambda: (shown := self.shown()) and " open " not in shown, seconds, 0.2)

    def check_dead(self):
        """What must be true also while nobody is there."""

    def outcome(self, alone=True):
        """"whole" or "deleted", after everything else was found as it must be. `alone`: no other is under way."""
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
        assert self.conductor.events[uuid, self.event], self.conductor.events

    def check_image(self):
        record = self.glance.get(self.image)
        if record is None:
            return "deleted"
        assert record["status"] == "active", record["status"]
        assert same_content(self.glance.file(self.image), "qcow2", self.guest.disk, "qcow2")
        return "whole"

    def nothing_left(self):
        assert self.agent.left() == [], self.agent.left()

    def is_whole(self, alone=True):
        self.wait_end()
        assert self.outcome(alone) == "whole", self.said()

    def is_deleted(self, words=None):
        self.wait_end()
        assert self.outcome() == "deleted", self.said()
        assert words is None or words in self.said(), self.said()
