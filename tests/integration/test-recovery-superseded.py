#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What novasnapd does with a job that a previous process left in the journal, depending on what has become of instance,
image and host. The tests write the journals, so that each is that of one moment. The guest is that of libvirt's test
driver, the images are in a folder, the conductor is a stand-in, and the broker is real."""
import contextlib
import hashlib
import json
import os
import sqlite3
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from paths import CAST  # noqa: E402

GUEST = "6695eb01-f6a4-8304-79aa-97f2502e193f"  # the only one of the test driver
DATA = b"x" * 100000
SHELVE = {"clean_shutdown": False, "accel_uuids": []}
VOLUME = {"volume_id": "v", "create_info": {"snapshot_id": "s", "type": "qcow2", "new_file": "n"}}


class Superseded(Environment):
    services = ("broker", "conductor")

    def before_test(self):
        self.conductor.reset()
        if not self.conductor.is_up():
            self.conductor.start()
        self.images = self.folder.make(f"images-{uuid.uuid4().hex[:8]}")
        self.agent = self.make_agent(
            sections={"libvirt_uri": "test:///default", "images": self.images,
                      "DEFAULT": {"rpc_response_timeout": "2"}}, saving_timeout="1", shutdown_grace="60")
        with self.agent:
            pass  # makes the journal

    def task_state(self, state):
        self.conductor.task_states[GUEST] = state

    def make_stuck_folder(self):
        """Makes a folder of a snapshot that cannot be removed."""
        stuck = os.path.join(self.agent.snapshots, "novasnap-stuck")
        os.makedirs(os.path.join(stuck, "deep/er"))
        return stuck


class Job:
    """One job in the journal, of a process that has ended."""

    def __init__(self, env, method="snapshot_instance", status=None, args=None, steps=(), reason=None):
        """`status`: of its image, "active" with the data that its checksum tells of; None: it has none."""
        self.agent, self.conductor, self.images, self.method = env.agent, env.conductor, env.images, method
        self.image = str(uuid.uuid4()) if status else None
        checksum = []
        if status:
            checksum = self._make_image(status)
        self.conductor.host = self.agent.host
        self.event = GUEST, f"compute_{method}"
        self.conductor.events[self.event] = False
        self._write(args or {}, [*steps, *checksum], reason)

    def path(self):
        return os.path.join(self.images, self.image)

    def _make_image(self, status):
        """Makes the image. Returns the steps that hold its checksum."""
        hashed = hashlib.sha512(DATA).hexdigest()
        record = {"id": self.image, "status": status, "created_at": "2026-01-01T00:00:00Z"}
        if status == "active":
            record.update(size=len(DATA), os_hash_algo="sha512", os_hash_value=hashed)
        with open(self.path() + ".json", "w") as file:
            json.dump(record, file)
        with open(self.path(), "wb") as file:
            file.write(DATA)
        return [("upload", ""), (f"checksum sha512 {hashed} {len(DATA)}", "")] if status == "active" else []

    def _write(self, args, steps, reason):
        with open(CAST) as file:
            cast = json.load(file)
        cast = json.loads(cast["oslo.message"]) if "oslo.message" in cast else cast
        cast.update(method=self.method, _unique_id=uuid.uuid4().hex)
        cast["args"]["instance"]["nova_object.data"]["uuid"] = GUEST
        cast["args"].pop("image_id", None)
        cast["args"].update(args, **({"image_id": self.image} if self.image else {}))
        with self.database() as db:
            self.job = db.execute(
                "INSERT INTO jobs (unique_id, method, instance, image, message, runs, came_at, reason) "
                "VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
                (cast["_unique_id"], self.method, GUEST, self.image, json.dumps(cast), int(time.time()),
                 reason)).lastrowid
            db.executemany("INSERT INTO steps (job, name, undo, at) VALUES (?, ?, ?, 1)",
                           [(self.job, name, undo) for name, undo in steps])
            db.commit()

    @contextlib.contextmanager
    def database(self):
        db = sqlite3.connect(os.path.join(self.agent.state, "journal/journal.db"), timeout=20)
        try:
            yield db
        finally:
            db.close()

    def end(self):
        """As if it had ended."""
        with self.database() as db:
            db.execute("UPDATE jobs SET ended_at = ? WHERE id = ?", (int(time.time()), self.job))
            db.commit()

    def open_steps(self):
        with self.database() as db:
            return [name for name, in db.execute(
                "SELECT name FROM steps WHERE job = ? AND cleared_at IS NULL AND undo <> '' ORDER BY id",
                (self.job,))]

    def row(self):
        """Returns whether the job has ended, and why it failed."""
        with self.database() as db:
            return db.execute("SELECT ended_at IS NOT NULL, reason FROM jobs WHERE id = ?", (self.job,)).fetchone()

    def run(self, meanwhile=lambda: None):
        """Runs novasnapd until the job has ended. Returns why it failed, or None if it did not."""
        mark = len(self.agent.text())
        self.agent.start()
        try:
            meanwhile()
            tap.wait_for("end of the job", lambda: self.row()[0], 60)
        finally:
            status = self.agent.stop()
        assert status == 0, status
        self.log = self.agent.text()[mark:]
        with self.database() as db:
            self.left = [name for name, in db.execute(
                "SELECT name FROM steps WHERE job = ? AND cleared_at IS NULL", (self.job,))]
        return self.row()[1]

    def has_image(self):
        return os.path.exists(self.path())

    def event_has_ended(self):
        return self.conductor.events[self.event]

    def saved(self):
        """Returns what was saved of the instance."""
        return [updates for name, updates, _ in self.conductor.calls if name == "Instance.save"]


def keep_whole_image(env, state, host=None):
    """Runs the job whose image is complete: it ends without a failure, and the image stays."""
    job = Job(env, status="active")
    env.task_state(state)
    env.conductor.host = host or env.agent.host
    assert job.run() is None and job.has_image() and job.event_has_ended(), job.log
    assert env.conductor.faults == []
    return job


def test_a_whole_image_whose_instance_waits(env):
    keep_whole_image(env, "image_uploading")
    assert env.conductor.task_states[GUEST] is None


def test_a_whole_image_whose_instance_went_on(env):
    assert keep_whole_image(env, "resize_prep").saved() == []
    assert env.conductor.task_states[GUEST] == "resize_prep"


def test_a_whole_image_whose_instance_is_on_another_host(env):
    assert keep_whole_image(env, None, "other").saved() == []


def test_a_whole_image_whose_instance_is_gone(env):
    keep_whole_image(env, "gone")


def test_a_whole_image_whose_instance_is_being_deleted(env):
    keep_whole_image(env, "deleting")


def test_a_whole_image_while_the_conductor_is_away(env):
    job = Job(env, status="active")
    env.task_state("image_uploading")
    env.conductor.stop()

    def come_back():
        time.sleep(12)
        env.conductor.start()
    assert job.run(come_back) is None and job.has_image() and job.event_has_ended(), job.log
    assert env.conductor.task_states[GUEST] is None


def test_a_whole_image_while_the_conductor_fails(env):
    env.conductor.unwell = 2
    keep_whole_image(env, "image_uploading")
    assert env.conductor.task_states[GUEST] is None and env.conductor.unwell == 0


def test_a_whole_image_that_was_kept_when_its_job_failed(env):
    job = Job(env, "backup_instance", "active", {"backup_type": "daily", "rotation": 1},
              steps=[("keep", "")], reason="the rotation failed")
    env.task_state("image_uploading")
    assert job.run() == "the rotation failed" and job.has_image() and job.event_has_ended(), job.log
    assert env.conductor.faults == [GUEST] and env.conductor.task_states[GUEST] is None


def test_a_whole_image_and_a_step_that_cannot_be_rolled_back(env):
    job = Job(env, status="active", steps=[("folder", json.dumps({"folder": env.make_stuck_folder()}))])
    env.task_state("image_uploading")
    assert job.run() is None and job.has_image(), job.log
    assert env.conductor.task_states[GUEST] is None and job.left == ["folder"]


def test_a_shelve_that_is_over_does_not_touch_the_guest(env):
    job = Job(env, "shelve_instance", "active", SHELVE)
    env.task_state(None)
    assert job.run() is None and job.has_image() and job.event_has_ended(), job.log
    assert job.saved() == [] and "power" not in job.log, job.log


def test_a_shelve_whose_state_was_reset_does_not_touch_the_guest(env):
    job = Job(env, "shelve_instance", "queued", SHELVE)
    env.task_state(None)
    assert "no longer waits for it" in job.run()
    assert job.saved() == [] and "power" not in job.log and not job.has_image() and job.event_has_ended()


def test_a_volume_snapshot_that_had_not_begun(env):
    for state in (None, "image_snapshot"):
        job = Job(env, "volume_snapshot_create", args=VOLUME)
        env.task_state(state)
        # It is tried, and this guest has no such volume.
        assert "volume" in job.run() and "CRITICAL" not in job.log, job.log


def test_a_cancel_while_the_conductor_is_away(env):
    job = Job(env, status="queued", reason="the previous process failed")
    env.task_state("image_uploading")
    env.conductor.stop()

    def cancel():
        tap.wait_for("try", lambda: "querying the instance again" in env.agent.text(), 40)
        env.agent.command("cancel", GUEST, check=False)
        tap.wait_for("end's try", lambda: "it will be reported again" in env.agent.text(), 60)
        env.conductor.start()
    assert job.run(cancel) == "the previous process failed"
    assert env.conductor.task_states[GUEST] is None and job.event_has_ended() and not job.has_image()


def test_sigterm_while_the_image_is_saving(env):
    job = Job(env, status="saving", steps=[("upload", "")])
    env.task_state("image_uploading")
    env.agent.start()
    tap.wait_for("look", lambda: "resuming it" in env.agent.text(), 20)
    time.sleep(1)
    assert env.agent.stop() == 0
    assert job.row() == (0, None) and job.has_image(), env.agent.text()
    assert "now saving" in job.run() and not job.has_image() and job.event_has_ended()


def test_an_image_that_another_task_is_sending(env):
    """This job has not sent anything."""
    job = Job(env, status="saving")
    env.task_state("image_uploading")
    assert "now saving" in job.run() and job.has_image() and job.event_has_ended()


def test_an_image_of_which_all_data_was_sent_is_compared_before_it_is_deleted(env):
    """The job has failed before its image was known to be complete."""
    job = Job(env, status="active", reason="the store did not answer", steps=[("failure image 7", "")])
    env.task_state("image_uploading")
    assert job.run() == "the store did not answer" and job.has_image() and job.event_has_ended()
    job = Job(env, status="active", reason="the store did not answer", steps=[("failure image 7", "")])
    with open(job.path() + ".json") as file:
        record = json.load(file)
    with open(job.path() + ".json", "w") as file:
        json.dump({**record, "os_hash_value": "0" * 128}, file)
    env.task_state("image_uploading")
    assert job.run() == "the store did not answer" and not job.has_image() and job.event_has_ended()


def test_a_step_that_cannot_be_rolled_back_does_not_keep_others_from_it(env):
    job = Job(env, status="queued", steps=[("save", json.dumps({"paused": False})),
                                           ("folder", json.dumps({"folder": env.make_stuck_folder()}))])
    env.task_state("image_uploading")
    assert "novasnap-stuck" in job.run() and job.left == ["folder"], job.log


def leave_a_guest_that_left(env, state, host=None, boot="another", meanwhile=lambda job: None):
    """The steps of another process are dropped when the guest is no longer this host's."""
    other = GUEST.replace("6695eb01", "00000001")
    definition = f"<domain type='test'><name>z</name><uuid>{other}</uuid><memory>1</memory><os><type>hvm</type></os>" \
                 "</domain>"
    job = Job(env, status="queued", steps=[("undefine", json.dumps({"xml": definition, "boot": boot})),
                                           ("save", json.dumps({"paused": False, "boot": boot}))])
    env.task_state(state)
    env.conductor.host = host or env.agent.host
    job.run(lambda: meanwhile(job))
    assert job.log.count("will not be rolled back on this host") == 2 and "defined again" not in job.log, job.log
    assert job.left == [] and not job.has_image() and env.conductor.faults == []


