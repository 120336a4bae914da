#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""As test-faults.py, of the other casts: backup, shelve, suspend, resume, pause, unpause, a volume's snapshots. After a
kill each must end as it was asked for; a step that fails may fail it, and must leave what nova leaves. Broker, libvirt,
QEMU and Glance are real; the conductor and Cinder are stand-ins. Needs `make FAULTS=1`.
  NOVASNAP_FAULT_METHODS=backup,shelve,suspend,resume,pause,unpause,create,create-off,commit,pull,rebase
  NOVASNAP_FAULT_KINDS=kill,error (and, with kill, killed while libvirt is at the step)
The table of what came of it is written to faults-methods.md in the build's folder."""
import json
import os
import shutil
import sys
import uuid
from collections import namedtuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case  # noqa: E402
from faults import FaultEnvironment, amid_test, chosen, chosen_kinds, fault_test, table  # noqa: E402
from images import qemu_img, same_content  # noqa: E402
from paths import BUILD, CAST  # noqa: E402
from standin_cinder import CinderStandIn  # noqa: E402
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
# A failure at these steps leaves the guest unchanged; a failure at a later step does not.
EARLY = ("event.before", "event.after", "power-off.before", "change-guest.before", "volume-create.before",
         "volume-delete.before")
# What QEMU executes for libvirt, which takes a while.
AMID = {"shelve": "power-off", "suspend": "change-guest", "resume": "change-guest", "pause": "change-guest",
        "unpause": "change-guest", "create": "volume-create", "commit": "volume-delete", "pull": "volume-delete"}


class MethodCase(Case):
    """One cast of a method. Its outcome is the instance's vm_state."""

    def __init__(self, env, name, agent):
        self.env, self.method, conductor = env, METHODS[name], env.conductor
        self.task_state, self.event = self.method.task_state, f"compute_{self.method.cast}"
        self.args = {}
        super().__init__(env, agent)
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
        fields = self.env.conductor.fields[self.guest.uuid]
        self.data.update(uuid=self.guest.uuid, host=self.agent.host, task_state=self.task_state, **fields)
        message = {**self.message, "method": self.method.cast, "_unique_id": uuid.uuid4().hex,
                   "args": {"instance": self.message["args"]["instance"], **self.args}}
        self.env.broker.publish(message, f"compute.{self.agent.host}")
        return self

    def outcome(self, alone=True):
        shown = self.shown()
        # There is one job, because the agent and its journal belong to this case only.
        assert shown.count(self.guest.uuid) == 1, shown
        self.is_done = " done " in shown
        # A process that was killed before the end of the job may not have failed it.
        assert self.is_done or self.kind == "error", self.said()[-4000:]
        super().outcome(alone)
        shutil.rmtree(self.agent.folder)
        return self.result()

    def result(self):
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
        """Checks the states of the instance, the event, and that there is one fault if the cast failed."""
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
    def __init__(self, env, name, agent):
        super().__init__(env, name, agent)
        self.args = {"image_id": self.image, "clean_shutdown": True}
        self.undisturbed = "shelved" if name == "shelve" else "whole"

    def make_image(self):
        return Case.make_image(self)

    def result(self):
        return self.vm_state() if self.vm_state() == "shelved" else "whole" if self.is_done else "deleted"

    def check_image(self):
        what = Case.check_image(self)
        assert what == ("whole" if self.is_done else "deleted"), what
        shelved = self.conductor.fields[self.guest.uuid]["system_metadata"].get("shelved_image_id")
        assert shelved == (self.image if self.vm_state() == "shelved" else None), shelved
        if what == "whole":
            self.glance.delete(self.image)
        return what


class BackupCase(ImageCase):
    """A backup of an instance that has a complete backup already, when one is to be kept."""
    image_properties = {"image_type": "backup", "backup_type": "daily"}

    def __init__(self, env, name, agent):
        super().__init__(env, name, agent)
        # A rotation leaves out backups that are younger than its own.
        self.old, self.image = self.image, self.make_image()
        self.args = {"image_id": self.image, "backup_type": "daily", "rotation": 1}
        self.glance.put(self.old, b"whole")

    def are_whole(self):
        return [record is not None and record["status"] == "active"
                for record in (self.glance.get(self.old), self.glance.get(self.image))]

    def check_dead(self):
        assert any(self.are_whole()), "no whole backup is left"

    def check_image(self):
        old, new = self.are_whole()
        # A rotation that fails does not fail the backup.
        assert old == (not new or self.point == "rotate.before" and self.kind == "error"), (old, new)
        if old:
            self.glance.delete(self.old)
        return super().check_image()


