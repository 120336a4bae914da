#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Beside a nova-compute (mode = beside), a snapshot and a backup begin with the save of their first task state. Where
nova-compute has the request, or may have it, novasnapd leaves it alone: without event, fault, notification or deletion.
Broker, libvirt, QEMU and Glance are real. The conductor is a stand-in, whose task states and events the tests set as
nova-compute does."""
import json
import os
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case, CaseEnvironment  # noqa: E402
from paths import CAST  # noqa: E402

CLAIM = ("image_snapshot", "image_snapshot_pending")
EVENT = "compute_snapshot_instance"


class Beside(CaseEnvironment):
    def before_test(self):
        super().before_test()
        self.agent = self.start_beside_agent(sections={"DEFAULT": {"rpc_response_timeout": "2"}})
        self.channel = self.enter(self.broker.connection()).channel()
        self.queue = self.channel.queue_declare(exclusive=True).queue
        for topic in ("notifications", "versioned_notifications"):
            for priority in ("info", "error"):
                self.channel.queue_bind(self.queue, "nova", f"{topic}.{priority}")

    def notified(self):
        """Returns the nova notifications since the last call."""
        messages = iter(lambda: self.channel.basic_get(self.queue, no_ack=True), None)
        return [message.body for message in messages]

    def make_message(self, **changes):
        """A cast for the guest, of a request of its own. Returns it with its image."""
        with open(CAST) as file:
            message = json.load(file)
        message["args"]["instance"]["nova_object.data"]["uuid"] = self.guest.uuid
        message["_unique_id"] = uuid.uuid4().hex
        message["_context_request_id"] = f"req-{uuid.uuid4()}"
        message.update({key: value for key, value in changes.items() if key != "args"})
        message["args"].update(changes.get("args", {}))
        return message

    def send(self, before_save=None, task_state="image_snapshot_pending", **changes):
        """Sends a cast of a request of its own. Returns its case. `before_save`: see the stand-in."""
        case = Case(self, self.agent)
        case.request = self.make_message(**changes)
        case.request["args"]["image_id"] = case.image
        self.conductor.task_states[self.guest.uuid] = task_state
        self.conductor.before_save = before_save
        self.conductor.calls.clear()
        self.notified()
        self.broker.publish(case.request, f"compute.{self.agent.host}")
        return case

    def begun(self, method="snapshot_instance"):
        """Returns the request id of a cast that nova-compute has begun."""
        request = f"req-{uuid.uuid4()}"
        self.conductor.start_event(request, f"compute_{method}")
        return request

    def nova_begins(self, case, state="image_snapshot"):
        """What nova-compute does with the same cast first: it starts the event, then it saves."""
        self.conductor.start_event(case.request["_context_request_id"], f"compute_{case.request['method']}")
        self.conductor.task_states[self.guest.uuid] = state

    def events_of(self, case):
        return self.conductor.actions.get(case.request["_context_request_id"], [])

    def is_left_alone(self, case, state):
        """Checks that novasnapd has done nothing with the request."""
        case.wait_end()
        assert "left to nova-compute" in case.said(), case.said()
        names = [name for name in self.conductor.names()
                 if name not in ("Instance.save", "Instance.refresh", "InstanceAction.get_by_request_id",
                                 "InstanceActionEventList.get_by_action")]
        assert names == [] and self.notified() == [], names
        assert self.conductor.task_states[self.guest.uuid] == state, self.conductor.task_states
        assert self.conductor.faults == [], self.conductor.faults
        assert self.glance.get(case.image)["status"] == "queued"
        assert not self.guest.has_job() and self.guest.state() == "running"
        case.nothing_left()

    def queue_behind(self, case):
        """Sends another snapshot of the guest, which waits for its turn while `case` is held up."""
        other = Case.__new__(Case)
        other.__dict__.update(case.__dict__)
        other.image, other.request = case.make_image(), self.make_message()
        other.request["args"]["image_id"] = other.image
        self.broker.publish(other.request, f"compute.{self.agent.host}")
        tap.wait_for("job in the journal", lambda: " open " in self.agent.shown(other.image), 20)
        return other


def test_the_save_of_the_task_state_comes_first(env):
    case = env.send()
    case.is_whole()
    assert env.notified()
    assert env.conductor.states()[0] == CLAIM, env.conductor.states()
    assert env.conductor.names()[:2] == ["Instance.save", "InstanceActionEvent.event_start"], env.conductor.names()
    assert env.conductor.states().count(CLAIM) == 1, env.conductor.states()


def test_a_backup_begins_with_its_first_task_state(env):
    backup = {"method": "backup_instance", "args": {"backup_type": "daily", "rotation": 1}}
    case = env.send(task_state="image_backup", **backup)
    case.event = "compute_backup_instance"
    case.is_whole()
    states = env.conductor.states()
    assert states[0] == ("image_pending_upload", "image_backup"), states
    assert env.conductor.names()[:2] == ["Instance.save", "InstanceActionEvent.event_start"], env.conductor.names()
    assert [state for state, _ in states] == ["image_pending_upload", "image_uploading", "image_pending_upload",
                                              "image_uploading", None], states
    case = env.send(task_state="image_uploading", _context_request_id=env.begun("backup_instance"), **backup)
    env.is_left_alone(case, "image_uploading")


def test_what_nova_compute_has_is_left_to_it(env):
    for state in ("image_snapshot", "image_pending_upload", "image_uploading", "powering-off"):
        case = env.send(task_state=state, _context_request_id=env.begun())
        env.is_left_alone(case, state)


def test_who_watches_learns_that_nova_compute_serves_it(env):
    case = Case(env, env.agent)
    cast = env.folder.file("cast.json")
    with open(cast, "w") as file:
        json.dump(env.make_message(_context_request_id=env.begun()), file)
    env.conductor.task_states[env.guest.uuid] = "image_uploading"
    done = env.agent.command("send", "snapshot_instance", "--file", cast, "--image", case.image, "--watch",
                             "--timeout", "60", check=False)
    case.wait_end()
    assert done.returncode == 1 and "within the timeout" not in done.stderr, done
    assert f"nova-compute serves it: snapshot_instance for image {case.image} is left to" in done.stdout, done


def test_what_nobody_has_fails_as_in_nova_compute(env):
    """Another task state, and no event of the request: nobody else would delete the image."""
    case = env.send(task_state="powering-off")
    case.wait_end()
    assert env.glance.get(case.image) is None, case.said()
    assert env.events_of(case) == [[EVENT, "Error"]], env.conductor.actions
    assert env.conductor.faults == [env.guest.uuid], env.conductor.faults
    assert env.conductor.task_states[env.guest.uuid] == "powering-off", env.conductor.task_states
    assert "UnexpectedTaskStateError" in str(env.notified())


def test_nova_compute_begins_a_copy_of_what_was_refused(env):
    """The broker gives nova-compute what novasnapd's queue has kept for too long."""
    case = env.send(task_state="powering-off")
    tap.wait_for("refusal", lambda: "trying again" in case.said(), 20)
    env.nova_begins(case, "image_uploading")
    env.is_left_alone(case, "image_uploading")