def test_a_guest_that_moved_while_the_host_was_down(env):
    leave_a_guest_that_left(env, None, "other")


def test_a_guest_that_was_deleted_while_the_host_was_down(env):
    leave_a_guest_that_left(env, "gone")


def this_boot():
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def test_a_guest_that_moved_while_only_novasnapd_was_down(env):
    leave_a_guest_that_left(env, None, "other", this_boot())


def test_a_guest_that_was_deleted_while_only_novasnapd_was_down(env):
    leave_a_guest_that_left(env, "gone", boot=this_boot())


def test_a_guest_that_is_being_evacuated_is_not_restored(env):
    """nova records the new host at the end: until then the guest may be starting there."""
    def evacuate(job):
        tap.wait_for("log line", lambda: "not restored until that has ended" in env.agent.text(), 20)
        time.sleep(3)
        assert job.open_steps() == ["undefine", "save"], job.open_steps()
        env.conductor.host = "other"
        env.task_state(None)
    for state in ("rebuild_spawning", "migrating", "resize_migrating"):
        leave_a_guest_that_left(env, state, boot=this_boot(), meanwhile=evacuate)


def test_a_guest_waits_while_the_conductor_is_away(env):
    job = Job(env, status="queued", steps=[("save", json.dumps({"paused": False, "boot": this_boot()}))])
    env.task_state("image_uploading")
    env.conductor.stop()

    def come_back():
        tap.wait_for("log line", lambda: "the guest waits for the answer" in env.agent.text(), 20)
        tap.wait_for("log line", lambda: "querying the instance again" in env.agent.text(), 20)
        time.sleep(3)
        assert job.open_steps() == ["save"], job.open_steps()
        env.conductor.start()
    job.run(come_back)
    assert job.left == [] and "will not be rolled back on this host" not in job.log, job.log


