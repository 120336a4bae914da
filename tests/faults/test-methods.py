#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""As test-faults.py, of the other casts: backup, shelve, suspend, resume, pause, unpause, a volume's snapshots. After a
kill it must end as it was asked for; a step that fails may fail it, and must leave what nova leaves. Broker, libvirt,
QEMU and Glance are real; the conductor and Cinder are the stand-ins. Needs `make FAULTS=1`.
  NOVASNAP_FAULT_METHODS=backup,shelve,suspend,resume,pause,unpause,create,create-off,commit,pull,rebase
  NOVASNAP_FAULT_KINDS=kill,error (and, with kill, killed while libvirt is at it)
The table of what came of it is written to faults-methods.md in the build's folder."""
import contextlib
import json
import os
import shutil
import sys
import uuid
from collections import namedtuple

import kombu

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case, set_up  # noqa: E402
from cinder import StandInCinder  # noqa: E402
from faults import World, amid_test, chosen, fault_test, table  # noqa: E402
from guest import Guest, qemu_img, same_content, virsh  # noqa: E402
from services import BUILD, CAST  # noqa: E402
from volume import FILES, Volume, without_volume  # noqa: E402

# The cast, the task state in which it is sent, and guest and vm_state before and after it.
Method = namedtuple("Method", "cast task_state guest becomes vm_state vm_becomes")
CREATE, DELETE = "volume_snapshot_create", "volume_snapshot_delete"
METHODS = {
    "backup": Method("backup_instance", "image_backup", "running", "running", "active", "active"),
    "shelve": Method("shelve_instance", "shelving", "running", "shut off", "active", "shelved"),
    "suspend": Method("suspend_instance", "suspending", "running", "saved", "active", "suspended"),
    "resume": Method("resume_instance", "resuming", "saved", "running", "suspended", "active"),
    "pause": Method("pause_instance", "pausing", "running", "paused", "active", "paused"),
    "unpause": Method("unpause_instance", "unpausing", "paused", "running", "paused", "active"),
    # Of a volume: a file put over it; the file in the middle merged down, or up.
    "create": Method(CREATE, None, "running", "running", "active", "active"),
    "create-off": Method(CREATE, None, "shut off", "shut off", "stopped", "stopped"),
    "commit": Method(DELETE, None, "running", "running", "active", "active"),
    "pull": Method(DELETE, None, "running", "running", "active", "active"),
    "rebase": Method(DELETE, None, "shut off", "shut off", "stopped", "stopped"),
}
POWER = {"running": 1, "paused": 3, "saved": 4, "shut off": 4}
# Where a step that fails leaves the guest as it was; at those after them it has been changed.
EARLY = ("event.before", "event.after", "power-off.before", "change-guest.before", "volume-create.before",
         "volume-delete.before")
# What libvirt does by QEMU, which takes a while.
AMID = {"shelve": "power-off", "suspend": "change-guest", "resume": "change-guest", "pause": "change-guest",
        "unpause": "change-guest", "create": "volume-create", "commit": "volume-delete", "pull": "volume-delete"}


