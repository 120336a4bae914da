#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Casts of Folsom and Grizzly are served as by the nova-compute of those releases. When something goes wrong between
novasnapd and the conductor, the task state is correct afterwards. RabbitMQ, libvirt, QEMU and Glance are real; the
conductor is a stand-in (the real one is in make e2e)."""
import json
import os
import sqlite3
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from environment import Environment  # noqa: E402
from images import qemu_img, same_content  # noqa: E402
from paths import CAST, CAST_GRIZZLY  # noqa: E402
from standin_conductor import ROCKY  # noqa: E402

LIMIT = 60
OWNER = "28139ea3fc804990ad2ed0307cce12ef"  # the project of the recorded cast


class Conductor(Environment):
    services = ("broker", "glance", "libvirt", "conductor")

    def set_up(self):
        self.guest = self.make_guest(size_mib=64, data_mib=8)
        self.guest.start()

    def before_test(self):
        self.conductor.reset()
        self.guest.reset()

    def agent(self, sections=None, **novasnap):
        return self.start_agent(sections={"DEFAULT": {"rpc_response_timeout": "2"}, **(sections or {})}, **novasnap)

    def internal_agent(self):
        """An agent with the method internal, which makes raw images."""
        return self.agent({**NO_LIVE_SNAPSHOT, "libvirt": {"snapshot_image_format": "raw"}}, cold_method="internal")

    def write_cast(self, change=None, **args):
        """Writes a changed cast of Grizzly's into a file."""
        with open(CAST_GRIZZLY) as source:
            message = json.load(source)
        message["args"].update(args)
        if change:
            change(message)
        path = self.folder.file(f"{uuid.uuid4()}.json")
        with open(path, "w") as target:
            json.dump(message, target)
        return path

    def send(self, agent, file, task_state, **properties):
        """Sends a cast for our guest and an image that was made as nova-api makes it, and waits for the end."""
        self.conductor.calls.clear()
        self.conductor.task_states[self.guest.uuid] = task_state
        image = self.glance.create(instance_uuid=self.guest.uuid, **properties)
        return (image, *self.watch(agent, file, image))

    def watch(self, agent, file, image):
        done = agent.command("send", "snapshot_instance", "--file", file, "--instance", self.guest.uuid,
                             "--image", image, "--watch", "--timeout", str(LIMIT), check=False)
        return done.stdout, done.returncode

    def send_grizzly(self, agent, **changes):
        return self.send(agent, self.write_cast(**changes), "image_snapshot")

    def send_recorded(self, agent, before_save=None):
        """`before_save`: see the stand-in."""
        self.conductor.before_save = before_save
        return self.send(agent, CAST, "image_snapshot_pending")

    def untouched(self, state="running"):
        assert self.guest.state() == state and not self.guest.has_job() and not self.guest.is_saved()

    def base_image(self, **fields):
        """Returns a change of a cast that gives its instance a base image with these fields."""
        base = self.glance.create("base", **{"container_format": "bare", "disk_format": "qcow2", **fields})
        return lambda message: message["args"]["instance"].update(image_ref=base)

    def make_message(self):
        """Makes the recorded cast for our guest, whose task state is set for it."""
        with open(CAST) as source:
            message = json.load(source)
        message["args"]["instance"]["nova_object.data"]["uuid"] = self.guest.uuid
        message["_unique_id"] = uuid.uuid4().hex
        message["args"]["image_id"] = self.glance.create(instance_uuid=self.guest.uuid)
        self.conductor.task_states[self.guest.uuid] = "image_snapshot_pending"
        return message

    def publish(self, agent, message):
        """Publishes a message unchanged, with the id that it has."""
        self.broker.publish(message, f"compute.{agent.host}")


