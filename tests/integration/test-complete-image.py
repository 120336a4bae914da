#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An image of which Glance has all data is not deleted, whatever happens between its last byte and its verification:
lost and late replies, a Glance that is away, replicas that lag behind, guests that stop. A real Glance behind a
stand-in for these faults; broker, libvirt and QEMU are real, the conductor is a stand-in."""
import os
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case, CaseEnvironment  # noqa: E402
from compute import Compute, instance_of  # noqa: E402
from images import same_content  # noqa: E402

STALL = 2  # seconds after which the reply to an upload is late: twice

# With it the last byte of a guest's disk is read only when the upload goes on.
SMALL_READ_AHEAD = {"read_ahead": "2"}


class CompleteImage(CaseEnvironment):
    # More than the read-ahead and the buffers of a connection hold, so that a held upload has not read everything.
    guest_options = {"size_mib": 64, "data_mib": 32}

    def send(self, *faults, gets=(), always_get=None, retries=1, **novasnap):
        """A snapshot whose uploads meet these faults, and whose image's record is shown so afterwards."""
        keys = {"stall_timeout": STALL, "request_timeout": STALL, "saving_timeout": "1", "image_poll_interval": "60",
                "shutdown_grace": "60", **novasnap}
        agent = self.start_agent(sections={"retries": retries}, **keys)
        self.front.reset(*faults)
        self.front.gets[:] = gets
        self.front.always_get = always_get
        return Case(self, agent).send()

    def wait_stored(self):
        tap.wait_for("stored image", lambda: self.front.stored, 60)

    def task_state(self):
        return self.conductor.task_states[self.guest.uuid]

    def clears(self):
        """How often the task state was cleared."""
        return [state for state, _expected in self.conductor.states()].count(None)


def test_glance_shows_saving_after_its_204(env):
    case = env.send(gets=["saving"] * 4)
    case.is_whole()
    assert env.front.gets == [], "the image was not verified"


def test_glance_answers_503_after_its_204(env):
    case = env.send(gets=[503] * 8)
    case.is_whole()
    assert env.front.gets == [], "the image was not verified"


def test_the_task_state_is_cleared_before_the_verification(env):
    case = env.send(always_get="saving")
    env.wait_stored()
    tap.wait_for("cleared task state", lambda: env.task_state() is None, 20)
    # Another operation begins meanwhile, and keeps its task state.
    env.conductor.task_states[env.guest.uuid] = "rebooting"
    time.sleep(2)
    assert " open " in case.shown(), case.said()
    env.front.always_get = None
    case.wait_end()
    assert env.task_state() == "rebooting" and env.clears() == 1, env.conductor.states()
    env.conductor.task_states[env.guest.uuid] = None
    case.is_whole()


def test_another_operation_does_not_wait_for_the_verification(env):
    """nova accepts it, because the task state is cleared, and Glance may be away for hours. The image is verified."""
    case = env.send(always_get="saving")
    compute = env.enter(Compute(env.broker.url, case.agent.host))
    env.wait_stored()
    tap.wait_for("cleared task state", lambda: env.task_state() is None, 20)
    for method, state, guest in (("pause", "pausing", "paused"), ("unpause", "unpausing", "running")):
        env.conductor.task_states[env.guest.uuid] = state
        compute.cast(method + "_instance", instance=instance_of(env.guest))
        tap.wait_for(f"{guest} guest", lambda state=guest: env.guest.state() == state, 20)
        tap.wait_for("cleared task state", lambda: env.task_state() is None, 20)
    assert " open " in case.shown(), case.said()
    env.front.always_get = None
    case.wait_end()
    assert case.check_image() == "whole" and env.conductor.faults == [], case.said()
    case.nothing_left()


def test_a_restart_before_the_verification_leaves_the_next_snapshot_its_task_state(env):
    """nova accepts a second snapshot as soon as the task state is cleared, with a state that the first one also had."""
    case = env.send(always_get="saving", shutdown_grace="1")
    env.wait_stored()
    tap.wait_for("cleared task state", lambda: env.task_state() is None, 20)
    tap.wait_for("phase", lambda: "waiting until Glance has stored" in case.said(), 20)
    assert case.agent.stop() == 0
    env.conductor.task_states[env.guest.uuid] = "image_snapshot_pending"
    env.front.always_get = None
    case.agent.start()
    case.wait_end()
    assert env.task_state() == "image_snapshot_pending" and env.clears() == 1, env.conductor.states()
    env.conductor.task_states[env.guest.uuid] = None
    case.is_whole()


class Backup(Case):
    event = "compute_backup_instance"
    task_state = "image_backup"

    def make_image(self):
        return self.glance.create("backup", container_format="bare", disk_format="qcow2", image_type="backup",
                                  backup_type="daily", instance_uuid=self.guest.uuid)

    def cast(self, compute):
        compute.cast("backup_instance", instance=instance_of(self.guest), image_id=self.image, backup_type="daily",
                     rotation=1)


def test_rotation_leaves_a_backup_that_waits_for_its_turn(env):
    """nova accepts the second one while the first is being verified: its image is newer, and has no data yet."""
    agent = env.start_agent(image_poll_interval="60")
    compute = env.enter(Compute(env.broker.url, agent.host))
    env.front.always_get = "saving"
    first = Backup(env, agent)
    first.cast(compute)
    env.wait_stored()
    tap.wait_for("cleared task state", lambda: env.task_state() is None, 20)
    second = Backup(env, agent)
    second.cast(compute)
    time.sleep(1)
    env.front.always_get = None
    first.wait_end()
    second.wait_end()
    assert second.glance.get(second.image)["status"] == "active", second.said()
    assert first.glance.get(first.image) is None, "it was not rotated"


