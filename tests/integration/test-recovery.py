#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnapd is killed during the upload of a snapshot. The next start completes the snapshot, depending on what has
become of instance, image and guest. SIGTERM lets a snapshot end in time, or leaves it to the next start. Broker, libvirt
and QEMU are real. Glance is real and stands behind a stand-in that holds uploads up. The conductor is a stand-in. A kill
at each step: tests/faults."""
import contextlib
import http.client
import os
import re
import signal
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from case import CaseEnvironment  # noqa: E402
from paths import CAST  # noqa: E402

RUNS = 3  # that a job has at most
SLACK = 10  # seconds in which what is under way is rolled back


class Recovery(CaseEnvironment):
    def before_test(self):
        super().before_test()
        self.agent = self.start_agent(shutdown_grace="60", image_poll_interval="60")

    def restart(self):
        self.agent.kill()
        self.agent.start()

    def sigterm(self):
        self.agent.process.send_signal(signal.SIGTERM)
        tap.wait_for("stop", lambda: "accepting no more casts" in self.agent.text(), 20)

    def kill_during_upload(self, change=lambda case: None):
        """Kills novasnapd during the upload and returns the case at its end. `change` is called before the next
        start."""
        case = self.hold(self.agent)
        self.agent.kill()
        change(case)
        self.agent.start()
        case.wait_end()
        self.front.release.set()
        return case

    def queue_behind(self, case):
        """Sends another snapshot of the guest, which waits for its turn while `case` is held up. Returns its image."""
        image = case.make_image()
        self.agent.command("send", "snapshot_instance", "--file", CAST, "--instance", self.guest.uuid,
                           "--image", image)
        tap.wait_for("job in the journal", lambda: " open " in self.agent.shown(image), 20)
        with contextlib.closing(sqlite3.connect(os.path.join(self.agent.state, "journal", "journal.db"))) as db:
            assert db.execute("SELECT runs FROM jobs WHERE image = ?", (image,)).fetchone() == (0,)
        # The cast is acked, although the job waits.
        assert f"compute.{self.agent.host}\t0" in self.broker.ctl("list_queues", "name", "messages")
        return image

    def is_active(self, image):
        tap.wait_for(f"end of the job; the log: {self.agent.log}", lambda: self.agent.has_ended(image), 60, 0.2)
        return self.glance.get(image)["status"] == "active"

    def event_starts(self):
        return self.conductor.names().count("InstanceActionEvent.event_start")

    def is_given_up(self, case, words, state):
        """Checks that nothing of the snapshot is left, and that the instance is unchanged."""
        assert words in case.said(), case.said()
        assert self.glance.get(case.image) is None
        assert self.conductor.task_states[self.guest.uuid] == state, self.conductor.task_states
        assert self.guest.uuid not in self.conductor.faults, self.conductor.faults
        assert not self.guest.has_job() and self.guest.state() == "running"
        case.nothing_left()


def test_after_a_kill_the_snapshot_is_taken_again(env):
    env.kill_during_upload().is_whole()


def test_data_of_the_earlier_process_arrives_late(env):
    """As from a proxy that passes on what it has received. Glance refuses the next upload until that one is over; where
    this answer is lost, novasnapd sees that the image is being saved."""
    case = env.hold(env.agent, times=2)
    env.restart()
    env.wait_held(2)
    late = http.client.HTTPConnection("127.0.0.1", env.glance.port, timeout=30)
    with contextlib.closing(late):
        late.putrequest("PUT", f"/v2/images/{case.image}/file")
        late.putheader("Content-Type", "application/octet-stream")
        late.putheader("Content-Length", "1000000")
        late.endheaders(b"x" * 1000)
        tap.wait_for("late data", lambda: env.glance.get(case.image)["status"] == "saving", 20)
        env.front.release.set()
        tap.wait_for("refusal", lambda: re.search("answered 409|is still saving", env.agent.text()), 30)
    case.is_whole()


def test_the_task_state_was_cleared_meanwhile(env):
    """The start of nova-compute clears it."""
    env.kill_during_upload(lambda case: env.conductor.task_states.update({env.guest.uuid: None})).is_whole()


def test_the_instance_moved_to_another_host_meanwhile(env):
    def move(_case):
        env.conductor.host = "elsewhere"
    case = env.kill_during_upload(move)
    env.is_given_up(case, "now on another host: elsewhere", "image_uploading")


def test_the_instance_is_being_deleted(env):
    case = env.kill_during_upload(lambda case: env.conductor.task_states.update({env.guest.uuid: "deleting"}))
    env.is_given_up(case, "now being deleted", "deleting")


def test_the_instance_is_in_another_task_meanwhile(env):
    case = env.kill_during_upload(lambda case: env.conductor.task_states.update({env.guest.uuid: "rebooting"}))
    env.is_given_up(case, "now in another task state: rebooting", "rebooting")


def test_the_image_was_deleted_meanwhile(env):
    case = env.kill_during_upload(lambda case: env.glance.delete(case.image))
    case.faults = 0  # nova knows
    case.is_deleted("no longer exists")


def test_the_guest_was_stopped_meanwhile(env):
    """The snapshot shows the guest's disk at the next start, and the guest stays off."""
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
    case = env.hold(env.agent, RUNS)
    for run in range(2, RUNS + 1):
        env.restart()
        env.wait_held(run)
    env.restart()
    case.is_deleted(f"interrupted {RUNS} times")
    assert len(env.front.puts()) == RUNS, env.front.seen
    env.front.release.set()


