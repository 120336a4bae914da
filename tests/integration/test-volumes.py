#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of volumes that Cinder keeps in files. Its casts put a file over a volume or merge one, and the result is
reported to Cinder. RabbitMQ, oslo.messaging, libvirt and QEMU are real; Cinder's API is a stand-in."""
import json
import os
import sys
import uuid

import oslo_messaging

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from compute import Compute, instance_of  # noqa: E402
from environment import Environment  # noqa: E402
from images import qemu_img, same_content  # noqa: E402
from standin_cinder import CinderStandIn  # noqa: E402
from standin_keystone import KeystoneStandIn  # noqa: E402
from volume import Volume  # noqa: E402


class Volumes(Environment):
    services = ("broker", "libvirt")

    def set_up(self):
        self.cinder = self.enter(CinderStandIn())
        self.volume = Volume(self.folder)
        self.guest = self.make_guest(size_mib=32, data_mib=1, extra_disks=self.volume.disk())
        self.images = self.folder.make("images")

    def before_test(self):
        self.cinder.updates.clear()
        self.cinder.refusal = None
        self.cinder.refused.clear()
        self.agent = self.start_agent(sections={
            "images": self.images, "cinder": {"endpoint_template": self.cinder.template}}, quiesce_timeout="8")
        self.compute = self.enter(Compute(self.broker.url, self.agent.host))

    def start_guest(self, name="base"):
        """Starts the guest with this file as the uppermost of its volume."""
        self.volume.define(self.guest, name)
        self.guest.start()

    def create(self, new_file, **metadata):
        """Sends the cast of a new snapshot, whose file exists already. Returns its id and the report to Cinder."""
        snapshot = str(uuid.uuid4())
        self.cinder.statuses[snapshot] = "creating"
        self.cinder.updates.clear()
        self.compute.cast("volume_snapshot_create", instance=instance_of(self.guest, **metadata),
                          volume_id=self.volume.id,
                          create_info={"snapshot_id": snapshot, "type": "qcow2", "new_file": new_file})
        tap.wait_for("report to Cinder", lambda: self.cinder.updates)
        self.cinder.statuses[snapshot] = "available"
        return snapshot, self.cinder.updates[0]

    def delete(self, merge, target):
        """Sends the cast that merges a file into another, or into the uppermost if `target` is None. Returns the report
        to Cinder."""
        snapshot = str(uuid.uuid4())
        self.cinder.updates.clear()
        self.compute.cast("volume_snapshot_delete", instance=instance_of(self.guest), volume_id=self.volume.id,
                          snapshot_id=snapshot, delete_info={"type": "qcow2", "file_to_merge": merge,
                                                             "merge_target_file": target})
        tap.wait_for("report to Cinder", lambda: self.cinder.updates)
        return self.cinder.updates[0][1:]

    def check_content(self, name, reference):
        """Checks that the volume reads as before, including what QEMU still had in its caches of the files."""
        if self.guest.state() == "running":
            self.guest.virsh("suspend")
            self.guest.virsh("resume")
        assert same_content(self.volume.file(name), "qcow2", self.volume.reference(reference), "qcow2")

    def info(self, name):
        return json.loads(qemu_img("info", "-f", "qcow2", "--output=json", self.volume.file(name)))


def test_a_snapshot_puts_a_file_over_the_volume(env):
    env.start_guest()
    snapshot, told = env.create("fresh")
    assert told == (snapshot, "creating", "90%"), told
    assert env.volume.chain(env.guest) == ["fresh", "base"]
    assert "novasnap" not in env.guest.virsh("snapshot-list")


def wait_reported_again(env):
    """Until the result could not be reported, and the job has ended nevertheless."""
    tap.wait_for("failed report", lambda: "it will be reported again" in env.agent.text(), 60)
    tap.wait_for("end of the job", lambda: " open " not in env.agent.shown(env.guest.uuid), 60)