class MethodCase(Case):
    """One cast of a method. What came of it is the instance's vm_state."""

    def __init__(self, world, name, agent):
        self.world, self.method, conductor = world, METHODS[name], world.conductor
        self.task_state, self.event = self.method.task_state, f"compute_{self.method.cast}"
        self.args = {}
        super().__init__(world.glance, conductor, agent, world.guest)
        conductor.events.clear()
        conductor.calls.clear()
        with open(CAST) as file:
            self.message = json.load(file)
        self.data = self.message["args"]["instance"]["nova_object.data"]
        conductor.fields[self.guest.uuid] = {
            "vm_state": self.method.vm_state, "power_state": POWER[self.method.guest],
            "system_metadata": {**self.data["system_metadata"],
                                **({"old_vm_state": "active"} if name == "resume" else {})}}
        self.undisturbed = self.method.vm_becomes

    def make_image(self):
        return None

    def send(self):
        fields = self.world.conductor.fields[self.guest.uuid]
        self.data.update(uuid=self.guest.uuid, host=self.agent.host, task_state=self.task_state, **fields)
        message = {**self.message, "method": self.method.cast, "_unique_id": uuid.uuid4().hex,
                   "args": {"instance": self.message["args"]["instance"], **self.args}}
        with kombu.Connection(self.world.broker.url.replace("rabbit://", "amqp://")) as connection:
            connection.Producer().publish(json.dumps(message), exchange="nova",
                                          routing_key=f"compute.{self.agent.host}",
                                          content_type="application/json", content_encoding="utf-8")
        return self

    def outcome(self, alone=True):
        shown = self.shown()
        # One job: the agent, and so its journal, is this case's own.
        assert shown.count(self.guest.uuid) == 1, shown
        self.is_done = " done " in shown
        # A life that did not see its end may not have failed it.
        assert self.is_done or self.kind == "error", self.said()[-4000:]
        super().outcome(alone)
        shutil.rmtree(self.agent.folder)
        return self.word()

    def word(self):
        return self.vm_state()

    def vm_state(self):
        return self.conductor.fields[self.guest.uuid]["vm_state"]

    def has_changed(self):
        return self.is_done or self.point not in EARLY

    def check_guest(self):
        wanted = self.method.becomes if self.has_changed() else self.method.guest
        assert self.guest.condition() == wanted, (self.guest.condition(), wanted)
        assert not self.guest.has_job() and not any(self.guest.has_block_job(disk) for disk in ("vda", "vdb"))
        self.check_definition()
        assert "novasnap-" not in qemu_img("snapshot", "-U", "-l", self.guest.disk)

    def check_definition(self):
        assert self.guest.definition() == self.definition

    def check_told(self):
        """The states of the instance, the event, and one fault where it failed."""
        conductor, method, guest = self.conductor, self.method, self.guest.uuid
        fields, events = conductor.fields[guest], {(guest, self.event): True} if self.task_state else {}
        assert conductor.task_states[guest] is None, conductor.task_states[guest]
        assert conductor.events == events, conductor.events
        faults = 0 if self.is_done or not self.task_state else 1
        assert conductor.faults.count(guest) == faults, conductor.faults
        if self.is_done:
            assert fields["vm_state"] == method.vm_becomes, fields["vm_state"]
            assert fields["power_state"] == POWER[method.becomes], fields["power_state"]
            saved = [changes for name, changes, _ in conductor.calls if name == "Instance.save"]
            assert "error" not in [changes.get("vm_state") for changes in saved], saved
            old = "active" if method.cast == "suspend_instance" else None
            assert fields["system_metadata"].get("old_vm_state") == old, fields["system_metadata"]
        elif self.point.startswith("change-guest") and method.cast in ("suspend_instance", "resume_instance"):
            assert fields["vm_state"] == "error", fields["vm_state"]
        else:
            assert fields["vm_state"] == method.vm_state, fields["vm_state"]

    def check_image(self):
        return None


class ImageCase(MethodCase):
    def __init__(self, world, name, agent):
        super().__init__(world, name, agent)
        self.args = {"image_id": self.image, "clean_shutdown": True}
        self.undisturbed = "shelved" if name == "shelve" else "whole"

    def make_image(self):
        return Case.make_image(self)

    def word(self):
        return self.vm_state() if self.vm_state() == "shelved" else "whole" if self.is_done else "deleted"

    def check_image(self):
        what = Case.check_image(self)
        assert what == ("whole" if self.is_done else "deleted"), what
        shelved = self.conductor.fields[self.guest.uuid]["system_metadata"].get("shelved_image_id")
        assert shelved == (self.image if self.vm_state() == "shelved" else None), shelved
        if what == "whole":
            self.glance.request("DELETE", f"/v2/images/{self.image}")
        return what


class BackupCase(ImageCase):
    """Where there is a whole one already, and one is to be kept."""
    image_properties = {"image_type": "backup", "backup_type": "daily"}

    def __init__(self, world, name, agent):
        super().__init__(world, name, agent)
        self.args = {"image_id": self.image, "backup_type": "daily", "rotation": 1}
        self.old = self.make_image()
        self.glance.put(self.old, b"whole")

    def are_whole(self):
        return [record is not None and record["status"] == "active"
                for record in (self.glance.get(self.old), self.glance.get(self.image))]

    def check_dead(self):
        assert any(self.are_whole()), "no whole backup is left"

    def check_image(self):
        old, new = self.are_whole()
        # A rotation that fails fails nothing.
        assert old == (not new or self.point == "rotate.before" and self.kind == "error"), (old, new)
        if old:
            self.glance.request("DELETE", f"/v2/images/{self.old}")
        return super().check_image()


