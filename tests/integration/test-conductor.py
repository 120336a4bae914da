#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Casts of Folsom and Grizzly, and what goes wrong between the conductor and us. The broker, libvirt, QEMU and
Glance are real; the conductor is the stand-in of tests/lib/conductor.py (the real one is in make e2e)."""
import contextlib
import json
import os
import sqlite3
import sys
import time
import uuid

import kombu

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import set_up  # noqa: E402
from guest import qemu_img, same_content, virsh  # noqa: E402
from services import CAST, TOP, Agent, end  # noqa: E402

GRIZZLY = os.path.join(TOP, "conf/casts/snapshot_instance_grizzly.json")
LIMIT = 60


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder, broker, glance, _libvirt, (guest,), conductor = set_up(stack, size_mib=64, data_mib=8)
        common = {"DEFAULT": {"transport_url": broker.url, "debug": "true",
                              "rpc_response_timeout": "2"}}
        agent = Agent(folder, broker.url, glance.url, DEFAULT=common["DEFAULT"],
                      novasnap={"control": "conductor"})
        internal = Agent(folder, broker.url, glance.url, name="internal", DEFAULT=common["DEFAULT"],
                         workarounds={"disable_libvirt_livesnapshot": "true"},
                         libvirt={"snapshot_image_format": "raw"},
                         novasnap={"control": "conductor", "cold_method": "internal"})
        folsom = Agent(folder, broker.url, glance.url, name="folsom", DEFAULT=common["DEFAULT"],
                       novasnap={"control": "none"})
        for which in (agent, internal, folsom):
            stack.callback(lambda which=which: end(which.process, 90))
            which.start()

        def write_cast(file=GRIZZLY, change=None, **args):
            with open(file) as source:
                message = json.load(source)
            message["args"].update(args)
            if change:
                change(message)
            path = os.path.join(folder.path, f"{uuid.uuid4()}.json")
            with open(path, "w") as target:
                json.dump(message, target)
            return path

        def send(which, file, task_state, more=(), name="test image", **properties):
            """Sends a cast for our guest, into an image as nova-api makes it, and waits for its end."""
            conductor.calls.clear()
            conductor.task_states[guest.uuid] = task_state
            image = glance.request("POST", "/v2/images", {"name": name, "instance_uuid": guest.uuid,
                                                          **properties})["id"]
            done = which.command("send", "snapshot_instance", "--file", file, "--instance",
                                 guest.uuid, "--image", image, "--watch", "--timeout", str(LIMIT),
                                 *more, check=False)
            return image, done.stdout, done.returncode

        def untouched(state="running"):
            assert guest.state() == state and not guest.has_job() and not guest.is_saved()
            for which in (agent, internal, folsom):
                assert os.listdir(which.snapshots) == [], os.listdir(which.snapshots)

        def base_image(**fields):
            base = glance.request("POST", "/v2/images", {
                "name": "base", "container_format": "bare", "disk_format": "qcow2", **fields})["id"]
            return lambda message: message["args"]["instance"].update(image_ref=base)

        def test_grizzly_states_go_through_instance_update():
            change = base_image(architecture="i686")
            image, shown, status = send(agent, write_cast(change=change), "image_snapshot")
            assert status == 0, shown
            assert set(conductor.names()) == {"instance_update"}, conductor.names()
            assert conductor.states() == [("image_pending_upload", "image_snapshot"),
                                          ("image_uploading", "image_pending_upload"),
                                          (None, "image_uploading")], conductor.states()
            assert conductor.calls[0][1] == {"power_state": 1}, conductor.calls[0]
            assert conductor.calls[0][2] == {"service": "conductor"}
            record = glance.get(image)
            assert record["status"] == "active" and record["disk_format"] == "qcow2", record
            assert record["architecture"] == "i686" and record["image_state"] == "available", record
            assert record["image_location"] == "snapshot", record
            assert record["owner_id"] == "28139ea3fc804990ad2ed0307cce12ef", record
            assert "os_type" not in record and "kernel_id" not in record, record
            assert same_content(glance.file(image), "qcow2", guest.disk, "qcow2")
            untouched()

        def test_the_seeds_method_internal_makes_raw():
            definition = guest.definition()
            image, shown, status = send(internal, write_cast(), "image_snapshot")
            assert status == 0 and "method: internal" in shown, shown
            record = glance.get(image)
            assert record["disk_format"] == "raw" and record["size"] == 64 << 20, record
            assert same_content(glance.file(image), "raw", guest.disk, "qcow2")
            assert "novasnap-" not in qemu_img("snapshot", "-U", "-l", guest.disk)
            assert guest.definition() == definition
            untouched()

        def test_internal_keeps_a_paused_guest_paused():
            virsh("suspend", guest.name)
            _image, shown, status = send(internal, write_cast(), "image_snapshot")
            assert status == 0, shown
            untouched("paused")
            virsh("resume", guest.name)

        def test_internal_leaves_other_snapshots_inside_the_disk():
            virsh("destroy", guest.name)
            qemu_img("snapshot", "-c", "mine", guest.disk)
            _image, shown, status = send(internal, write_cast(), "image_snapshot")
            assert status == 0, shown
            listed = qemu_img("snapshot", "-l", guest.disk)
            assert "mine" in listed and "novasnap-" not in listed, listed
            qemu_img("snapshot", "-d", "mine", guest.disk)
            assert guest.state() == "shut off"
            guest.start()

        def test_internal_that_fails_half_way_is_undone():
            taken = os.path.join(internal.folder, "full")
            os.rename(internal.snapshots, taken)
            with open(internal.snapshots, "w"):
                pass
            image, shown, status = send(internal, write_cast(), "image_snapshot")
            os.remove(internal.snapshots)
            os.rename(taken, internal.snapshots)
            assert status == 1 and "snapshots_directory" in shown, shown
            assert glance.get(image) is None
            assert conductor.states()[-1] == (None, None), conductor.states()
            untouched()

        def test_an_ami_stays_an_ami():
            change = base_image(disk_format="ami", container_format="ami")
            image, shown, status = send(agent, write_cast(change=change), "image_snapshot")
            assert status == 0, shown
            record = glance.get(image)
            assert (record["disk_format"], record["container_format"]) == ("ami", "ami"), record

        def test_a_backup_of_grizzly_rotates():
            backups = []
            for _ in range(3):
                file = write_cast(image_type="backup", backup_type="daily", rotation=2)
                image, shown, status = send(agent, file, "image_backup", image_type="backup",
                                            backup_type="daily")
                assert status == 0, shown
                assert conductor.states()[0] == ("image_pending_upload", "image_backup")
                backups.append(image)
            assert [glance.get(image) is not None for image in backups] == [False, True, True]

        def test_a_snapshot_takes_no_rotation_and_a_backup_needs_one():
            for image_type, rotation in (("snapshot", 1), ("backup", None)):
                text = agent.text()
                agent.command("send", "snapshot_instance", "--file", write_cast(
                    image_type=image_type, backup_type="daily", rotation=rotation), "--image",
                    str(uuid.uuid4()), "--instance", guest.uuid)
                tap.wait_for("refusal", lambda before=text: "RotationRequiredForBackup"
                             in agent.text()[len(before):], 20)

        def test_folsom_has_no_conductor_and_an_instance_uuid_will_do():
            conductor.calls.clear()
            cast = {"method": "snapshot_instance", "version": "1.40",
                    "args": {"instance_uuid": guest.uuid, "image_id": "", "image_type": "snapshot"}}
            file = os.path.join(folder.path, "folsom.json")
            with open(file, "w") as target:
                json.dump(cast, target)
            image, shown, status = send(folsom, file, None)
            assert status == 0, shown
            assert conductor.calls == [], conductor.calls
            assert glance.get(image)["status"] == "active"

        def publish(message):
            """As it is, with the id that it has."""
            with kombu.Connection(broker.url.replace("rabbit://", "amqp://")) as connection:
                connection.Producer().publish(json.dumps(message), exchange="nova",
                                              routing_key=f"compute.{agent.host}",
                                              content_type="application/json",
                                              content_encoding="utf-8")

        def make_message():
            with open(CAST) as source:
                message = json.load(source)
            message["args"]["instance"]["nova_object.data"]["uuid"] = guest.uuid
            message["_unique_id"] = uuid.uuid4().hex
            message["args"]["image_id"] = glance.request("POST", "/v2/images", {
                "name": "again", "instance_uuid": guest.uuid})["id"]
            conductor.task_states[guest.uuid] = "image_snapshot_pending"
            return message

        def test_a_cast_that_comes_again_is_dropped_also_after_a_restart():
            message = make_message()
            image = message["args"]["image_id"]
            publish(message)
            tap.wait_for("image", lambda: glance.get(image)["status"] == "active", 30)
            tap.wait_for("end", lambda: " done " in agent.command("jobs").stdout.split("\n")[0], 20)
            shown = agent.command("show", image).stdout
            assert "outcome   done" in shown and "backup       over" in shown, shown
            kept = json.loads(agent.command("show", "--message", image).stdout)
            assert kept["_context_auth_token"] in (None, "***") and kept["method"] == message["method"]
            assert agent.stop() == 0
            agent.start()
            conductor.calls.clear()
            publish(message)
            tap.wait_for("end of the second", lambda: "came before" in agent.text(), 20)
            assert conductor.calls == [] and glance.get(image)["status"] == "active"
            assert agent.command("jobs", "--open").stdout == ""
            assert agent.command("show", str(uuid.uuid4()), check=False).returncode == 1

        def test_while_the_journal_cannot_be_written_nothing_is_acked():
            holder = sqlite3.connect(os.path.join(agent.state, "journal", "journal.db"))
            holder.execute("BEGIN IMMEDIATE")
            mark = len(agent.text())
            messages = [make_message() for _ in range(3)]
            for message in messages:
                publish(message)
            tap.wait_for("stop", lambda: "no cast is taken" in agent.text()[mark:], 40)
            assert all(glance.get(message["args"]["image_id"])["status"] == "queued"
                       for message in messages)
            # Killed now, it has lost none: the broker gives them out again.
            agent.process.kill()
            agent.process.wait(20)
            holder.rollback()
            holder.close()
            agent.start()
            for message in messages:
                # nova sets it for one after the other.
                tap.wait_for("image", lambda: (record := glance.get(message["args"]["image_id"])) is None
                             or record["status"] == "active", 40)
                conductor.task_states[guest.uuid] = "image_snapshot_pending"
            assert len(agent.command("jobs", "--open").stdout.split("\n")) <= 2
            assert sum(message["args"]["image_id"] in agent.command("jobs").stdout
                       for message in messages) == 3
            untouched()

        def test_a_reply_that_is_lost_is_no_refusal():
            conductor.late = 1
            image, shown, status = send(agent, CAST, "image_snapshot_pending")
            assert status == 0, (shown, agent.text()[-2000:])
            first = conductor.states()[:3]
            assert first == [("image_snapshot", "image_snapshot_pending")] * 2 + [
                ("image_pending_upload", "image_snapshot")], conductor.states()
            assert conductor.names().count("InstanceActionEvent.event_start") == 1
            assert glance.get(image)["status"] == "active"

        def test_a_conductor_that_does_not_answer_is_given_up():
            def sleep(_instance, wanted):
                if wanted == "image_snapshot":
                    time.sleep(3)
            conductor.before_save = sleep
            image, shown, status = send(agent, CAST, "image_snapshot_pending")
            conductor.before_save = None
            assert status == 1 and "did not answer" in shown, shown
            assert glance.get(image) is None
            # One fault, whatever was repeated.
            assert conductor.names().count("InstanceFault.create") == 1, conductor.names()
            untouched()

        def test_a_task_state_that_was_cleared_is_set_again():
            seen = []

            def clear(instance, wanted):
                if wanted == "image_uploading" and not seen:
                    seen.append(wanted)
                    conductor.task_states[instance] = None
            conductor.before_save = clear
            image, shown, status = send(agent, CAST, "image_snapshot_pending")
            conductor.before_save = None
            assert status == 0, (shown, agent.text()[-2000:])
            assert ("image_uploading", [None, "image_pending_upload"]) in conductor.states(), \
                conductor.states()
            assert glance.get(image)["status"] == "active"

        def test_a_task_state_of_somebody_else_is_left_alone():
            def change(instance, wanted):
                if wanted == "image_uploading":
                    conductor.task_states[instance] = "rebooting"
            conductor.before_save = change
            image, shown, status = send(agent, CAST, "image_snapshot_pending")
            conductor.before_save = None
            assert status == 1, shown
            assert conductor.task_states[guest.uuid] == "rebooting"
            assert glance.get(image) is None
            assert "InstanceFault.create" in conductor.names()
            finish = [call for call in conductor.calls if "event_finish" in call[0]]
            assert finish[0][2]["exc_val"], finish
            untouched()

        def test_an_instance_that_goes_away_is_no_failure():
            for state in ("gone", "deleting"):
                def change(instance, wanted, state=state):
                    if wanted == "image_pending_upload":
                        conductor.task_states[instance] = state
                conductor.before_save = change
                image, shown, status = send(agent, CAST, "image_snapshot_pending")
                conductor.before_save = None
                assert status == 1, shown
                assert glance.get(image) is None
                assert "InstanceFault.create" not in conductor.names(), conductor.names()
                finish = [call for call in conductor.calls if "event_finish" in call[0]]
                assert len(finish) == 1 and finish[0][2]["exc_val"] is None, finish
                assert conductor.task_states[guest.uuid] == state
                untouched()

        def test_an_image_that_goes_away_clears_the_task_state():
            images = []

            def delete(_instance, wanted):
                if wanted == "image_uploading" and conductor.states().count(
                        ("image_uploading", "image_pending_upload")) == 2:
                    for image in glance.request("GET", "/v2/images?status=queued")["images"]:
                        images.append(image["id"])
                        glance.request("DELETE", f"/v2/images/{image['id']}")
            conductor.before_save = delete
            image, shown, status = send(agent, CAST, "image_snapshot_pending")
            conductor.before_save = None
            assert status == 1 and image in images, (shown, images)
            assert conductor.task_states[guest.uuid] is None
            assert "InstanceFault.create" not in conductor.names(), conductor.names()
            untouched()

        def test_an_image_that_is_whole_survives_a_cast_that_comes_twice():
            image, shown, status = send(agent, CAST, "image_snapshot_pending")
            assert status == 0, shown
            done = agent.command("send", "snapshot_instance", "--file", CAST, "--instance",
                                 guest.uuid, "--image", image, "--watch", "--timeout", str(LIMIT),
                                 check=False)
            assert done.returncode == 1, done.stdout
            assert glance.get(image)["status"] == "active"

        def test_they_stop_and_leave_nothing():
            for which in (agent, internal, folsom):
                assert which.stop() == 0
            untouched()

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [agent.log, internal.log])


if __name__ == "__main__":
    sys.exit(main())