def test_states_of_grizzly_go_through_instance_update(env):
    change = env.base_image(architecture="i686")
    image, shown, status = env.send_grizzly(env.agent(), change=change)
    assert status == 0, shown
    assert set(env.conductor.names()) == {"instance_update"}, env.conductor.names()
    assert env.conductor.states() == [("image_pending_upload", "image_snapshot"),
                                      ("image_uploading", "image_pending_upload"),
                                      (None, "image_uploading")], env.conductor.states()
    assert env.conductor.calls[0][1] == {"power_state": 1}, env.conductor.calls[0]
    assert env.conductor.calls[0][2] == {"service": "conductor"}
    record = env.glance.get(image)
    assert record["status"] == "active" and record["disk_format"] == "qcow2", record
    assert record["architecture"] == "i686" and record["image_state"] == "available", record
    assert record["image_location"] == "snapshot" and record["owner_id"] == OWNER, record
    assert "os_type" not in record and "kernel_id" not in record, record
    assert same_content(env.glance.file(image), "qcow2", env.guest.disk, "qcow2")
    env.untouched()


def test_internal_makes_a_raw_image(env):
    definition = env.guest.definition()
    image, shown, status = env.send_grizzly(env.internal_agent())
    assert status == 0 and "method: internal" in shown, shown
    record = env.glance.get(image)
    assert record["disk_format"] == "raw" and record["size"] == 64 << 20, record
    assert same_content(env.glance.file(image), "raw", env.guest.disk, "qcow2")
    assert "novasnap-" not in qemu_img("snapshot", "-U", "-l", env.guest.disk)
    assert env.guest.definition() == definition
    env.untouched()


def test_internal_keeps_a_paused_guest_paused(env):
    env.guest.virsh("suspend")
    _image, shown, status = env.send_grizzly(env.internal_agent())
    assert status == 0, shown
    env.untouched("paused")


def test_internal_leaves_other_snapshots_inside_the_disk(env):
    env.guest.virsh("destroy")
    qemu_img("snapshot", "-c", "mine", env.guest.disk)
    try:
        _image, shown, status = env.send_grizzly(env.internal_agent())
        assert status == 0, shown
        listed = qemu_img("snapshot", "-l", env.guest.disk)
        assert "mine" in listed and "novasnap-" not in listed, listed
    finally:
        qemu_img("snapshot", "-d", "mine", env.guest.disk)
    assert env.guest.state() == "shut off"


def test_internal_that_fails_half_way_is_rolled_back(env):
    agent = env.internal_agent()
    moved = os.path.join(agent.folder, "moved")
    os.rename(agent.snapshots, moved)
    with open(agent.snapshots, "w"):
        pass
    image, shown, status = env.send_grizzly(agent)
    os.remove(agent.snapshots)
    os.rename(moved, agent.snapshots)
    assert status == 1 and "snapshots_directory" in shown, shown
    assert env.glance.get(image) is None
    assert env.conductor.states()[-1] == (None, None), env.conductor.states()
    env.untouched()


def test_a_cloud_of_rocky(env):
    """Its conductor knows older versions of nova's objects, and its casts have the RPC version 5.0."""
    message = env.make_message()
    message["version"] = "5.0"
    message["args"]["instance"]["nova_object.version"] = "2.4"
    del message["args"]["instance"]["nova_object.data"]["flavor"]  # so it is loaded, as for a backup
    path = env.folder.file("rocky.json")
    with open(path, "w") as file:
        json.dump(message, file)
    env.conductor.known = ROCKY
    shown, status = env.watch(env.agent(), path, message["args"]["image_id"])
    assert status == 0, shown
    assert {"InstanceActionEvent.event_start", "Instance.get_by_uuid",
            "InstanceActionEvent.event_finish_with_failure"} <= set(env.conductor.names()), env.conductor.names()
    assert env.glance.get(message["args"]["image_id"])["status"] == "active"
    assert env.conductor.faults == [] and set(env.conductor.events.values()) == {True}, env.conductor.events
    env.untouched()