def test_after_a_kill_a_job_that_only_waited_begins(env):
    """The first snapshot is taken again; then the second begins, with its event."""
    case = env.hold(env.agent)
    image = env.queue_behind(case)
    assert env.event_starts() == 1
    env.restart()
    case.wait_end()
    assert env.is_active(image) and env.event_starts() == 2, env.conductor.names()
    case.is_whole()


def test_after_a_stop_running_and_waiting_jobs_end_whole(env):
    """The one that ran is taken again, the other begins at the next start. Nothing is reported meanwhile."""
    case = env.hold(env.agent)
    image = env.queue_behind(case)
    env.sigterm()
    env.agent.process.send_signal(signal.SIGTERM)
    assert env.agent.process.wait(20) == 0
    for each in (case.image, image):
        assert " open " in env.agent.shown(each), env.agent.text()
        assert env.glance.get(each)["status"] == "queued"
    assert env.event_starts() == 1 and env.conductor.faults == [], env.conductor.names()
    assert env.conductor.task_states[env.guest.uuid] == "image_uploading"
    assert not env.guest.has_job() and env.guest.state() == "running"
    case.nothing_left()
    env.front.release.set()
    env.agent.start()
    case.wait_end()
    assert env.is_active(image) and env.event_starts() == 2, env.conductor.names()
    case.is_whole()


def test_a_job_may_be_stopped_more_often_than_novasnapd_may_die(env):
    case = env.hold(env.agent, RUNS + 1)
    env.agent.configure("novasnap", shutdown_grace="0")
    for run in range(1, RUNS + 2):
        env.wait_held(run)
        env.sigterm()
        if run == 1:  # it still has the grace time of its start
            env.agent.process.send_signal(signal.SIGTERM)
        assert env.agent.process.wait(20) == 0
        assert " open " in case.shown(), case.said()
        env.agent.start()
    case.is_whole()
    env.front.release.set()


def test_sigterm_lets_the_snapshot_end(env):
    case = env.hold(env.agent)
    env.sigterm()
    time.sleep(1)
    assert env.agent.is_running()
    env.front.release.set()
    assert env.agent.process.wait(60) == 0
    case.is_whole()


def test_after_the_grace_time_the_snapshot_is_left_open(env):
    """A guest that was saved for it runs again."""
    agent = env.start_agent(sections=NO_LIVE_SNAPSHOT, shutdown_grace="2")
    case = env.hold(agent)
    began = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - began < 2 + SLACK
    assert " open " in case.shown() and env.guest.state() == "running", case.said()
    assert env.conductor.faults == [] and env.glance.get(case.image)["status"] == "queued"
    env.front.release.set()
    agent.start()
    case.is_whole()


def test_sigterm_with_a_complete_image_that_nobody_may_look_at_afterwards(env):
    """Glance refuses novasnapd's own user at the next start."""
    env.conductor.before_save = None
    case = env.hold(env.agent)
    env.conductor.stop()
    env.front.release.set()
    tap.wait_for("image", lambda: "is stored" in case.said(), 60)
    env.sigterm()
    env.agent.process.send_signal(signal.SIGTERM)
    assert env.agent.process.wait(20) == 0
    assert " open " in case.shown(), case.said()
    env.conductor.start()
    env.front.always = 403
    env.agent.configure("novasnap", saving_timeout="2")
    env.agent.start()
    case.wait_end()
    env.front.always = None
    case.is_whole()


def stop_in_time(env, agent, grace):
    """SIGTERM ends novasnapd within its grace time, whatever it waits for."""
    began = time.monotonic()
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(grace + 2 * SLACK) == 0
    assert time.monotonic() - began < grace + SLACK, agent.text()[-3000:]


def test_sigterm_while_the_conductor_is_away(env):
    agent = env.start_agent(shutdown_grace="3")
    case = env.hold(agent)
    env.conductor.stop()
    env.front.release.set()
    tap.wait_for("image", lambda: "is stored" in case.said(), 60)
    time.sleep(1)
    stop_in_time(env, agent, 3)
    env.conductor.start()
    agent.start()
    case.is_whole()


def test_sigterm_during_recovery_while_the_conductor_is_away(env):
    agent = env.start_agent(shutdown_grace="3", report_state="true")
    case = env.hold(agent)
    agent.kill()
    env.conductor.stop()
    agent.start()
    time.sleep(1)
    stop_in_time(env, agent, 3)
    env.conductor.start()
    env.front.release.set()
    agent.start()
    case.is_whole()


def test_a_second_sigterm_while_the_conductor_is_away(env):
    agent = env.start_agent(shutdown_grace="300", report_state="true")
    case = env.hold(agent)
    env.conductor.stop()
    env.front.release.set()
    tap.wait_for("image", lambda: "is stored" in case.said(), 60)
    agent.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    stop_in_time(env, agent, 0)
    env.conductor.start()
    agent.start()
    case.is_whole()


if __name__ == "__main__":
    tap.main(Recovery)