class VolumeCase(MethodCase):
    """What came of it is what Cinder was told last."""

    def __init__(self, world, name, agent):
        super().__init__(world, name, agent)
        self.snapshot, self.is_new = str(uuid.uuid4()), self.method.cast == CREATE
        world.cinder.updates.clear()
        world.cinder.statuses[self.snapshot] = "creating" if self.is_new else "deleting"
        # A new one that Cinder has made; the middle one into the one below; or it into the last, down to the base.
        merged = ("middle", "base") if name == "commit" else ("base", None)
        info = ({"create_info": {"snapshot_id": self.snapshot, "new_file": "fresh"}} if self.is_new else
                {"snapshot_id": self.snapshot,
                 "delete_info": {"file_to_merge": merged[0], "merge_target_file": merged[1]}})
        self.args = {"volume_id": world.volume.id, **info}
        self.args["create_info" if self.is_new else "delete_info"]["type"] = "qcow2"
        self.before, self.after = ((["base"], ["fresh", "base"]) if self.is_new else
                                   (["last", "middle", "base"], ["last", "base"]))
        self.undisturbed = "creating" if self.is_new else "deleting"

    def word(self):
        return self.world.cinder.updates[-1][1] if self.world.cinder.updates else "untold"

    def check_definition(self):
        """The volume's file may be another one."""
        volume, wanted = self.world.volume, self.after if self.has_changed() else self.before
        assert without_volume(self.guest.definition()) == without_volume(self.definition), self.guest.definition()
        chain = volume.chain(self.guest)
        assert chain == wanted, chain
        if self.guest.state() == "running":
            # What QEMU still had in its caches of the files is written then.
            virsh("suspend", self.guest.name)
            virsh("resume", self.guest.name)
        assert same_content(volume.file(chain[0]), "qcow2", volume.reference(self.before[0]), "qcow2")
        assert sorted(os.listdir(volume.share)) == sorted(FILES), os.listdir(volume.share)

    def check_told(self):
        super().check_told()
        told, wanted = self.world.cinder.updates, self.undisturbed
        if not self.is_done:
            wanted = "error" if self.is_new else "error_deleting"
        # Where that fails Cinder's own limit of time ends it.
        assert told or (self.point, self.kind) == ("volume-tell.before", "error"), "Cinder is not told"
        assert all(update == (self.snapshot, wanted, "90%") for update in told), told


class Methods(World):
    def __init__(self, stage, guest, volume, cinder):
        super().__init__(stage.folder, stage.broker, stage.glance, guest, stage.conductor)
        self.volume, self.cinder, self.count = volume, cinder, 0

    def case(self, name):
        self.count += 1
        kind = {"backup": BackupCase, "shelve": ImageCase}.get(
            name, MethodCase if METHODS[name].task_state else VolumeCase)
        if kind == VolumeCase:
            self.volume.define(self.guest, "base" if METHODS[name].cast == CREATE else "last")
        self.guest.set_condition(METHODS[name].guest)
        return kind(self, name, self.make_agent(f"{name}-{self.count}", {
            "DEFAULT": {"shutdown_timeout": "1"}, "cinder": {"endpoint_template": self.cinder.template},
            "novasnap": {"quiesce_timeout": "5"}}))


def main():
    tap.handle_signals()
    names = chosen(METHODS)
    told = os.environ.get("NOVASNAP_FAULT_KINDS", "kill,error").split(",")
    kinds = [kind for kind in ("kill", "error") if kind in told]
    if not names or not kinds:
        print("1..0 # SKIP none of these methods is asked for")
        return 0
    found = {}
    with contextlib.ExitStack() as stack:
        stage = set_up(stack, guests=0)
        cinder = stack.enter_context(StandInCinder())
        cinder.settles = True
        volume = Volume(stage.folder)
        guest = stack.enter_context(Guest(stage.folder, size_mib=48, data_mib=4, extra_disks=volume.disk()))
        world = Methods(stage, guest, volume, cinder)
        tests = [fault_test(world, name, kind, found) for name in names for kind in kinds]
        if "kill" in kinds:
            tests += [amid_test(world, name, AMID[name], found) for name in names if name in AMID]
        status = tap.run(tests)
    with open(os.path.join(BUILD, "faults-methods.md"), "w") as file:
        file.write("\n".join(table(found, kinds, [("kill", "amid")] if "kill" in kinds else [])) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