def test_an_ami_stays_an_ami(env):
    change = env.base_image(disk_format="ami", container_format="ami")
    image, shown, status = env.send_grizzly(env.agent(), change=change)
    assert status == 0, shown
    record = env.glance.get(image)
    assert (record["disk_format"], record["container_format"]) == ("ami", "ami"), record
    # Its bytes are raw.
    assert record["size"] == 64 << 20, record
    assert same_content(env.glance.file(image), "raw", env.guest.disk, "qcow2")


def test_a_backup_of_grizzly_rotates(env):
    agent, backups = env.agent(), []
    for _ in range(3):
        file = env.write_cast(image_type="backup", backup_type="daily", rotation=2)
        image, shown, status = env.send(agent, file, "image_backup", image_type="backup", backup_type="daily")
        assert status == 0, shown
        assert env.conductor.states()[0] == ("image_pending_upload", "image_backup")
        backups.append(image)
    assert [env.glance.get(image) is not None for image in backups] == [False, True, True]


def test_a_snapshot_takes_no_rotation_and_a_backup_needs_one(env):
    agent = env.agent()
    for image_type, rotation in (("snapshot", 1), ("backup", None)):
        before = len(agent.text())
        file = env.write_cast(image_type=image_type, backup_type="daily", rotation=rotation)
        agent.command("send", "snapshot_instance", "--file", file, "--image", str(uuid.uuid4()),
                      "--instance", env.guest.uuid)
        tap.wait_for("refusal", lambda: "RotationRequiredForBackup" in agent.text()[before:], 20)


def test_folsom_has_no_conductor_and_an_instance_uuid_suffices(env):
    cast = {"method": "snapshot_instance", "version": "1.40",
            "args": {"instance_uuid": env.guest.uuid, "image_id": "", "image_type": "snapshot"}}
    file = env.folder.file("folsom.json")
    with open(file, "w") as target:
        json.dump(cast, target)
    image, shown, status = env.send(env.agent(control="none"), file, None)
    assert status == 0, shown
    assert env.conductor.calls == [], env.conductor.calls
    assert env.glance.get(image)["status"] == "active"


def test_a_duplicate_cast_is_dropped_also_after_a_restart(env):
    agent, message = env.agent(), env.make_message()
    image = message["args"]["image_id"]
    env.publish(agent, message)
    tap.wait_for("image", lambda: env.glance.get(image)["status"] == "active", 30)
    tap.wait_for("end", lambda: " done " in agent.command("jobs").stdout.split("\n")[0], 20)
    shown = agent.command("show", image).stdout
    assert "outcome   done" in shown and "backup       cleared" in shown, shown
    kept = json.loads(agent.command("show", "--message", image).stdout)
    assert kept["_context_auth_token"] in (None, "***") and kept["method"] == message["method"]
    assert agent.stop() == 0
    agent.start()
    env.conductor.calls.clear()
    env.publish(agent, message)
    tap.wait_for("end of the second", lambda: "it is a duplicate" in agent.text(), 20)
    assert env.conductor.calls == [] and env.glance.get(image)["status"] == "active"
    assert agent.command("jobs", "--open").stdout == ""
    assert agent.command("show", str(uuid.uuid4()), check=False).returncode == 1


def test_while_the_journal_cannot_be_written_nothing_is_acked(env):
    agent = env.agent()
    holder = sqlite3.connect(os.path.join(agent.state, "journal", "journal.db"))
    holder.execute("BEGIN IMMEDIATE")
    messages = [env.make_message() for _ in range(3)]
    images = [message["args"]["image_id"] for message in messages]
    for message in messages:
        env.publish(agent, message)
    tap.wait_for("stop", lambda: "accepting no casts" in agent.text(), 40)
    assert all(env.glance.get(image)["status"] == "queued" for image in images)
    # After a kill none is lost: the broker delivers them again.
    agent.kill()
    holder.rollback()
    holder.close()
    agent.start()
    for image in images:
        # nova sets it for one snapshot after the other.
        tap.wait_for("image", lambda: (record := env.glance.get(image)) is None or record["status"] == "active", 40)
        env.conductor.task_states[env.guest.uuid] = "image_snapshot_pending"
    assert len(agent.command("jobs", "--open").stdout.split("\n")) <= 2
    assert sum(image in agent.command("jobs").stdout for image in images) == 3
    tap.wait_for("end of all", lambda: not agent.command("jobs", "--open").stdout, 40)
    env.untouched()