def test_a_lost_reply_to_our_own_save(env):
    """The save is done, and answered too late. There is no event yet, so nobody else can have done it."""
    env.conductor.late = 1
    case = env.send()
    case.is_whole()
    assert env.conductor.names().count("InstanceAction.get_by_request_id") == 1, env.conductor.names()
    assert env.conductor.names().count("InstanceActionEvent.event_start") == 1, env.conductor.names()


def test_a_lost_reply_while_nova_compute_takes_the_same_cast(env):
    """The instance is then in the state that novasnapd wanted, but by a save of nova-compute's."""
    seen, cases = [], []

    def take(_instance, _wanted):
        if seen:
            return
        seen.append(1)
        tap.wait_for("case", lambda: cases, 5, 0.01)
        env.nova_begins(cases[0])
        time.sleep(3)
    cases.append(env.send(take))
    env.is_left_alone(cases[0], "image_snapshot")


def test_killed_before_the_reply_to_the_first_save(env):
    env.conductor.late, env.conductor.late_seconds = 1, 1
    case = env.send()
    tap.wait_for("save", lambda: env.conductor.task_states[env.guest.uuid] == "image_snapshot", 20, 0.01)
    env.agent.kill()
    env.agent.start()
    case.is_whole()
    assert env.conductor.names().count("InstanceActionEvent.event_start") == 1, env.conductor.names()


