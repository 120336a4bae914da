#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnapd in nova-compute's place under a real Nova: each method is asked for through nova-api twice, of nova-compute
and of novasnapd, and both must show the same states and send the same messages. The whole control plane is real but for
Neutron. Each test takes the servers as the one before it left them: all of them run, in order."""
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lib"), HERE]
import release  # noqa: E402
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from cloud import MICROVERSION, Cloud  # noqa: E402
from firehose import Firehose, differences, steps  # noqa: E402
from environment import Environment  # noqa: E402
from libvirtd import Libvirtd  # noqa: E402
from player import IMAGE, PAUSED, RUNNING, SHUTDOWN, Player, compare_with, ends_early  # noqa: E402

BACKUP = ["image_backup", "image_pending_upload", "image_uploading", "image_pending_upload",
          "image_uploading", None]
SHELVE = ["shelving", "shelving_image_pending_upload", "shelving_image_uploading",
          "shelving_image_pending_upload", "shelving_image_uploading", None]

# What is asked for, the event of the action, the task states that may be seen, in this order, and the server's status
# and power state afterwards. Two servers go through the table: one with nova-compute, one with novasnapd.
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


class TablePlayer(Player):
    table = TABLE


# A guest of another nova's libvirtd on this machine. It does not run.
STRANGER = """<domain type='qemu'><name>instance-00000001</name><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><memballoon model='none'/></devices></domain>"""


class Nova(Environment):
    cloud = agent = cold = None

    def set_up(self):
        self.other = self.enter(Libvirtd(self.folder, "other"))
        with open(self.folder.file("stranger.xml"), "w") as file:
            file.write(STRANGER)
        self.other.virsh("create", file.name, "--paused")
        self.stranger = self.other.virsh("domid", "instance-00000001")
        self.callback(self.other.virsh, "destroy", "instance-00000001")
        self.cloud = cloud = self.enter(Cloud(self.folder))
        cloud.compute_start()
        servers = cloud.boot(["theirs", "ours", "stopped"], cloud.make_image("base"), cloud.make_flavor())
        self.firehose = self.enter(Firehose(cloud.broker))
        self.theirs, self.ours, self.stopped = (TablePlayer(cloud, self.firehose, servers[name])
                                                for name in ("theirs", "ours", "stopped"))
        self.agent = self.agent_of_cloud(novasnap={"report_state": "true"})
        self.cold = self.agent_of_cloud(**NO_LIVE_SNAPSHOT)

    def agent_of_cloud(self, **sections):
        agent = self.make_agent(sections={"base": self.cloud.nova_conf, **sections})
        self.callback(agent.stop)
        return agent

    @property
    def logs(self):
        return [self.agent.log, self.cold.log, self.cloud.log("nova-compute")] if self.cold else []

    # What tests share.

    def ask_while_nobody_serves(self, meanwhile):
        """Requests an image of the stopped server, calls `meanwhile` with it, and then starts novasnapd. Returns the
        image."""
        image = self.stopped.ask("image", "asked early")
        meanwhile(image)
        self.agent.start()
        return image

    def image_status(self, image):
        found = self.cloud.connection().image.find_image(image)
        return found.status if found else None

    def reset_state(self, _image=None):
        self.cloud.act(self.stopped.server, {"os-resetState": {"state": "active"}})


def test_nova_compute_goes_through_the_table(env):
    env.stopped.cloud.act(env.stopped.server, {"os-stop": None})
    tap.wait_for("stopped server", lambda: env.stopped.record()["status"] == "SHUTOFF", 60)
    for name in TABLE:
        if name == "second backup rotates":
            # Of two backups of the same second nova-compute may delete the newer one.
            time.sleep(1)
        env.theirs.play(name)
    env.cloud.compute_stop()


def test_the_service_is_up_and_disabled(env):
    env.agent.start()
    service = tap.wait_for("service's record", lambda: (
        found := env.cloud.service()) and found["status"] == "disabled" and found, 30)
    assert service["disabled_reason"] == "snapshots only", service
    before = service["updated_at"]
    service = tap.wait_for("heartbeat", lambda: (
        found := env.cloud.service())["updated_at"] != before and found, 30)
    assert service["state"] == "up", service


def test_a_host_that_nova_does_not_know_gets_a_record(env):
    def found():
        services = env.cloud.get("/os-services?host=fresh-host")["services"]
        return services and services[0]["state"] == "up" and services[0]
    with env.agent_of_cloud(DEFAULT={"host": "fresh-host"}, novasnap={"report_state": "true"}):
        service = tap.wait_for("service", found, 30)
        assert service["binary"] == "nova-compute", service
        assert service["disabled_reason"] == "snapshots only", service
    # nova-api still answers: the record's version is not below the others'.
    assert env.cloud.connection().compute.get_server(env.ours.server).status == "ACTIVE"


def comparison(name):
    """The test of one line of the table."""
    def test(env):
        env.ours.play(name)
        lines = differences(env.theirs.messages[name], env.ours.messages[name],
                            event_ends_early=ends_early(TABLE[name][1]))
        assert not lines, "\n".join(lines)
    test.__name__ = "test_" + name.replace(" ", "_")
    return test


def test_a_backup_leaves_as_many_as_were_asked_for(env):
    glance = env.cloud.connection().image
    for player in (env.theirs, env.ours):
        query = f"/images?image_type=backup&instance_uuid={player.server}"
        left = [image["id"] for image in glance.get(query).json()["images"]]
        assert left == [player.images["second backup rotates"]], (left, player.images)


def test_image_of_a_stopped_server(env):
    TABLE["image of a stopped server"] = ("image", "compute_snapshot_instance", IMAGE,
                                          "SHUTOFF", SHUTDOWN)
    env.stopped.play("image of a stopped server")
    compare_with("cold-stopped", env.stopped.messages["image of a stopped server"])


def test_the_recordings_have_the_same_messages(env):
    compare_with("live", env.ours.messages["image of a running server"])
    compare_with("backup-1", env.ours.messages["first backup"])


def test_a_cast_of_another_method_is_left_alone(env):
    reply = env.cloud.connection().compute.post(f"/servers/{env.stopped.server}/action",
                                            json={"os-start": None})
    assert reply.status_code == 202, reply.text
    tap.wait_for("note of a foreign cast", lambda: "start_instance" in env.agent.text(), 20)
    env.cloud.act(env.stopped.server, {"os-resetState": {"state": "active"}})


def test_an_external_event_is_taken_and_left_alone(env):
    reply = env.cloud.connection().compute.post("/os-server-external-events", json={
        "events": [{"name": "network-changed", "server_uuid": env.stopped.server}]}, microversion=MICROVERSION)
    assert reply.status_code == 200, reply.text
    tap.wait_for("note of a foreign cast", lambda: "external_instance_event" in env.agent.text(), 20)
    listed = env.cloud.broker.ctl("list_queues", "name", "messages").splitlines()
    waiting = dict(line.split("\t") for line in listed if line.startswith("compute"))
    queue = f"{release.EVENTS_TOPIC}.{env.cloud.host}"
    assert waiting[queue] == "0", waiting


def test_image_of_a_running_server_that_may_not_be_taken_live(env):
    env.cloud.libvirt.virsh("start", env.stopped.server)
    assert env.agent.stop() == 0
    env.cold.start()
    TABLE["cold image of a running server"] = ("image", "compute_snapshot_instance", IMAGE,
                                               "ACTIVE", RUNNING)
    env.stopped.play("cold image of a running server")
    compare_with("cold-running", env.stopped.messages["cold image of a running server"])


def test_a_task_state_that_was_reset_is_set_again(env):
    assert env.cold.stop() == 0
    image = env.ask_while_nobody_serves(env.reset_state)
    tap.wait_for("image", lambda: env.image_status(image) == "active", 60)
    env.stopped.wait_idle()
    tap.wait_for("event", lambda: env.stopped.events_of(env.stopped.requests("createImage")[0]) ==
                 [("compute_snapshot_instance", "Success")], 20)
    env.stopped.check_image(image)
    assert env.agent.stop() == 0


def test_a_task_state_of_another_task_is_left_alone(env):
    def pause(_image):
        env.reset_state()
        env.cloud.act(env.stopped.server, {"pause": None})
    image = env.ask_while_nobody_serves(pause)
    record = env.stopped.wait_idle()
    assert record["status"] == "PAUSED", record
    assert env.image_status(image) is None
    assert env.stopped.events_of(env.stopped.requests("createImage")[0]) == [
        ("compute_snapshot_instance", "Error")]
    env.stopped.cloud.act(env.stopped.server, {"unpause": None})
    assert env.stopped.wait_idle()["status"] == "ACTIVE"
    assert env.agent.stop() == 0


def test_an_image_that_is_deleted_is_no_failure(env):
    image = env.ask_while_nobody_serves(
        lambda image: env.cloud.connection().image.delete_image(image))
    assert env.stopped.wait_idle()["status"] == "ACTIVE"
    assert env.image_status(image) is None
    assert env.agent.stop() == 0


def test_glance_goes_away(env):
    mark = env.firehose.mark()
    env.stopped.ask("image", "lost")
    env.cloud.glance_stop()
    env.agent.start()
    record = env.stopped.wait_idle()
    assert record["status"] == "ACTIVE", record
    event = ("compute_snapshot_instance", "Success" if release.SNAPSHOT_EVENT_ENDS_EARLY else "Error")
    tap.wait_for("event's end", lambda: env.stopped.events() == [event], 20)
    tap.wait_for("last message", lambda: any(
        entry["message"].get("event_type") == "compute.exception"
        for entry in env.firehose.messages[mark:]), 20)
    compare_with("glance-down", steps(env.firehose.messages[mark:], env.stopped.server),
                 {"kwargs", "members"})


def test_a_server_that_is_being_deleted(env):
    env.cloud.glance_start()
    assert env.agent.stop() == 0
    image = env.ask_while_nobody_serves(
        lambda _image: env.cloud.connection().compute.delete_server(env.stopped.server))
    tap.wait_for("end of the image", lambda: env.image_status(image) is None, 60)
    tap.wait_for("event", lambda: env.stopped.events_of(env.stopped.requests("createImage")[0]) ==
                 [("compute_snapshot_instance", "Success")], 20)
    assert env.stopped.record()["OS-EXT-STS:task_state"] == "deleting", env.stopped.record()


def test_nothing_is_left(env):
    assert env.agent.stop() == 0
    for agent in (env.agent, env.cold):
        assert "gAAAAA" not in agent.text()
    snapshots = os.path.join(env.cloud.instances, "snapshots")
    left = os.listdir(snapshots) if os.path.isdir(snapshots) else []
    assert left == [], left


def test_the_guest_of_another_nova_is_untouched(env):
    assert env.other.virsh("list", "--all", "--name").split() == ["instance-00000001"]
    assert env.other.virsh("domid", "instance-00000001") == env.stranger
    assert env.other.virsh("domstate", "instance-00000001") == "paused"


TESTS = [test_nova_compute_goes_through_the_table, test_the_service_is_up_and_disabled,
         test_a_host_that_nova_does_not_know_gets_a_record,
         *(comparison(name) for name in list(TABLE)),
         test_a_backup_leaves_as_many_as_were_asked_for, test_image_of_a_stopped_server,
         test_the_recordings_have_the_same_messages, test_a_cast_of_another_method_is_left_alone,
         test_an_external_event_is_taken_and_left_alone,
         test_image_of_a_running_server_that_may_not_be_taken_live,
         test_a_task_state_that_was_reset_is_set_again,
         test_a_task_state_of_another_task_is_left_alone, test_an_image_that_is_deleted_is_no_failure,
         test_glance_goes_away, test_a_server_that_is_being_deleted, test_nothing_is_left,
         test_the_guest_of_another_nova_is_untouched]

if __name__ == "__main__":
    tap.main(Nova, TESTS, ordered=True)