class VolumeCase(MethodCase):
    """The outcome is the last report to Cinder."""

    def __init__(self, env, name, agent):
        super().__init__(env, name, agent)
        self.snapshot, self.is_new = str(uuid.uuid4()), self.method.cast == CREATE
        env.cinder.updates.clear()
        env.cinder.statuses[self.snapshot] = "creating" if self.is_new else "deleting"
        # Cinder made a new snapshot; or the middle file is merged into the base; or the base into the uppermost.
        merged = ("middle", "base") if name == "commit" else ("base", None)
        info = ({"create_info": {"snapshot_id": self.snapshot, "new_file": "fresh"}} if self.is_new else
                {"snapshot_id": self.snapshot,
                 "delete_info": {"file_to_merge": merged[0], "merge_target_file": merged[1]}})
        self.args = {"volume_id": env.volume.id, **info}
        self.args["create_info" if self.is_new else "delete_info"]["type"] = "qcow2"
        self.before, self.after = ((["base"], ["fresh", "base"]) if self.is_new else
                                   (["last", "middle", "base"], ["last", "base"]))
        self.undisturbed = "creating" if self.is_new else "deleting"

    def result(self):
        return self.env.cinder.updates[-1][1] if self.env.cinder.updates else "untold"

    def check_definition(self):
        """Checks the guest's definition, in which the volume's file may have changed."""
        volume, wanted = self.env.volume, self.after if self.has_changed() else self.before
        assert without_volume(self.guest.definition()) == without_volume(self.definition), self.guest.definition()
        chain = volume.chain(self.guest)
        assert chain == wanted, chain
        if self.guest.state() == "running":
            # QEMU then writes what is still in its caches of the files.
            self.guest.virsh("suspend")
            self.guest.virsh("resume")
        assert same_content(volume.file(chain[0]), "qcow2", volume.reference(self.before[0]), "qcow2")
        assert sorted(os.listdir(volume.share)) == sorted(FILES), os.listdir(volume.share)

    def check_told(self):
        super().check_told()
        told, wanted = self.env.cinder.updates, self.undisturbed
        if not self.is_done:
            wanted = "error" if self.is_new else "error_deleting"
        assert told, "Cinder is not told"
        assert all(update == (self.snapshot, wanted, "90%") for update in told), told


class Methods(FaultEnvironment):
    def set_up(self):
        self.cinder = self.enter(CinderStandIn())
        self.cinder.settles = True
        self.volume = Volume(self.folder)
        self.guest = self.make_guest(size_mib=48, data_mib=4, extra_disks=self.volume.disk())

    def case(self, name):
        kind = {"backup": BackupCase, "shelve": ImageCase}.get(
            name, MethodCase if METHODS[name].task_state else VolumeCase)
        if kind == VolumeCase:
            self.volume.define(self.guest, "base" if METHODS[name].cast == CREATE else "last")
        self.guest.set_condition(METHODS[name].guest)
        return kind(self, name, self.make_fault_agent({
            "DEFAULT": {"shutdown_timeout": "1"}, "cinder": {"endpoint_template": self.cinder.template},
            "novasnap": {"quiesce_timeout": "5"}}))


def main():
    names, kinds, found = chosen(METHODS), chosen_kinds(["kill", "error"]), {}
    tests = [fault_test(name, kind, found) for name in names for kind in kinds]
    if "kill" in kinds:
        tests += [amid_test(name, AMID[name], found) for name in names if name in AMID]

    def write_table():
        with open(os.path.join(BUILD, "faults-methods.md"), "w") as file:
            file.write("\n".join(table(found, kinds, [("kill", "amid")] if "kill" in kinds else [])) + "\n")
    tap.main(Methods, tests, at_end=write_table)


if __name__ == "__main__":
    main()