def test_killed_before_the_first_save_and_nova_compute_takes_the_cast(env):
    """The next process finds the instance in the state that it would have saved itself."""
    killed = []

    def kill(_instance, _wanted):
        if not killed:
            killed.append(1)
            env.agent.kill()
            raise RuntimeError("the database is away")
    case = env.send(kill)
    tap.wait_for("kill", lambda: env.agent.process is None, 20, 0.01)
    env.nova_begins(case)
    env.agent.start()
    env.is_left_alone(case, "image_snapshot")


def restart_with_a_waiting_job(env, take=None):
    """Kills novasnapd while one job runs and another one waits. Returns the second one at its end, after the first was
    taken again. `take` is called when the next process claims the second one."""
    first = env.hold(env.agent)
    other = env.queue_behind(first)

    def next_request(instance, wanted):
        if wanted == "image_snapshot" and env.glance.get(first.image)["status"] == "active":
            env.conductor.task_states[instance] = "image_snapshot_pending"
            if take:
                take(other)
    env.conductor.before_save = next_request
    env.agent.kill()
    env.front.release.set()
    env.agent.start()
    other.wait_end()
    assert env.glance.get(first.image)["status"] == "active"
    return other


def test_a_job_that_waited_is_begun_by_the_next_process(env):
    other = restart_with_a_waiting_job(env)
    assert env.glance.get(other.image)["status"] == "active", other.said()
    assert env.conductor.names().count("InstanceActionEvent.event_start") == 2


def test_a_job_that_waited_is_left_to_nova_compute_by_the_next_process(env):
    other = restart_with_a_waiting_job(env, lambda other: env.nova_begins(other, "image_uploading"))
    assert "left to nova-compute" in other.said(), other.said()
    assert env.glance.get(other.image)["status"] == "queued"
    assert env.conductor.task_states[env.guest.uuid] == "image_uploading"
    assert env.conductor.names().count("InstanceActionEvent.event_start") == 1
    assert env.conductor.faults == [], env.conductor.faults


def test_killed_after_the_first_save_of_a_job_that_ends_without_running(env):
    first = env.hold(env.agent, 2)
    other = env.queue_behind(first)
    env.agent.kill()
    env.agent.start()
    env.wait_held(2)
    env.agent.command("cancel", other.image)
    killed = []

    def kill(instance, wanted):
        if wanted == "image_snapshot" and env.glance.get(first.image)["status"] == "active" and not killed:
            env.agent.kill()
            killed.append(1)
            env.conductor.task_states[instance] = "image_snapshot_pending"
    env.conductor.before_save = kill
    env.front.release.set()
    tap.wait_for("kill", lambda: killed, 60)
    env.agent.start()
    other.wait_end()
    assert "left to nova-compute" not in other.said(), other.said()
    assert env.conductor.task_states[env.guest.uuid] is None, env.conductor.task_states
    assert env.events_of(other)[-1][1], env.conductor.actions


def moved_while_waiting(env, begins):
    """Kills novasnapd while one job runs and another one waits, whose instance is then on another host."""
    first = env.hold(env.agent)
    other = env.queue_behind(first)
    env.agent.kill()
    if begins:
        env.nova_begins(other)
    env.conductor.host = "elsewhere"
    env.front.release.set()
    env.agent.start()
    other.wait_end()
    return other


