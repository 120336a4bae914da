#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnapd in nova-compute's place under a real Nova: each method is asked for through nova-api twice, of
nova-compute and of novasnapd, and both must show the same states and send the same messages."""
import contextlib
import os
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lib"), HERE]
import tap  # noqa: E402
from cloud import Cloud  # noqa: E402
from firehose import Firehose, differences, recorded, steps  # noqa: E402
from guest import qemu_img  # noqa: E402
from server import Server  # noqa: E402
from services import TOP, Agent, Folder, Libvirt, end  # noqa: E402

RUNNING, PAUSED, SHUTDOWN = 1, 3, 4
IMAGE = ["image_snapshot_pending", "image_snapshot", "image_pending_upload", "image_uploading",
         "image_pending_upload", "image_uploading", None]
BACKUP = ["image_backup", "image_pending_upload", "image_uploading", "image_pending_upload",
          "image_uploading", None]
SHELVE = ["shelving", "shelving_image_pending_upload", "shelving_image_uploading",
          "shelving_image_pending_upload", "shelving_image_uploading", None]

# What is asked for, the event of the action, the task states that may be seen, in this order, and what the
# server is afterwards. The two servers go through it side by side: one is nova-compute's, one novasnapd's.
TABLE = {
    "image of a running server": ("image", "compute_snapshot_instance", IMAGE, "ACTIVE", RUNNING),
    "pause": ({"pause": None}, "compute_pause_instance", ["pausing", None], "PAUSED", PAUSED),
    "image of a paused server": ("image", "compute_snapshot_instance", IMAGE, "PAUSED", PAUSED),
    "unpause": ({"unpause": None}, "compute_unpause_instance", ["unpausing", None], "ACTIVE", RUNNING),
    "suspend": ({"suspend": None}, "compute_suspend_instance", ["suspending", None], "SUSPENDED",
                SHUTDOWN),
    "image of a suspended server": ("image", "compute_snapshot_instance", IMAGE, "SUSPENDED", SHUTDOWN),
    "resume": ({"resume": None}, "compute_resume_instance", ["resuming", None], "ACTIVE", RUNNING),
    "first backup": ("backup", "compute_backup_instance", BACKUP, "ACTIVE", RUNNING),
    "second backup rotates": ("backup", "compute_backup_instance", BACKUP, "ACTIVE", RUNNING),
    "shelve": ({"shelve": None}, "compute_shelve_instance", SHELVE, "SHELVED", SHUTDOWN),
}


class Sampler(threading.Thread):
    """Asks nova-api for a server's state, again and again."""

    def __init__(self, cloud, server):
        super().__init__(daemon=True)
        self.cloud, self.server = cloud, server
        self.seen, self.ended = [], threading.Event()

    def run(self):
        while not self.ended.is_set():
            task = self.cloud.get(f"/servers/{self.server}")["server"]["OS-EXT-STS:task_state"]
            if not self.seen or self.seen[-1] != task:
                self.seen.append(task)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join(30)


def is_within(seen, allowed):
    """Whether what was seen is in the order of what may be seen."""
    rest = iter(allowed)
    return all(any(state == other for other in rest) for state in seen)


