#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A snapshot whose novasnapd is killed during the upload is brought to its end by the next start, whatever has become
of instance, image and guest meanwhile; and SIGTERM lets it end, a second one does not. Broker, libvirt, QEMU and Glance
are real, the last behind a stand-in that holds uploads up; the conductor is a stand-in. A kill at each single step:
tests/faults."""
import contextlib
import os
import signal
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case  # noqa: E402
from environment import Environment  # noqa: E402
from standin_glance import GlanceStandIn  # noqa: E402

RUNS = 3  # that a job has at most


class Recovery(Environment):
    services = ("broker", "glance", "libvirt", "conductor")

    def set_up(self):
        self.guest = self.make_guest(size_mib=64, data_mib=4)
        self.guest.start()
        self.wait_services()
        self.front = self.enter(GlanceStandIn(self.glance))

    def before_test(self):
        self.conductor.reset()
        self.front.reset()
        self.guest.reset()
        self.agent = self.start_agent(sections={"glance_url": self.front.url}, shutdown_grace="60",
                                      image_poll_interval="60")

    def hold(self, times=1):
        """A snapshot whose upload is held up, as are those that follow it."""
        self.front.reset(*["hold"] * times)
        case = Case(self, self.agent).send()
        self.wait_held(1)
        return case

    def wait_held(self, count):
        tap.wait_for("upload", lambda: self.front.puts() == ["hold"] * count, 30)

    def restart(self):
        self.agent.kill()
        self.agent.start()

    def kill_during_upload(self, change=lambda case: None):
        """The snapshot, at its end; `change` is what happens before the next start."""
        case = self.hold()
        self.agent.kill()
        change(case)
        self.agent.start()
        case.wait_end()
        self.front.release.set()
        return case

    def is_given_up(self, case, words, state):
        """Nothing is left of it, and the instance is left to whoever has it now."""
        assert words in case.said(), case.said()
        assert self.glance.get(case.image) is None
        assert self.conductor.task_states[self.guest.uuid] == state, self.conductor.task_states
        assert self.guest.uuid not in self.conductor.faults, self.conductor.faults
        assert not self.guest.has_job() and self.guest.state() == "running"
        case.nothing_left()


def test_after_a_kill_the_snapshot_is_taken_again(env):
    env.kill_during_upload().is_whole()


def test_the_task_state_was_cleared_meanwhile(env):
    """As nova-compute's own start does."""
    env.kill_during_upload(lambda case: env.conductor.task_states.update({env.guest.uuid: None})).is_whole()


def test_the_instance_moved_to_another_host_meanwhile(env):
    def move(_case):
        env.conductor.host = "elsewhere"
    case = env.kill_during_upload(move)
    env.is_given_up(case, "on another host by now: elsewhere", "image_uploading")


def test_the_instance_is_being_deleted(env):
    case = env.kill_during_upload(lambda case: env.conductor.task_states.update({env.guest.uuid: "deleting"}))
    env.is_given_up(case, "is being deleted", "deleting")


def test_the_instance_is_in_another_task_meanwhile(env):
    case = env.kill_during_upload(lambda case: env.conductor.task_states.update({env.guest.uuid: "rebooting"}))
    env.is_given_up(case, "in another task state by now: rebooting", "rebooting")


def test_the_image_was_deleted_meanwhile(env):
    case = env.kill_during_upload(lambda case: env.glance.delete(case.image))
    case.faults = 0  # nova knows
    case.is_deleted("went away")


def test_the_guest_was_stopped_meanwhile(env):
    """It is taken as it is by then, and stays stopped."""
    case = env.kill_during_upload(lambda case: env.guest.virsh("destroy"))
    case.state = "shut off"
    case.is_whole()


def test_the_steps_of_an_unreadable_job_are_rolled_back(env):
    def spoil(_case):
        with contextlib.closing(sqlite3.connect(os.path.join(env.agent.state, "journal", "journal.db"))) as db:
            db.execute("UPDATE jobs SET message = 'no message' WHERE ended_at IS NULL")
            db.commit()
    case = env.kill_during_upload(spoil)
    assert "of the journal (snapshot_instance) cannot be read" in env.agent.text(), env.agent.text()
    assert not env.guest.has_job() and env.guest.state() == "running"
    case.nothing_left()


def test_a_job_with_which_novasnapd_died_three_times_is_not_tried_again(env):
    case = env.hold(RUNS)
    for run in range(2, RUNS + 1):
        env.restart()
        env.wait_held(run)
    env.restart()
    case.is_deleted(f"died {RUNS} times")
    assert len(env.front.puts()) == RUNS, env.front.seen
    env.front.release.set()


def test_sigterm_lets_the_snapshot_end(env):
    case = env.hold()
    env.agent.process.send_signal(signal.SIGTERM)
    tap.wait_for("stop", lambda: "no more casts are taken" in env.agent.text(), 20)
    time.sleep(1)
    assert env.agent.is_running()
    env.front.release.set()
    assert env.agent.process.wait(60) == 0
    case.is_whole()


def test_a_second_sigterm_ends_the_snapshot(env):
    case = env.hold()
    env.agent.process.send_signal(signal.SIGTERM)
    tap.wait_for("stop", lambda: "no more casts are taken" in env.agent.text(), 20)
    env.agent.process.send_signal(signal.SIGTERM)
    assert env.agent.process.wait(20) == 0
    case.is_deleted("novasnapd is stopping")


if __name__ == "__main__":
    tap.main(Recovery)