def test_nova_compute_has_begun_the_request_of_an_instance_that_moved(env):
    other = moved_while_waiting(env, True)
    assert env.events_of(other) == [[EVENT, None]], env.conductor.actions
    assert env.glance.get(other.image)["status"] == "queued"
    assert "left to nova-compute" in other.said(), other.said()


def test_nobody_has_begun_the_request_of_an_instance_that_moved(env):
    other = moved_while_waiting(env, False)
    assert env.events_of(other) == [[EVENT, "Error"]], env.conductor.actions
    assert env.glance.get(other.image) is None


def next_request_of(env, first):
    """The second snapshot has nova-api's task state once the first one has ended."""
    def next_request(instance, wanted):
        if wanted == "image_snapshot" and env.glance.get(first.image)["status"] == "active":
            env.conductor.task_states[instance] = "image_snapshot_pending"
    env.conductor.before_save = next_request


def reached_nova_compute(env):
    """Returns the bodies in nova-compute's queue."""
    messages = iter(lambda: env.channel.basic_get(f"compute.{env.agent.host}", no_ack=True), None)
    return [message.body for message in messages]


def test_disable_while_jobs_are_open(env):
    """What novasnapd has taken it ends itself, and nothing of it reaches nova-compute."""
    first = env.hold(env.agent)
    other = env.queue_behind(first)
    next_request_of(env, first)
    done = env.agent.command("beside", "--disable", "--wait", "70", check=False)  # nova-compute does not run
    assert done.returncode == 3 and "2 requests" in done.stderr and "jobs --open" in done.stderr, done
    env.front.release.set()
    for case in (first, other):
        case.wait_end()
        assert env.glance.get(case.image)["status"] == "active", case.said()
    assert not [body for body in reached_nova_compute(env) if first.image in str(body) or other.image in str(body)]
    done = env.agent.command("beside", "--disable", "--wait", "0", check=False)
    assert done.returncode == 0 and "not enabled" in done.stdout, done


def test_disable_while_novasnapd_is_down_with_a_job_that_waits(env):
    first = env.hold(env.agent)
    other = env.queue_behind(first)
    next_request_of(env, first)
    env.agent.kill()
    done = env.agent.command("beside", "--disable", "--wait", "70", check=False)
    assert done.returncode == 3 and "start novasnapd" in done.stderr, done
    env.front.release.set()
    env.agent.start()
    for case in (first, other):
        case.wait_end()
        assert env.glance.get(case.image)["status"] == "active", case.said()
    assert not [body for body in reached_nova_compute(env) if first.image in str(body) or other.image in str(body)]


def test_the_start_of_nova_compute_clears_the_task_state_of_a_job_that_waits(env):
    case = env.send(task_state=None)
    case.is_whole()
    assert ("image_snapshot", [None, "image_snapshot_pending"]) in env.conductor.states(), env.conductor.states()


def test_the_task_state_was_cleared_after_nova_compute_had_begun(env):
    """Its image still waits for data, but nova-compute may be about to send it."""
    env.is_left_alone(env.send(task_state=None, _context_request_id=env.begun()), None)


def test_a_cancelled_job_that_nova_compute_has_is_left_to_it(env):
    first = env.hold(env.agent)
    other = env.queue_behind(first)

    def take(_instance, wanted):
        if wanted == "image_snapshot":
            env.nova_begins(other, "image_uploading")
    env.conductor.before_save = take
    env.agent.command("cancel", other.image)
    env.agent.command("cancel", first.image)
    other.wait_end()
    env.front.release.set()
    assert "left to nova-compute" in other.said(), other.said()
    assert env.glance.get(other.image)["status"] == "queued"
    assert env.conductor.task_states[env.guest.uuid] == "image_uploading"
    assert len(env.conductor.faults) == 1, env.conductor.faults  # of the first


if __name__ == "__main__":
    tap.main(Beside)