def test_a_guest_that_nova_has_suspended_or_stopped_is_not_started(env):
    for state in ("suspended", "stopped"):
        job = Job(env, status="queued", steps=[("save", json.dumps({"paused": False, "boot": this_boot()}))])
        env.task_state(None)
        env.conductor.fields[GUEST] = {"vm_state": state}
        job.run()
        assert f"the instance is now {state}, and its guest is not started" in job.log and job.left == [], job.log


def leave_ended_job(env, host=None, vm_state="active", meanwhile=lambda job: None):
    """What could not be rolled back when its job ended. Returns the log."""
    steps = [("save", json.dumps({"paused": False, "boot": this_boot()}))]
    job = Job(env, status="queued", steps=steps, reason="libvirt was away")
    job.end()
    env.task_state(None)
    env.conductor.fields[GUEST] = {"vm_state": vm_state}
    env.conductor.host = host or env.agent.host
    mark = len(env.agent.text())
    env.agent.start()
    try:
        meanwhile(job)
        tap.wait_for("end of the step", lambda: job.open_steps() == [], 30)
    finally:
        assert env.agent.stop() == 0
    return env.agent.text()[mark:]


def test_a_guest_that_moved_after_the_end_of_its_job(env):
    log = leave_ended_job(env, "other")
    assert "will not be rolled back on this host" in log, log