def test_a_reply_that_is_lost_is_no_refusal(env):
    agent = env.agent()
    env.conductor.late = 1
    image, shown, status = env.send_recorded(agent)
    assert status == 0, (shown, agent.text()[-2000:])
    first = env.conductor.states()[:3]
    assert first == [("image_snapshot", "image_snapshot_pending")] * 2 + [
        ("image_pending_upload", "image_snapshot")], env.conductor.states()
    assert env.conductor.names().count("InstanceActionEvent.event_start") == 1
    assert env.glance.get(image)["status"] == "active"


def test_a_conductor_that_does_not_answer_fails_the_snapshot(env):
    def sleep(_instance, wanted):
        if wanted == "image_snapshot":
            time.sleep(3)
    image, shown, status = env.send_recorded(env.agent(), sleep)
    assert status == 1 and "did not answer" in shown, shown
    assert env.glance.get(image) is None
    # There is one fault, also if calls were repeated.
    assert env.conductor.names().count("InstanceFault.create") == 1, env.conductor.names()
    env.untouched()


def test_hidden_secrets_are_not_saved(env):
    """A recording's shelve has "***" for the secret UUID of the guest's vTPM, and saves the system metadata."""
    agent = env.agent()
    message = env.make_message()
    data = message["args"]["instance"]["nova_object.data"]
    metadata = {**data["system_metadata"], "vtpm_secret_uuid": "the-secret", "changed": "by nova"}
    data["system_metadata"].update(vtpm_secret_uuid="***", gone_secret="***")
    message["method"] = "shelve_instance"
    message["args"].update(clean_shutdown=False, accel_uuids=[])
    env.conductor.task_states[env.guest.uuid] = "shelving"
    env.conductor.fields[env.guest.uuid] = {"system_metadata": metadata}
    env.publish(agent, message)
    tap.wait_for("end", lambda: agent.has_ended(env.guest.uuid), 60)
    saved = env.conductor.fields[env.guest.uuid]["system_metadata"]
    assert saved["vtpm_secret_uuid"] == "the-secret" and "gone_secret" not in saved, saved
    assert saved["shelved_image_id"] == message["args"]["image_id"], saved


def fail_with_a_late_fault(env, agent):
    """A snapshot that fails, and whose fault the conductor inserts without an answer in time."""
    def refuse(_instance, wanted):
        if wanted == "image_uploading":
            raise RuntimeError("refused by the test")
    env.conductor.late_faults = 1
    assert env.send_recorded(agent, refuse)[2] == 1
    tap.wait_for("end", lambda: agent.has_ended(env.guest.uuid), 60)


def test_a_fault_whose_reply_is_lost_is_not_inserted_again(env):
    agent = env.agent()
    fail_with_a_late_fault(env, agent)
    assert env.conductor.faults == [env.guest.uuid], env.conductor.faults
    assert env.conductor.names().count("InstanceFault.create") == 1, env.conductor.names()
    assert "InstanceFaultList.get_by_instance_uuids" in env.conductor.names()


def test_a_fault_is_not_inserted_again_by_the_next_process(env):
    agent = env.agent()

    def refuse(_instance, wanted):
        if wanted == "image_uploading":
            raise RuntimeError("refused by the test")
    env.conductor.before_save = refuse
    env.conductor.late_faults, env.conductor.late_seconds = 1, 30
    env.conductor.task_states[env.guest.uuid] = "image_snapshot_pending"
    agent.command("send", "snapshot_instance", "--file", CAST, "--instance", env.guest.uuid, "--image",
                  env.glance.create(instance_uuid=env.guest.uuid))
    tap.wait_for("fault", lambda: env.conductor.faults, 60)
    agent.kill()
    agent.start()
    tap.wait_for("end", lambda: agent.has_ended(env.guest.uuid), 60)
    assert env.conductor.faults == [env.guest.uuid], env.conductor.faults