class Player(Server):
    """Does the actions of the table to one server, and keeps what was seen of each."""

    def __init__(self, cloud, firehose, server):
        super().__init__(cloud, server)
        self.firehose = firehose
        self.images = {}
        self.messages = {}

    def play(self, name):
        what, event, states, status, power = TABLE[name]
        mark = self.firehose.mark()
        with Sampler(self.cloud, self.server) as sampler:
            tap.wait_for("first sample", lambda: sampler.seen, 20, 0.01)
            image = self.ask(what, name)
            # nova-api has set the task state before it answers.
            record = self.wait_idle()
        seen = sampler.seen[1:] if sampler.seen[0] is None else sampler.seen
        assert is_within(seen, states), (name, seen, states)
        assert record["status"] == status, (name, record["status"], record.get("fault"))
        assert record["OS-EXT-STS:power_state"] == power, (name, record["OS-EXT-STS:power_state"])
        tap.wait_for(f"event {event}", lambda: self.events() == [(event, "Success")], 20, 0.1)
        if image:
            self.images[name] = image
            self.check_image(image)
        # The end is told after the state was cleared.
        tap.wait_for("last message", lambda: self.told(mark, event), 20, 0.05)
        self.messages[name] = steps(self.firehose.messages[mark:], self.server)

    def told(self, mark, event):
        return any((entry["message"].get("args") or {}).get("objmethod") == "event_finish_with_failure"
                   and event in str(entry["message"]) for entry in self.firehose.messages[mark:])

    def check_image(self, image):
        record = self.cloud.connection().image.get_image(image)
        assert record.status == "active" and record.disk_format == "qcow2", record
        qemu_img("check", "-f", "qcow2", os.path.join(self.cloud.images, image))
        qemu_img("compare", "-U", "-f", "qcow2", "-F", "qcow2",
                 os.path.join(self.cloud.images, image), self.cloud.disk(self.server))


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder("novasnap-e2e-"))
        stack.enter_context(Libvirt(folder))
        cloud = Cloud(folder)
        stack.enter_context(cloud)
        stack.callback(cloud.remove_domains)
        cloud.compute_start()
        image, flavor = cloud.make_image("base"), cloud.make_flavor()
        servers = cloud.boot(["theirs", "ours", "stopped"], image, flavor)
        firehose = stack.enter_context(Firehose(cloud.broker))
        theirs = Player(cloud, firehose, servers["theirs"])
        ours = Player(cloud, firehose, servers["ours"])
        stopped = Player(cloud, firehose, servers["stopped"])
        agent = Agent(folder, base=cloud.nova_conf, novasnap={"report_state": "true"})
        cold = Agent(folder, base=cloud.nova_conf, name="cold",
                     workarounds={"disable_libvirt_livesnapshot": "true"})
        stack.callback(lambda: end(agent.process))
        stack.callback(lambda: end(cold.process))

        def compare_with(name, got, leave_out=()):
            """With the project's copy of a recording of another day."""
            path = os.path.join(TOP, "tests/data/wire", f"{name}.jsonl")
            messages = recorded(path)
            first = messages[0]["message"]["args"]["instance"]["nova_object.data"]["uuid"]
            lines = differences(steps(messages, first), got,
                                {"power_state", "properties", "payload", "context", *leave_out})
            assert not lines, "\n".join(lines)

        def test_nova_compute_does_it_all():
            stopped.cloud.act(stopped.server, {"os-stop": None})
            tap.wait_for("stopped server", lambda: stopped.record()["status"] == "SHUTOFF", 60)
            for name in TABLE:
                if name == "second backup rotates":
                    # Of two backups of the same second nova-compute deletes either.
                    time.sleep(1)
                theirs.play(name)
            cloud.compute_stop()

        def test_the_service_is_up_and_disabled():
            agent.start()
            service = tap.wait_for("service's record", lambda: (
                found := cloud.service()) and found["status"] == "disabled" and found, 30)
            assert service["disabled_reason"] == "snapshots only", service
            before = service["updated_at"]
            service = tap.wait_for("heartbeat", lambda: (
                found := cloud.service())["updated_at"] != before and found, 30)
            assert service["state"] == "up", service

        def test_a_host_that_nova_does_not_know_gets_a_record():
            other = Agent(folder, base=cloud.nova_conf, name="other", DEFAULT={"host": "fresh-host"},
                          novasnap={"report_state": "true"})
            other.start()
            try:
                def found():
                    services = cloud.get("/os-services?host=fresh-host")["services"]
                    return services and services[0]["state"] == "up" and services[0]
                service = tap.wait_for("service", found, 30)
                assert service["binary"] == "nova-compute", service
                assert service["disabled_reason"] == "snapshots only", service
            finally:
                assert other.stop() == 0
            # nova-api still answers: the record's version is not below the others'.
            assert cloud.connection().compute.get_server(ours.server).status == "ACTIVE"

        def make(name):
            def test():
                ours.play(name)
                lines = differences(theirs.messages[name], ours.messages[name])
                assert not lines, "\n".join(lines)
            test.__name__ = "test_" + name.replace(" ", "_")
            return test

        def test_a_backup_leaves_as_many_as_were_asked_for():
            glance = cloud.connection().image
            for player in (theirs, ours):
                query = f"/images?image_type=backup&instance_uuid={player.server}"
                left = [image["id"] for image in glance.get(query).json()["images"]]
                assert left == [player.images["second backup rotates"]], (left, player.images)

        def test_image_of_a_stopped_server():
            TABLE["image of a stopped server"] = ("image", "compute_snapshot_instance", IMAGE,
                                                  "SHUTOFF", SHUTDOWN)
            stopped.play("image of a stopped server")
            compare_with("cold-stopped", stopped.messages["image of a stopped server"])

        def test_the_recordings_of_another_day_say_the_same():
            compare_with("live", ours.messages["image of a running server"])
            compare_with("backup-1", ours.messages["first backup"])

        def test_what_is_not_ours_is_left_alone():
            reply = cloud.connection().compute.post(f"/servers/{stopped.server}/action",
                                                    json={"os-start": None})
            assert reply.status_code == 202, reply.text
            tap.wait_for("note of a foreign cast", lambda: "start_instance" in agent.text(), 20)
            cloud.act(stopped.server, {"os-resetState": {"state": "active"}})

        def test_image_of_a_running_server_that_may_not_be_taken_live():
            subprocess.run(["virsh", "-q", "start", stopped.server], check=True, timeout=60)
            assert agent.stop() == 0
            cold.start()
            TABLE["cold image of a running server"] = ("image", "compute_snapshot_instance", IMAGE,
                                                       "ACTIVE", RUNNING)
            stopped.play("cold image of a running server")
            compare_with("cold-running", stopped.messages["cold image of a running server"])

        def asked_while_nobody_serves(what):
            """An image is asked for, `what` happens, and then novasnapd comes. Returns the image."""
            image = stopped.ask("image", "asked early")
            what(image)
            agent.start()
            return image

        def image_status(image):
            found = cloud.connection().image.find_image(image)
            return found.status if found else None

        def reset(_image=None):
            cloud.act(stopped.server, {"os-resetState": {"state": "active"}})

        def test_a_task_state_that_was_reset_is_set_again():
            assert cold.stop() == 0
            image = asked_while_nobody_serves(reset)
            tap.wait_for("image", lambda: image_status(image) == "active", 60)
            stopped.wait_idle()
            tap.wait_for("event", lambda: stopped.events_of(stopped.requests("createImage")[0]) ==
                         [("compute_snapshot_instance", "Success")], 20)
            stopped.check_image(image)
            assert agent.stop() == 0

        def test_a_task_state_of_somebody_else_wins():
            def pause(_image):
                reset()
                cloud.act(stopped.server, {"pause": None})
            image = asked_while_nobody_serves(pause)
            record = stopped.wait_idle()
            assert record["status"] == "PAUSED", record
            assert image_status(image) is None
            assert stopped.events_of(stopped.requests("createImage")[0]) == [
                ("compute_snapshot_instance", "Error")]
            stopped.cloud.act(stopped.server, {"unpause": None})
            assert stopped.wait_idle()["status"] == "ACTIVE"
            assert agent.stop() == 0

        def test_an_image_that_is_deleted_is_no_failure():
            image = asked_while_nobody_serves(
                lambda image: cloud.connection().image.delete_image(image))
            assert stopped.wait_idle()["status"] == "ACTIVE"
            assert image_status(image) is None
            assert agent.stop() == 0

        def test_glance_goes_away():
            mark = firehose.mark()
            stopped.ask("image", "lost")
            glance = cloud.process["glance"]
            end(glance)
            agent.start()
            record = stopped.wait_idle()
            assert record["status"] == "ACTIVE", record
            tap.wait_for("failed event", lambda: stopped.events() ==
                         [("compute_snapshot_instance", "Error")], 20)
            tap.wait_for("last message", lambda: any(
                entry["message"].get("event_type") == "compute.exception"
                for entry in firehose.messages[mark:]), 20)
            compare_with("glance-down", steps(firehose.messages[mark:], stopped.server),
                         {"kwargs", "members"})

        def test_a_server_that_is_being_deleted():
            cloud.glance_start()
            assert agent.stop() == 0
            image = asked_while_nobody_serves(
                lambda _image: cloud.connection().compute.delete_server(stopped.server))
            tap.wait_for("end of the image", lambda: image_status(image) is None, 60)
            tap.wait_for("event", lambda: stopped.events_of(stopped.requests("createImage")[0]) ==
                         [("compute_snapshot_instance", "Success")], 20)
            assert stopped.record()["OS-EXT-STS:task_state"] == "deleting", stopped.record()

        def test_it_leaves_nothing():
            assert agent.stop() == 0
            for which in (agent, cold):
                assert "gAAAAA" not in which.text()
            snapshots = os.path.join(cloud.instances, "snapshots")
            left = os.listdir(snapshots) if os.path.isdir(snapshots) else []
            assert left == [], left

        tests = [test_nova_compute_does_it_all, test_the_service_is_up_and_disabled,
                 test_a_host_that_nova_does_not_know_gets_a_record,
                 *(make(name) for name in list(TABLE)),
                 test_a_backup_leaves_as_many_as_were_asked_for, test_image_of_a_stopped_server,
                 test_the_recordings_of_another_day_say_the_same, test_what_is_not_ours_is_left_alone,
                 test_image_of_a_running_server_that_may_not_be_taken_live,
                 test_a_task_state_that_was_reset_is_set_again,
                 test_a_task_state_of_somebody_else_wins, test_an_image_that_is_deleted_is_no_failure,
                 test_glance_goes_away, test_a_server_that_is_being_deleted, test_it_leaves_nothing]
        return tap.run(tests, [agent.log, cold.log, cloud.log("nova-compute")])


if __name__ == "__main__":
    sys.exit(main())