def test_a_guest_that_was_suspended_after_the_end_of_its_job(env):
    log = leave_ended_job(env, vm_state="suspended")
    assert "the instance is now suspended" in log and "no step of an ended job is left over" in log, log


def test_a_guest_that_stayed_after_the_end_of_its_job(env):
    env.conductor.stop()

    def come_back(job):
        tap.wait_for("log line", lambda: "querying the instance again" in env.agent.text(), 20)
        assert job.open_steps() == ["save"], job.open_steps()
        env.conductor.start()
    log = leave_ended_job(env, meanwhile=come_back)
    assert "will not be rolled back on this host" not in log and "no step of an ended job is left over" in log, log


def test_a_guest_that_stayed_while_the_host_was_down(env):
    stuck = env.make_stuck_folder()
    for state in ("image_uploading", "powering-off"):
        job = Job(env, status="queued", steps=[("save", json.dumps({"paused": False, "boot": "another"})),
                                               ("folder", json.dumps({"folder": stuck}))])
        env.task_state(state)
        env.conductor.unwell = 1
        job.run()
        assert "will not be rolled back on this host" not in job.log and job.left == ["folder"] and env.conductor.unwell == 0, job.log


def test_a_failure_keeps_its_kind(env):
    job = Job(env, status="queued", reason="the instance is gone", steps=[("failure rpc 10", "")])
    env.task_state("image_uploading")
    job.run()
    assert env.conductor.faults == [] and not job.has_image(), job.log


def test_a_fault_is_not_written_twice(env):
    job = Job(env, status="queued", reason="the disk burns", steps=[("told-fault", "")])
    env.task_state("image_uploading")
    assert job.run() == "the disk burns" and env.conductor.faults == [] and job.event_has_ended(), job.log
    assert env.conductor.task_states[GUEST] is None


if __name__ == "__main__":
    tap.main(Superseded)