def test_where_faults_cannot_be_listed_none_is_inserted_again(env):
    agent = env.agent()
    env.conductor.lists_faults = False
    fail_with_a_late_fault(env, agent)
    assert env.conductor.faults == [env.guest.uuid], env.conductor.faults
    assert "it is unknown whether" in agent.text(), agent.text()[-2000:]


def test_a_fault_that_was_not_inserted_is_sent_again(env):
    """The conductor is away while the snapshot ends; what was sent meanwhile expires at the broker."""
    agent = env.agent()

    def stop(_instance, wanted):
        if wanted == "image_uploading":
            threading.Thread(target=env.conductor.stop).start()
            raise RuntimeError("refused by the test")
    env.callback(lambda: env.conductor.is_up() or env.conductor.start())
    assert env.send_recorded(agent, stop)[2] in (0, 1)
    tap.wait_for("log line", lambda: "the fault could not be written" in agent.text(), 60)
    assert env.conductor.faults == []
    env.conductor.start()
    tap.wait_for("end", lambda: agent.has_ended(env.guest.uuid), 60)
    assert env.conductor.faults == [env.guest.uuid], env.conductor.faults


def test_a_task_state_that_was_cleared_is_set_again(env):
    seen = []

    def clear(instance, wanted):
        if wanted == "image_uploading" and not seen:
            seen.append(wanted)
            env.conductor.task_states[instance] = None
    agent = env.agent()
    image, shown, status = env.send_recorded(agent, clear)
    assert status == 0, (shown, agent.text()[-2000:])
    assert ("image_uploading", [None, "image_pending_upload"]) in env.conductor.states(), env.conductor.states()
    assert env.glance.get(image)["status"] == "active"


def test_a_task_state_of_another_task_is_left_alone(env):
    def change(instance, wanted):
        if wanted == "image_uploading":
            env.conductor.task_states[instance] = "rebooting"
    image, shown, status = env.send_recorded(env.agent(), change)
    assert status == 1, shown
    assert env.conductor.task_states[env.guest.uuid] == "rebooting"
    assert env.glance.get(image) is None
    assert "InstanceFault.create" in env.conductor.names()
    finish = [call for call in env.conductor.calls if "event_finish" in call[0]]
    assert finish[0][2]["exc_val"], finish
    env.untouched()


def test_an_instance_that_goes_away_is_no_failure(env):
    agent = env.agent()
    for state in ("gone", "deleting"):
        def change(instance, wanted):
            if wanted == "image_pending_upload":
                env.conductor.task_states[instance] = state
        image, shown, status = env.send_recorded(agent, change)
        assert status == 1, shown
        assert env.glance.get(image) is None
        assert "InstanceFault.create" not in env.conductor.names(), env.conductor.names()
        finish = [call for call in env.conductor.calls if "event_finish" in call[0]]
        assert len(finish) == 1 and finish[0][2]["exc_val"] is None, finish
        assert env.conductor.task_states[env.guest.uuid] == state
        env.untouched()


def test_an_image_that_goes_away_clears_the_task_state(env):
    deleted = []

    def delete(_instance, wanted):
        if wanted == "image_uploading" and env.conductor.states().count(
                ("image_uploading", "image_pending_upload")) == 2:
            query = f"/v2/images?status=queued&instance_uuid={env.guest.uuid}"
            for image in env.glance.request("GET", query)["images"]:
                deleted.append(image["id"])
                env.glance.delete(image["id"])
    image, shown, status = env.send_recorded(env.agent(), delete)
    assert status == 1 and image in deleted, (shown, deleted)
    assert env.conductor.task_states[env.guest.uuid] is None
    assert "InstanceFault.create" not in env.conductor.names(), env.conductor.names()
    env.untouched()


