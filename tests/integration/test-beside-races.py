#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a nova-compute on the same host does to a guest while novasnapd uploads its snapshot (mode = beside), and what
then becomes of guest and image. Broker, libvirt, QEMU and Glance are real. Glance stands behind a stand-in that holds
uploads up. The tests do with libvirt, the disk's files and the task state at the conductor (a stand-in) what
nova-compute does. conf/docs/beside-races.md has a table of these tests."""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import CaseEnvironment  # noqa: E402
from images import same_content  # noqa: E402


class Races(CaseEnvironment):
    guest_options = {"size_mib": 128, "data_mib": 48}  # more than is read ahead

    def before_test(self):
        super().before_test()
        self.agent = self.start_beside_agent(image_poll_interval="1")

    def undefine(self):
        """Destroys the guest and its definition, as nova-compute does. It is defined again at the end of the test."""
        self.callback(lambda: self.guest.name in self.libvirt.virsh("list", "--all", "--name") or self.guest.define())
        self.guest.virsh("destroy")
        self.guest.virsh("undefine")

    def task_state(self, state):
        self.conductor.task_states[self.guest.uuid] = state

    def go_on(self, case):
        """Lets the upload continue, and waits for the end of the job."""
        self.front.release.set()
        return case.wait_end()

    def is_whole(self, case, state=None):
        """Checks that the image is the guest's disk, that nova has no failure, and that `state` is unchanged."""
        assert self.glance.get(case.image)["status"] == "active", case.said()
        assert same_content(self.glance.file(case.image), "qcow2", self.guest.disk, "qcow2")
        assert self.conductor.faults == [], self.conductor.faults
        self.nothing_left(case, state)

    def is_deleted(self, case, state=None, faults=1):
        assert self.glance.get(case.image) is None, case.said()
        assert len(self.conductor.faults) == faults, self.conductor.faults
        self.nothing_left(case, state)

    def nothing_left(self, case, state):
        assert self.conductor.task_states[self.guest.uuid] == state, self.conductor.task_states
        assert set(self.conductor.events.values()) == {True}, self.conductor.events
        case.nothing_left()


def test_restart_of_nova_compute(env):
    """It clears the task state, and nothing else."""
    case = env.hold(env.agent)
    env.task_state(None)
    env.go_on(case)
    env.is_whole(case)
    assert env.guest.state() == "running" and not env.guest.has_job()


def test_restart_of_nova_compute_and_the_next_snapshot(env):
    """The user may request the next one because the task state was cleared."""
    case = env.hold(env.agent)
    env.task_state("image_snapshot_pending")
    env.go_on(case)
    env.is_whole(case, "image_snapshot_pending")


def test_delete(env):
    case = env.hold(env.agent)
    env.task_state("deleting")
    env.undefine()
    case.wait_end()
    env.is_deleted(case, "deleting", faults=0)
    env.front.release.set()


def test_stop(env):
    case = env.hold(env.agent)
    env.task_state("powering-off")
    env.guest.virsh("destroy")
    tap.wait_for("new snapshot", lambda: "taking a new snapshot" in case.said(), 30)
    env.task_state(None)
    env.go_on(case)
    env.is_whole(case)
    assert env.guest.state() == "shut off"


def test_stop_that_has_not_ended_when_the_upload_does(env):
    case = env.hold(env.agent)
    env.task_state("powering-off")
    env.go_on(case)
    env.is_whole(case, "powering-off")
    assert env.guest.state() == "running" and not env.guest.has_job()


def test_hard_reboot(env):
    """nova-compute destroys the guest, and defines and starts it again."""
    case = env.hold(env.agent)
    env.task_state("reboot_started_hard")
    env.undefine()
    env.guest.define()
    env.guest.start()
    env.task_state(None)
    env.go_on(case)
    assert env.guest.state() == "running" and not env.guest.has_job()
    if env.glance.get(case.image):
        env.is_whole(case)
    else:  # it was noticed while the guest was not defined
        env.is_deleted(case)


def test_soft_reboot(env):
    case = env.hold(env.agent)
    env.task_state("reboot_started")
    env.guest.virsh("reset")
    env.task_state(None)
    env.go_on(case)
    env.is_whole(case)
    assert env.guest.state() == "running" and not env.guest.has_job()


def test_pause(env):
    case = env.hold(env.agent)
    env.task_state("pausing")
    env.guest.virsh("suspend")
    env.task_state(None)
    env.go_on(case)
    env.is_whole(case)
    assert env.guest.state() == "paused" and not env.guest.has_job()


def test_resize_and_cold_migration(env):
    """nova-compute stops the guest, moves the folder of its disk away, and copies it to the other host."""
    case = env.hold(env.agent)
    env.task_state("resize_migrating")
    env.guest.virsh("destroy")
    away = env.guest.disk + "_resize"
    os.rename(env.guest.disk, away)
    env.front.release.set()
    case.wait_end()
    os.rename(away, env.guest.disk)
    assert env.guest.state() == "shut off"
    if env.glance.get(case.image):  # the next snapshot had begun before the disk was moved
        env.is_whole(case, "resize_migrating")
    else:
        env.is_deleted(case, "resize_migrating")


def test_live_migration_and_suspend(env):
    """Both need the guest's one job of libvirt, which the stream has: libvirt refuses them, and the guest goes on."""
    case = env.hold(env.agent)
    env.task_state("suspending")
    try:
        env.guest.virsh("managedsave")
        raise AssertionError("the guest was saved during its stream")
    except RuntimeError as refused:
        assert "job" in str(refused) or "lock" in str(refused), refused
    assert env.guest.state() == "running" and env.guest.has_job()
    env.task_state(None)
    env.go_on(case)
    env.is_whole(case)
    assert env.guest.state() == "running" and not env.guest.has_job()


def test_evacuation(env):
    """The host was taken for dead. When nova-compute is back, it destroys the guest that runs elsewhere by then."""
    case = env.hold(env.agent)
    env.conductor.host = "elsewhere"
    env.task_state(None)
    env.undefine()
    case.wait_end()
    env.front.release.set()
    env.is_deleted(case)


def remove_base(env, case):
    """What the image cache manager does with a base file that no instance of the host uses."""
    base = env.guest.base
    kept = base + ".kept"
    os.link(base, kept)
    os.remove(base)
    env.callback(os.rename, kept, base)
    env.go_on(case)
    shutil.copy(kept, base)
    env.is_whole(case)


def test_image_cache_manager_while_the_guest_runs(env):
    remove_base(env, env.hold(env.agent))
    assert env.guest.state() == "running" and not env.guest.has_job()


def test_image_cache_manager_while_the_guest_is_shut_off(env):
    env.guest.virsh("destroy")
    remove_base(env, env.hold(env.agent))
    assert env.guest.state() == "shut off"


if __name__ == "__main__":
    tap.main(Races)