def test_glance_has_other_data_after_its_204(env):
    """It is a failure with a fault; the task state is not cleared a second time."""
    case = env.send(gets=[503, "saving", "other-data"])
    case.is_deleted("in the store")
    assert env.clears() == 1, env.conductor.states()


def change_after_the_last_byte(env, case, action):
    """The guest is stopped or started, and its disk changes: the image has the data of before."""
    before = os.path.join(env.folder.make("before"), "disk")
    env.wait_stored()
    env.guest.virsh("destroy", check=False)
    shutil.copy(env.guest.disk, before)
    write_to_disk(env.guest.disk)
    if action == "start":
        env.guest.virsh("start")
    time.sleep(2)
    env.front.release.set()
    case.wait_end()
    assert env.front.puts() == ["hold-reply"], env.front.seen
    assert env.glance.get(case.image)["status"] == "active", case.said()
    assert same_content(env.glance.file(case.image), "qcow2", before, "qcow2")
    assert env.conductor.faults == [] and env.task_state() is None, case.said()


def write_to_disk(disk):
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 99 1M 64k", disk], check=True, capture_output=True)


def test_a_guest_that_stops_after_the_last_byte_was_read(env):
    change_after_the_last_byte(env, env.send("hold-reply", stall_timeout="60"), "stop")


def test_a_guest_that_starts_after_the_last_byte_was_read(env):
    env.guest.virsh("destroy")
    change_after_the_last_byte(env, env.send("hold-reply", stall_timeout="60"), "start")


def test_libvirtd_is_restarted_while_a_guest_at_rest_is_uploaded(env):
    """The disk itself shows that nobody wrote to it: it is not uploaded again."""
    env.guest.virsh("destroy")
    case = env.send("hold", stall_timeout="60", **SMALL_READ_AHEAD)
    tap.wait_for("upload", lambda: env.front.puts() == ["hold"], 60)
    env.libvirt.kill()
    env.libvirt.start()
    time.sleep(2)
    env.front.release.set()
    case.state = "shut off"
    case.is_whole()
    assert env.front.puts() == ["hold"], env.front.seen
    assert "taking a new snapshot" not in case.said(), case.said()


def test_a_guest_is_started_and_stopped_while_libvirtd_is_away(env):
    """libvirtd says nothing about it, but the guest has written."""
    env.guest.virsh("destroy")
    case = env.send("hold", stall_timeout="60", **SMALL_READ_AHEAD)
    tap.wait_for("upload", lambda: env.front.puts() == ["hold"], 60)
    env.libvirt.kill()
    with open(env.guest.disk, "r+b") as disk:
        first = disk.read(1)
        disk.seek(0)
        disk.write(first)
    env.libvirt.start()
    env.front.release.set()
    case.state = "shut off"
    case.is_whole()
    assert "taking a new snapshot" in case.said(), case.said()


def test_the_reply_to_the_last_try_is_lost(env):
    case = env.send("cut-reply", retries=0)
    case.is_whole()
    assert env.front.puts() == ["cut-reply"], env.front.seen


def test_glance_is_away_after_a_lost_reply(env):
    case = env.send("cut-reply", gets=[503] * 8, retries=0)
    case.is_whole()
    assert env.front.puts() == ["cut-reply"] and env.front.gets == [], env.front.seen


def test_glance_needs_long_after_the_last_byte(env):
    """Longer than the reply may take, and than an interrupted upload may be saving."""
    case = env.send("hold-reply", always_get="saving")
    env.wait_stored()
    tap.wait_for("phase", lambda: "waiting until Glance has stored" in case.said(), 60)
    time.sleep(3 * STALL)
    assert " open " in case.shown() and env.task_state() == "image_uploading", case.said()
    env.front.always_get = None
    case.is_whole()
    assert env.front.puts() == ["hold-reply"], env.front.seen
    env.front.release.set()


def test_an_image_that_is_saving_for_ever_is_not_deleted(env):
    case = env.send("cut-reply", always_get="saving", finishing_timeout="4")
    case.wait_end()
    assert "saving" in case.said(), case.said()
    assert env.glance.get(case.image)["status"] == "active" and env.task_state() is None
    assert env.conductor.faults == [env.guest.uuid], env.conductor.faults


def test_the_task_state_is_cleared_by_another_process_while_glance_is_away(env):
    """As nova-compute's own start does. It is unknown whether the snapshot is still wanted: Glance is asked again."""
    def clear_once(uuid, wanted):
        if wanted == "image_uploading" and not env.front.seen_503:
            env.front.seen_503 = True
            env.conductor.task_states[uuid] = None
            env.front.always = 503
            threading.Timer(4, lambda: setattr(env.front, "always", None)).start()
    env.front.seen_503 = False
    env.conductor.before_save = clear_once
    case = env.send()
    case.is_whole()
    assert "it is unknown whether its snapshot is still wanted" in case.said(), case.said()


def test_a_cancel_while_glance_stores_the_image(env):
    """A user who cancels does not want the image."""
    case = env.send("cut-reply", always_get="saving")
    tap.wait_for("phase", lambda: "waiting until Glance has stored" in case.said(), 60)
    case.agent.command("cancel", case.image)
    case.is_deleted("cancel")


if __name__ == "__main__":
    tap.main(CompleteImage)