def test_an_image_that_is_whole_survives_a_cast_that_comes_twice(env):
    agent = env.agent()
    image, shown, status = env.send_recorded(agent)
    assert status == 0, shown
    shown, status = env.watch(agent, CAST, image)
    assert status == 1, shown
    assert env.glance.get(image)["status"] == "active"


def progress_agent(env):
    """An agent whose uploads take a quarter of a minute."""
    return env.agent(report_progress="true", upload_bytes_per_second=str(512 << 10))


def progress_saves(env):
    return [(updates, kwargs) for name, updates, kwargs in env.conductor.calls
            if name == "Instance.save" and "progress" in updates]


def start_upload(env, agent):
    """Starts a snapshot, and waits until the record shows its percentage. Returns the image."""
    image = env.glance.create(instance_uuid=env.guest.uuid)
    env.conductor.task_states[env.guest.uuid] = "image_snapshot_pending"
    agent.command("send", "snapshot_instance", "--file", CAST, "--instance", env.guest.uuid, "--image", image)
    tap.wait_for("percentage", lambda: env.conductor.fields.get(env.guest.uuid, {}).get("progress"), 60)
    return image


def test_the_progress_is_kept_in_the_instance(env):
    image, shown, status = env.send(progress_agent(env), CAST, "image_snapshot_pending")
    assert status == 0 and env.glance.get(image)["status"] == "active", shown
    saves = progress_saves(env)
    percents = [updates["progress"] for updates, _ in saves]
    # Nothing else is saved with a percentage, whatever the task state is.
    assert all(updates.keys() == {"progress"} and kwargs == {} for updates, kwargs in saves[:-1]), saves
    assert len(percents) > 2 and all(later - former >= 5 for former, later in zip([0] + percents, percents[:-1]))
    # The end needs no save of its own.
    assert saves[-1] == ({"task_state": None, "progress": 0}, {"expected_task_state": "image_uploading"}), saves[-1]


def test_without_report_progress_nothing_is_kept(env):
    _image, shown, status = env.send(env.agent(upload_bytes_per_second=str(512 << 10)), CAST, "image_snapshot_pending")
    assert status == 0 and progress_saves(env) == [], shown


def test_the_progress_is_0_again_after_a_cancel_and_after_another_task_state(env):
    for change in (lambda agent: agent.command("cancel", env.guest.uuid),
                   lambda agent: (env.conductor.task_states.update({env.guest.uuid: "rebooting"}),
                                  agent.command("cancel", env.guest.uuid))):
        env.conductor.reset()
        agent = progress_agent(env)
        image = start_upload(env, agent)
        change(agent)
        tap.wait_for("end", lambda: agent.has_ended(image), 60)
        assert env.conductor.fields[env.guest.uuid]["progress"] == 0, progress_saves(env)
        assert env.glance.get(image) is None
        env.untouched()


def test_the_progress_is_0_again_after_a_crash(env):
    agent = progress_agent(env)
    env.conductor.host = agent.host
    image = start_upload(env, agent)
    agent.kill()
    env.glance.delete(image)
    agent.start()
    tap.wait_for("end", lambda: agent.has_ended(image), 60)
    assert env.conductor.fields[env.guest.uuid]["progress"] == 0, progress_saves(env)
    assert env.conductor.task_states[env.guest.uuid] is None


def test_an_upload_does_not_wait_for_the_conductor_to_keep_its_progress(env):
    agent = progress_agent(env)
    image = start_upload(env, agent)
    env.callback(lambda: env.conductor.is_up() or env.conductor.start())
    env.conductor.stop()
    tap.wait_for("image", lambda: env.glance.get(image)["status"] == "active", 40)
    env.conductor.start()
    tap.wait_for("end", lambda: agent.has_ended(image), 60)
    assert env.conductor.fields[env.guest.uuid]["progress"] == 0, progress_saves(env)
    assert env.conductor.faults == []


if __name__ == "__main__":
    tap.main(Conductor)