def cast_create(env, new_file):
    snapshot = str(uuid.uuid4())
    env.cinder.statuses[snapshot] = "creating"
    env.compute.cast("volume_snapshot_create", instance=instance_of(env.guest), volume_id=env.volume.id,
                     create_info={"snapshot_id": snapshot, "type": "qcow2", "new_file": new_file})
    return snapshot


def test_cinder_is_away_when_the_snapshot_is_taken(env):
    """The result is reported when it is there again; the instance's next job does not wait for it."""
    env.start_guest()
    env.cinder.stop()
    try:
        snapshot = cast_create(env, "fresh")
        wait_reported_again(env)
        assert env.volume.chain(env.guest) == ["fresh", "base"]
    finally:
        env.cinder.start()
    tap.wait_for("report to Cinder", lambda: env.cinder.updates, 60)
    assert env.cinder.updates == [(snapshot, "creating", "90%")], env.cinder.updates
    tap.wait_for("end", lambda: env.agent.has_ended(env.guest.uuid), 20)


def test_cinder_refuses_our_user_until_after_a_restart(env):
    env.start_guest()
    env.cinder.refusal = 403
    snapshot = cast_create(env, "fresh")
    wait_reported_again(env)
    env.agent.kill()
    env.cinder.refusal = None
    env.agent.start()
    tap.wait_for("report to Cinder", lambda: env.cinder.updates, 60)
    assert env.cinder.updates == [(snapshot, "creating", "90%")], env.cinder.updates


def test_cinder_does_not_accept_the_result(env):
    """It is not reported again."""
    env.start_guest()
    env.cinder.refusal = 400
    cast_create(env, "fresh")
    tap.wait_for("end", lambda: env.agent.has_ended(env.guest.uuid), 60)
    assert len(env.cinder.refused) == 1 and env.cinder.updates == [], env.cinder.refused


def test_each_request_has_the_id_of_the_cast(env):
    keystone = env.enter(KeystoneStandIn())
    env.agent.stop()
    env.agent.configure("keystone_authtoken", **keystone.section())
    env.agent.start()
    env.start_guest()
    env.cinder.request_ids.clear()
    env.compute.context["request_id"] = wanted = f"req-{uuid.uuid4()}"
    env.delete("base", "fresh")
    assert env.cinder.request_ids and set(env.cinder.request_ids) == {wanted}, env.cinder.request_ids
    assert keystone.request_ids and set(keystone.request_ids) == {wanted}, keystone.request_ids


def test_several_snapshots_of_one_volume(env):
    env.start_guest()
    for name, below in (("fresh", "base"), ("second", "fresh"), ("third", "second")):
        if name != "fresh":
            env.volume.overlay(name, below)
        _, told = env.create(name)
        assert told[1] == "creating", told
    assert env.volume.chain(env.guest) == ["third", "second", "fresh", "base"]
    env.check_content("third", "base")


def test_a_file_in_the_middle_is_merged_down(env):
    env.start_guest("last")
    assert env.delete("middle", "base") == ("deleting", "90%")
    assert env.volume.chain(env.guest) == ["last", "base"]
    env.check_content("last", "last")


def test_a_file_in_the_middle_is_merged_up(env):
    env.start_guest("last")
    assert env.delete("base", None) == ("deleting", "90%")
    assert env.volume.chain(env.guest) == ["last", "base"]
    env.check_content("last", "last")


def test_all_files_of_a_guest_that_is_shut_off_are_merged(env):
    env.volume.define(env.guest, "last")
    assert env.delete(None, None) == ("deleting", "90%")
    assert "backing-filename" not in env.info("last"), env.info("last")
    env.check_content("last", "last")


def test_a_file_of_a_guest_that_is_shut_off_is_merged_up(env):
    env.volume.define(env.guest, "last")
    assert env.delete("base", None) == ("deleting", "90%")
    info = env.info("last")
    assert info["full-backing-filename"] == env.volume.file("base"), info
    assert info["backing-filename-format"] == "qcow2", info
    env.check_content("last", "last")


