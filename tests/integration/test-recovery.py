#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What novasnapd finds when it starts again after it was killed, and what SIGTERM does to a snapshot under way.
Broker, libvirt, QEMU and Glance are real, the last behind a proxy that holds uploads up; the conductor is the
stand-in. Killed at each single step: tests/faults."""
import contextlib
import os
import signal
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case, set_up  # noqa: E402
from faulty_glance import FaultyGlance  # noqa: E402
from guest import virsh  # noqa: E402
from services import CAST, Agent  # noqa: E402

RUNS = 3  # that a job has at most


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder, broker, glance, _libvirt, (guest,), conductor = set_up(stack, size_mib=64, data_mib=4)
        faulty = stack.enter_context(FaultyGlance(glance))
        agent = stack.enter_context(Agent(folder, broker.url, faulty.url, novasnap={
            "control": "conductor", "shutdown_grace": "60", "image_poll_interval": "60"}))

        def hold(times=1):
            """A snapshot whose upload is held up, as are those that follow it. Of a life of its own: one that is
            killed writes no counters of what it ran."""
            assert agent.stop() == 0
            os.remove(agent.log)
            agent.start()
            faulty.release = type(faulty.release)()
            faulty.seen.clear()
            faulty.faults[:] = ["hold"] * times
            case = Case(glance, conductor, agent, guest).send()
            wait_held(1)
            return case

        def wait_held(count):
            tap.wait_for("upload", lambda: faulty.puts() == ["hold"] * count, 30)

        def kill():
            agent.process.kill()
            agent.process.wait(20)

        def restart(case):
            os.remove(agent.log)
            case.mark = 0
            agent.start()

        def killed(change):
            """Ends where it is; `change` is what happens before the next start."""
            case = hold()
            kill()
            change(case)
            restart(case)
            case.wait_end()
            faulty.release.set()
            return case

        def is_given_up(case, words, state):
            """Nothing is left of it, and the instance is somebody else's."""
            assert words in case.said(), case.said()
            assert glance.get(case.image) is None
            assert conductor.task_states[guest.uuid] == state, conductor.task_states
            assert guest.uuid not in conductor.faults, conductor.faults
            assert not guest.has_job() and guest.state() == "running"
            case.nothing_left()

        def test_killed_it_begins_again():
            killed(lambda case: None).is_whole()

        def test_the_task_state_was_cleared_meanwhile():
            """As nova-compute's own start does."""
            killed(lambda case: conductor.task_states.update({guest.uuid: None})).is_whole()

        def test_the_instance_is_on_another_host():
            def move(_case):
                conductor.host = "elsewhere"
            case = killed(move)
            is_given_up(case, "now on another host: elsewhere", "image_uploading")

        def test_the_instance_is_being_deleted():
            case = killed(lambda case: conductor.task_states.update({guest.uuid: "deleting"}))
            is_given_up(case, "now being deleted", "deleting")

        def test_somebody_does_something_else_to_the_instance():
            case = killed(lambda case: conductor.task_states.update({guest.uuid: "rebooting"}))
            is_given_up(case, "now in another task state: rebooting", "rebooting")

        def test_the_image_was_deleted_meanwhile():
            case = killed(lambda case: glance.request("DELETE", f"/v2/images/{case.image}"))
            case.faults = 0  # nova knows
            case.is_deleted("went away")

        def test_the_guest_was_stopped_meanwhile():
            """It is taken as it is by then, and stays stopped."""
            case = killed(lambda case: virsh("destroy", guest.name))
            case.state = "shut off"
            case.is_whole()
            guest.start()

        def test_a_job_that_cannot_be_read():
            """Its steps are taken back all the same."""
            def spoil(_case):
                with contextlib.closing(sqlite3.connect(os.path.join(agent.state, "journal", "journal.db"))) as db:
                    db.execute("UPDATE jobs SET message = 'no message' WHERE ended_at IS NULL")
                    db.commit()
            case = killed(spoil)
            assert "of the journal (snapshot_instance) cannot be read" in agent.text(), agent.text()
            assert not guest.has_job() and guest.state() == "running"
            case.nothing_left()

        def queue(case):
            """Another snapshot of the guest, which waits for its turn behind the one that is held up. Returns its
            image."""
            image = case.make_image()
            agent.command("send", "snapshot_instance", "--file", CAST, "--instance", guest.uuid, "--image", image)
            tap.wait_for("job in the journal", lambda: " open " in agent.shown(image), 20)
            assert "runs      0" in agent.command("show", image).stdout
            # The broker waits for no job.
            assert f"compute.{agent.host}\t0" in broker.ctl("list_queues", "name", "messages")
            return image

        def is_active(image):
            tap.wait_for(f"end of the second; the log: {agent.log}", lambda: agent.has_ended(image), 60)
            return glance.get(image)["status"] == "active"

        def event_starts():
            return conductor.names().count("InstanceActionEvent.event_start")

        def test_killed_while_another_waits_for_its_turn():
            """The first begins again; the second begins, with its event."""
            conductor.calls.clear()
            case = hold()
            image = queue(case)
            assert event_starts() == 1
            kill()
            restart(case)
            case.wait_end()
            assert is_active(image) and event_starts() == 2, conductor.names()
            faulty.release.set()
            case.is_whole()

        def test_stopped_while_another_waits_for_its_turn():
            """The first fails; the second begins at the next start."""
            conductor.calls.clear()
            case = hold()
            image = queue(case)
            agent.process.send_signal(signal.SIGTERM)
            tap.wait_for("stop", lambda: "no more casts are taken" in agent.text(), 20)
            agent.process.send_signal(signal.SIGTERM)
            assert agent.process.wait(20) == 0
            assert " open " in agent.shown(image) and event_starts() == 1
            case.is_deleted("novasnapd is stopping")
            faulty.release.set()
            conductor.task_states[guest.uuid] = case.task_state
            restart(case)
            assert is_active(image) and event_starts() == 2, conductor.names()

        def test_who_died_of_it_three_times_does_not_try_again():
            case = hold(RUNS)
            for run in range(2, RUNS + 1):
                kill()
                restart(case)
                wait_held(run)
            kill()
            restart(case)
            case.is_deleted(f"interrupted {RUNS} times")
            faulty.release.set()
            assert len(faulty.puts()) == RUNS, faulty.seen

        def test_sigterm_lets_it_end():
            case = hold()
            agent.process.send_signal(signal.SIGTERM)
            tap.wait_for("stop", lambda: "no more casts are taken" in agent.text(), 20)
            time.sleep(1)
            assert agent.process.poll() is None
            faulty.release.set()
            assert agent.process.wait(60) == 0
            case.is_whole()
            restart(case)

        def test_a_second_sigterm_ends_it():
            case = hold()
            agent.process.send_signal(signal.SIGTERM)
            tap.wait_for("stop", lambda: "no more casts are taken" in agent.text(), 20)
            agent.process.send_signal(signal.SIGTERM)
            assert agent.process.wait(20) == 0
            case.is_deleted("novasnapd is stopping")
            faulty.release.set()
            restart(case)

        def test_it_stops():
            assert agent.stop() == 0

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [agent.log])


if __name__ == "__main__":
    sys.exit(main())
