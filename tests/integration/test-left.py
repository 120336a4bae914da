#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What novasnapd makes of a journal that a life before it left, by what instance, image and host have come to
meanwhile. The journals are made up, so that each case is that of one moment; the guest is that of libvirt's test
driver, the conductor the stand-in, the images are in a folder."""
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
from conductor import StandInConductor  # noqa: E402
from services import CAST, Agent, Broker, Folder  # noqa: E402

GUEST = "6695eb01-f6a4-8304-79aa-97f2502e193f"  # the test driver's one
DATA = b"x" * 100000
SHELVE = {"clean_shutdown": False, "accel_uuids": []}
VOLUME = {"volume_id": "v", "create_info": {"snapshot_id": "s", "type": "qcow2", "new_file": "n"}}


class Left:
    """One job in the journal, of a life that has ended."""

    def __init__(self, agent, conductor, images, method="snapshot_instance", status=None, args=None, steps=(),
                 reason=None):
        """`status`: of its image, "active" with the data that its checksum tells of; None: it has none."""
        self.agent, self.conductor, self.images, self.method = agent, conductor, images, method
        self.image = str(uuid.uuid4()) if status else None
        hashed = hashlib.sha512(DATA).hexdigest()
        facts = []
        if status:
            record = {"id": self.image, "status": status, "created_at": "2026-01-01T00:00:00Z"}
            if status == "active":
                record.update(size=len(DATA), os_hash_algo="sha512", os_hash_value=hashed)
                facts = [("upload", ""), (f"checksum sha512 {hashed} {len(DATA)}", "")]
            with open(self.path() + ".json", "w") as file:
                json.dump(record, file)
            with open(self.path(), "wb") as file:
                file.write(DATA)
        conductor.host = agent.host
        conductor.faults.clear()
        conductor.calls.clear()
        self.event = GUEST, f"compute_{method}"
        conductor.events[self.event] = False
        self.seed(args or {}, [*steps, *facts], reason)

    def path(self):
        return os.path.join(self.images, self.image)

    def seed(self, args, steps, reason):
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

    def row(self):
        """(whether it has ended, why it failed)"""
        with self.database() as db:
            return db.execute("SELECT ended_at IS NOT NULL, reason FROM jobs WHERE id = ?", (self.job,)).fetchone()

    def live(self, during=lambda: None):
        """A life that brings it to its end. Returns why it failed, None: it did not. The journal forgets it."""
        with self.agent:
            during()
            tap.wait_for("end of the job", lambda: self.row()[0], 60)
        self.log = self.agent.text()
        os.remove(self.agent.log)
        reason = self.row()[1]
        with self.database() as db:
            self.left = [name for name, in db.execute(
                "SELECT name FROM steps WHERE job = ? AND cleared_at IS NULL", (self.job,))]
            db.execute("DELETE FROM steps WHERE job = ?", (self.job,))
            db.execute("DELETE FROM jobs WHERE id = ?", (self.job,))
            db.commit()
        return reason

    def is_there(self):
        return os.path.exists(self.path())

    def is_told(self):
        return self.conductor.events[self.event]

    def saved(self):
        """What was saved of the instance."""
        return [updates for name, updates, _ in self.conductor.calls if name == "Instance.save"]


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        broker = stack.enter_context(Broker(folder))
        conductor = stack.enter_context(StandInConductor(broker.url))
        images = folder.make("images")
        agent = Agent(folder, broker.url, images=images, DEFAULT={
            "transport_url": broker.url, "debug": "true", "rpc_response_timeout": "2"},
            libvirt={"connection_uri": "test:///default", "snapshots_directory": folder.make("snapshots")},
            novasnap={"control": "conductor", "saving_timeout": "1", "shutdown_grace": "60"})
        with agent:
            pass  # makes the journal

        def left(*args, **more):
            return Left(agent, conductor, images, *args, **more)

        stuck = os.path.join(agent.snapshots, "novasnap-stuck")  # it cannot be removed
        os.makedirs(os.path.join(stuck, "deep/er"))

        def whole(state, host=None):
            job = left(status="active")
            conductor.task_states[GUEST] = state
            conductor.host = host or agent.host
            assert job.live() is None and job.is_there() and job.is_told(), job.log
            assert conductor.faults == []
            return job

        def test_a_whole_image_whose_instance_waits():
            whole("image_uploading")
            assert conductor.task_states[GUEST] is None

        def test_a_whole_image_whose_instance_went_on():
            assert whole("resize_prep").saved() == []
            assert conductor.task_states[GUEST] == "resize_prep"

        def test_a_whole_image_whose_instance_is_elsewhere():
            assert whole(None, "other").saved() == []

        def test_a_whole_image_whose_instance_is_gone():
            whole("gone")
            whole("deleting")

        def test_a_whole_image_while_the_conductor_is_away():
            job = left(status="active")
            conductor.task_states[GUEST] = "image_uploading"
            conductor.stop()
            assert job.live(lambda: (time.sleep(12), conductor.start())) is None and job.is_there() and job.is_told(), job.log
            assert conductor.task_states[GUEST] is None

        def test_a_whole_image_while_the_conductor_cannot_say():
            conductor.unwell = 2
            whole("image_uploading")
            assert conductor.task_states[GUEST] is None and conductor.unwell == 0

        def test_a_whole_image_that_was_kept_when_its_job_failed():
            job = left("backup_instance", "active", {"backup_type": "daily", "rotation": 1},
                       steps=[("keep", "")], reason="the rotation failed")
            conductor.task_states[GUEST] = "image_uploading"
            assert job.live() == "the rotation failed" and job.is_there() and job.is_told(), job.log
            assert conductor.faults == [GUEST] and conductor.task_states[GUEST] is None

        def test_a_whole_image_and_a_step_that_cannot_be_taken_back():
            job = left(status="active", steps=[("folder", json.dumps({"folder": stuck}))])
            conductor.task_states[GUEST] = "image_uploading"
            assert job.live() is None and job.is_there(), job.log
            assert conductor.task_states[GUEST] is None and job.left == ["folder"]

        def test_a_shelve_that_is_over_does_not_touch_the_guest():
            job = left("shelve_instance", "active", SHELVE)
            conductor.task_states[GUEST] = None
            assert job.live() is None and job.is_there() and job.is_told(), job.log
            assert job.saved() == [] and "power" not in job.log, job.log

        def test_a_shelve_whose_state_was_reset_does_not_touch_the_guest():
            job = left("shelve_instance", "queued", SHELVE)
            conductor.task_states[GUEST] = None
            assert "does not wait for it any more" in job.live()
            assert job.saved() == [] and "Guest.power" not in job.log and not job.is_there() and job.is_told()

        def test_a_volume_snapshot_that_had_not_begun():
            for state in (None, "image_snapshot"):
                job = left("volume_snapshot_create", args=VOLUME)
                conductor.task_states[GUEST] = state
                # It is tried, and this guest has no such volume.
                assert "volume" in job.live() and "CRITICAL" not in job.log, job.log

        def test_a_cancel_while_the_conductor_is_away():
            job = left(status="queued", reason="it failed in a life before")
            conductor.task_states[GUEST] = "image_uploading"
            conductor.stop()

            def cancel():
                tap.wait_for("try", lambda: "asking again" in agent.text(), 40)
                agent.command("cancel", GUEST, check=False)
                tap.wait_for("end's try", lambda: "it is tried again" in agent.text(), 60)
                conductor.start()
            assert job.live(cancel) == "it failed in a life before"
            assert conductor.task_states[GUEST] is None and job.is_told() and not job.is_there()

        def test_sigterm_while_it_waits():
            job = left(status="saving")
            conductor.task_states[GUEST] = "image_uploading"
            with agent:
                tap.wait_for("look", lambda: "taken up again" in agent.text(), 20)
                time.sleep(1)
            assert job.row() == (0, None) and job.is_there(), agent.text()
            os.remove(agent.log)
            assert "now saving" in job.live() and not job.is_there() and job.is_told()

        def test_one_step_that_cannot_be_taken_back_leaves_no_other():
            job = left(status="queued", steps=[("save", json.dumps({"paused": False})),
                                               ("folder", json.dumps({"folder": stuck}))])
            conductor.task_states[GUEST] = "image_uploading"
            assert "novasnap-stuck" in job.live() and job.left == ["folder"], job.log

        def test_a_guest_that_left_while_the_host_was_down():
            elsewhere = GUEST.replace("6695eb01", "00000001")
            zombie = f"<domain type='test'><name>z</name><uuid>{elsewhere}</uuid><memory>1</memory><os><type>hvm" \
                     "</type></os></domain>"
            for state, host in ((None, "other"), ("gone", None)):
                job = left(status="queued", steps=[
                    ("undefine", json.dumps({"xml": zombie, "boot": "another"})),
                    ("save", json.dumps({"paused": False, "boot": "another"}))])
                conductor.task_states[GUEST], conductor.host = state, host or agent.host
                job.live()
                assert job.log.count("is not rolled back on this host") == 2 and "defined again" not in job.log, job.log
                assert job.left == [] and not job.is_there() and conductor.faults == []

        def test_a_guest_that_stayed_while_the_host_was_down():
            for state in ("image_uploading", "resize_prep"):
                job = left(status="queued", steps=[("save", json.dumps({"paused": False, "boot": "another"})),
                                                   ("folder", json.dumps({"folder": stuck}))])
                conductor.task_states[GUEST] = state
                conductor.unwell = 1
                job.live()
                assert "is not rolled back on this host" not in job.log and job.left == ["folder"] and conductor.unwell == 0, job.log

        def test_a_failure_keeps_its_kind():
            job = left(status="queued", reason="the instance is gone",
                       steps=[("failure rpc 10", "")])
            conductor.task_states[GUEST] = "image_uploading"
            job.live()
            assert conductor.faults == [] and not job.is_there(), job.log

        def test_a_fault_is_not_written_twice():
            job = left(status="queued", reason="the disk burns", steps=[("told-fault", "")])
            conductor.task_states[GUEST] = "image_uploading"
            assert job.live() == "the disk burns" and conductor.faults == [] and job.is_told(), job.log
            assert conductor.task_states[GUEST] is None

        status = tap.run([
            test_a_whole_image_whose_instance_waits,
            test_a_whole_image_whose_instance_went_on,
            test_a_whole_image_whose_instance_is_elsewhere,
            test_a_whole_image_whose_instance_is_gone,
            test_a_whole_image_while_the_conductor_is_away,
            test_a_whole_image_while_the_conductor_cannot_say,
            test_a_whole_image_that_was_kept_when_its_job_failed,
            test_a_whole_image_and_a_step_that_cannot_be_taken_back,
            test_a_shelve_that_is_over_does_not_touch_the_guest,
            test_a_shelve_whose_state_was_reset_does_not_touch_the_guest,
            test_a_volume_snapshot_that_had_not_begun,
            test_a_cancel_while_the_conductor_is_away,
            test_sigterm_while_it_waits,
            test_one_step_that_cannot_be_taken_back_leaves_no_other,
            test_a_guest_that_left_while_the_host_was_down,
            test_a_guest_that_stayed_while_the_host_was_down,
            test_a_failure_keeps_its_kind,
            test_a_fault_is_not_written_twice,
        ], [agent.log])
    return status


if __name__ == "__main__":
    sys.exit(main())