def test_a_merge_writes_the_name_that_cinder_gave(env):
    """Cinder's own headers hold names without a path, as it may mount the volume elsewhere (LP 2119353)."""
    for state in ("shut off", "running"):
        for given in ("base", env.volume.file("base")):
            env.volume.define(env.guest, "last")
            for name, below in (("middle", "base"), ("last", "middle")):
                below = below if given == "base" else env.volume.file(below)
                qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", below, env.volume.file(name))
            env.guest.set_condition(state)
            assert env.delete(given, None) == ("deleting", "90%"), env.agent.text()[-2000:]
            env.guest.set_condition("shut off")
            info = env.info("last")
            assert info["backing-filename"] == given, (state, info)
            assert info["full-backing-filename"] == env.volume.file("base"), (state, info)
            env.check_content("last", "last")


def test_a_merge_of_a_file_outside_the_chain_or_downwards_fails_when_the_guest_is_shut_off(env):
    env.volume.define(env.guest, "last")
    for merge, target, reason in (("fresh", None, "is not in the chain"), ("middle", "base", "below the active one")):
        assert env.delete(merge, target) == ("error_deleting", "90%")
        # Cinder gets the result first.
        tap.wait_for("reason", lambda reason=reason: reason in env.agent.text(), 20)
    assert env.volume.chain(env.guest) == ["last", "middle", "base"]


def test_cinder_is_told_of_failures(env):
    env.start_guest()
    _, told = env.create("missing")
    assert told[1] == "error", told
    assert env.delete("nowhere", "neither") == ("error_deleting", "90%")
    tap.wait_for("reason", lambda: "/missing" in env.agent.text(), 20)
    assert env.volume.chain(env.guest) == ["base"]


def test_a_path_is_no_name(env):
    env.compute.cast("volume_snapshot_create", instance=instance_of(env.guest), volume_id=env.volume.id,
                     create_info={"snapshot_id": str(uuid.uuid4()), "type": "qcow2", "new_file": "../../etc/passwd"})
    tap.wait_for("refusal", lambda: "beside the volume's" in env.agent.text(), 20)


def test_a_guest_that_must_be_frozen_and_cannot(env):
    env.start_guest()
    _, told = env.create("fresh", image_os_require_quiesce="yes")
    assert told[1] == "error", told
    assert env.volume.chain(env.guest) == ["base"]


def test_quiesce_without_a_guest_agent_is_refused(env):
    env.start_guest()
    for metadata, kind in (({}, "QemuGuestAgentNotEnabled"), ({"image_hw_qemu_guest_agent": "yes"}, "InternalError")):
        try:
            env.compute.call("quiesce_instance", instance=instance_of(env.guest, **metadata))
            raise AssertionError("it was frozen")
        except oslo_messaging.RemoteError as error:
            assert error.exc_type == kind, error


def test_a_resize_is_refused(env):
    try:
        env.compute.call("prep_snapshot_based_resize_at_source", instance=instance_of(env.guest),
                         migration={}, snapshot_id=None)
        raise AssertionError("it was done")
    except oslo_messaging.RemoteError as error:
        assert error.exc_type == "InstanceFaultRollback", error
        assert "does not unplug ports and volumes" in error.value, error.value


def test_unquiesce_waits_for_cinder_only_for_a_while(env):
    env.start_guest()
    snapshot = str(uuid.uuid4())
    env.cinder.statuses[snapshot] = "creating"
    asked = env.cinder.asked
    env.compute.cast("unquiesce_instance", instance=instance_of(env.guest),
                     mapping=[{"source_type": "volume"}, {"source_type": "snapshot", "snapshot_id": snapshot}])
    tap.wait_for("end of the wait", lambda: "is still being created; thawing the guest" in env.agent.text(), 40)
    assert env.cinder.asked > asked + 5


if __name__ == "__main__":
    tap.main(Volumes)
