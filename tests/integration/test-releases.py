#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnapd does what the nova-compute of the cloud's release does, which it recognises by the version in the record of
this host's nova-compute. RabbitMQ, libvirt, QEMU and Glance are real; the conductor is a stand-in (the real ones are in
make e2e)."""
import json
import os
import sys
import threading
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import kombu  # noqa: E402
import oslo_messaging  # noqa: E402
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from oslo_conf import make_conf  # noqa: E402
from paths import CAST  # noqa: E402

ZED, BOBCAT, EPOXY, GAZPACHO, HIBISCUS = 64, 66, 68, 72, 74
EVENT_END = "InstanceActionEvent.event_finish_with_failure"


class Releases(Environment):
    services = ("broker", "glance", "libvirt", "conductor")

    def set_up(self):
        self.guest = self.make_guest(size_mib=64, data_mib=8)
        self.guest.start()

    def before_test(self):
        self.conductor.reset()
        self.guest.reset()

    def agent(self, record, sections=None):
        """An agent in a cloud of the release with this version in its records (None: there are none)."""
        self.conductor.service_version = record
        return self.start_agent(sections={"DEFAULT": {"rpc_response_timeout": "3"}, **(sections or {})})

    def send(self, agent, task_state="image_snapshot_pending", method="snapshot_instance", **args):
        """Sends the recorded cast for our guest. Returns the image's id."""
        with open(CAST) as file:
            message = json.load(file)
        image = self.glance.create(instance_uuid=self.guest.uuid)
        message.update(method=method, _unique_id=uuid.uuid4().hex)
        message["args"]["instance"]["nova_object.data"].update(uuid=self.guest.uuid, host=agent.host)
        message["args"].update(image_id=image, **args)
        self.conductor.task_states[self.guest.uuid] = task_state
        self.broker.publish(message, f"compute.{agent.host}")
        return image

    def wait(self, agent):
        tap.wait_for("end", lambda: agent.has_ended(self.guest.uuid), 60)

    def event_ends(self):
        """Returns the exceptions with which the event was finished."""
        return [kwargs["exc_val"] for name, _args, kwargs in self.conductor.calls if name == EVENT_END]

    def heard(self, agent, topic, event_type):
        """Returns the payloads of the agent's notifications of this type, the oldest first. Others are dropped."""
        found = []
        with self.broker.connection() as connection:
            queue = kombu.Queue(topic, channel=connection.channel())
            while message := queue.get(no_ack=True):
                inner = json.loads(json.loads(message.body)["oslo.message"])
                if inner["event_type"] == event_type and inner["publisher_id"].endswith(agent.host):
                    found.append(inner["payload"])
        return found

    def payload(self, agent):
        """Returns the payload of the end of the snapshot."""
        found = []
        tap.wait_for("notification", lambda: found.extend(
            self.heard(agent, "versioned_notifications.info", "instance.snapshot.end")) or found, 20)
        return found[-1]


    def has_queue(self, name):
        with self.broker.connection() as connection:
            try:
                connection.channel().queue_declare(name, passive=True)
            except connection.channel_errors:
                return False
            return True

    def alt_client(self, agent, fanout=None):
        """An oslo client of the second RPC server, as nova-api's since Nova 33."""
        transport = oslo_messaging.get_rpc_transport(make_conf(), self.broker.url)
        self.callback(transport.cleanup)
        return oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(
            exchange="nova", topic="compute-alt", version="6.5", server=None if fanout else agent.host,
            fanout=fanout), timeout=20)


def failure_of(call):
    """Returns the class of the exception that a call raises."""
    try:
        return f"no failure, but {call()!r}"
    except oslo_messaging.RemoteError as error:
        return error.exc_type


def kill_when(env, agent, wanted):
    """Kills the agent at the first save of a task state, which fails then."""
    killed = threading.Event()

    def kill(_instance, state):
        if state == wanted and not killed.is_set():
            killer = threading.Thread(target=agent.kill)
            killer.start()
            killer.join()
            killed.set()
            raise RuntimeError("the agent was killed")
    env.conductor.before_save = kill
    return killed


def snapshot_in(record, version, has_shares, is_early):
    def test(env):
        agent = env.agent(record)
        image = env.send(agent)
        env.wait(agent)
        names = env.conductor.names()
        assert env.event_ends() == [None] and names[0] == "InstanceActionEvent.event_start", names
        # With nova's threads, between the first save and the next one; else at the end.
        assert names.index(EVENT_END) == (2 if is_early else len(names) - 1), names
        payload = env.payload(agent)
        assert payload["nova_object.version"] == version, payload["nova_object.version"]
        assert ("shares" in payload["nova_object.data"]) == has_shares
        assert payload["nova_object.data"].get("shares") is None
        assert env.glance.get(image)["status"] == "active"
        assert env.conductor.faults == []
    test.__name__ = f"test_a_snapshot_of_record_version_{record}"
    return test


def test_a_snapshot_of_an_unknown_release(env):
    """There is no record: the cast has the Instance of Zed."""
    agent = env.agent(None)
    env.send(agent)
    env.wait(agent)
    assert env.conductor.names()[-1] == EVENT_END
    assert env.payload(agent)["nova_object.version"] == "1.9"
    assert "nova's release is not known, and is taken from each request" in agent.text()


def test_a_newer_release_is_served_as_the_newest_known(env):
    agent = env.agent(999)
    env.send(agent)
    env.wait(agent)
    assert env.payload(agent)["nova_object.version"] == "1.10"
    assert env.conductor.names().index(EVENT_END) == 2, env.conductor.names()
    assert agent.text().count("newer than this novasnap") == 1, agent.text()


def test_a_conductor_that_starts_later(env):
    """The release is asked for again, until the conductor answers."""
    env.callback(lambda: env.conductor.is_up() or env.conductor.start())
    env.conductor.stop()
    agent = env.agent(GAZPACHO)
    tap.wait_for("first try", lambda: "release is not known" in agent.text(), 20)
    env.conductor.start()
    tap.wait_for("answer", lambda: "nova's release is Nova 33 (2026.1 Gazpacho)" in agent.text(), 30)
    env.send(agent)
    env.wait(agent)
    assert env.conductor.names().index(EVENT_END) == 2, env.conductor.names()


def test_a_failure_after_the_event(env):
    """The event stays a success, and the error notification is that of nova's thread."""
    def refuse(_instance, wanted):
        if wanted == "image_uploading":
            raise RuntimeError("refused by the test")
    agent = env.agent(HIBISCUS)
    env.conductor.before_save = refuse
    image = env.send(agent)
    env.wait(agent)
    assert env.event_ends() == [None], env.conductor.calls
    assert env.conductor.faults == [env.guest.uuid]
    assert env.conductor.task_states[env.guest.uuid] is None
    assert env.glance.get(image) is None
    # In nova's order.
    names = env.conductor.names()
    assert names.index(EVENT_END) == 2 and names.index("InstanceFault.create") == len(names) - 2, names
    payload, = env.heard(agent, "notifications.error", "_snapshot_instance")
    assert payload["args"]["expected_task_state"] == "image_snapshot", payload["args"]
    assert payload["args"]["instance"]["uuid"] == env.guest.uuid and payload["args"]["image_id"] == image


def test_a_failure_before_the_event(env):
    """If the first save fails, event and notification are those of the method itself."""
    agent = env.agent(HIBISCUS)
    env.send(agent, "rebooting")
    env.wait(agent)
    ends = env.event_ends()
    assert len(ends) == 1 and "rebooting" in ends[0], ends
    payload, = env.heard(agent, "notifications.error", "snapshot_instance")
    assert "expected_task_state" not in payload["args"], payload["args"]


def test_an_event_that_is_finished_is_not_finished_by_the_next_process(env):
    agent = env.agent(HIBISCUS)
    killed = kill_when(env, agent, "image_uploading")
    image = env.send(agent)
    assert killed.wait(60)
    assert env.event_ends() == [None], env.conductor.calls
    agent.start()
    env.wait(agent)
    assert env.event_ends() == [None], env.conductor.calls
    assert env.glance.get(image)["status"] == "active" and env.conductor.task_states[env.guest.uuid] is None


def test_a_failure_in_the_next_process(env):
    agent = env.agent(HIBISCUS)
    killed = kill_when(env, agent, "image_uploading")
    image = env.send(agent)
    assert killed.wait(60)

    def refuse(_instance, wanted):
        if wanted:
            raise RuntimeError("refused by the test")
    env.conductor.before_save = refuse
    # The habits of the release do not matter any more.
    env.conductor.service_version = ZED
    agent.start()
    env.wait(agent)
    assert env.event_ends() == [None], env.conductor.calls
    assert env.conductor.faults == [env.guest.uuid] and env.glance.get(image) is None
    assert len(env.heard(agent, "notifications.error", "_snapshot_instance")) == 1


def test_a_reply_about_the_event_that_is_lost(env):
    """The event is finished again, with success, and the snapshot goes on."""
    agent = env.agent(HIBISCUS)
    env.conductor.late_events, env.conductor.late_seconds = 1, 5
    image = env.send(agent)
    env.wait(agent)
    assert env.event_ends() == [None, None], env.conductor.calls
    assert env.glance.get(image)["status"] == "active" and env.conductor.faults == []


def test_a_backup_of_a_new_release_ends_with_its_event(env):
    agent = env.agent(HIBISCUS)
    env.send(agent, "image_backup", "backup_instance", backup_type="daily", rotation=1)
    env.wait(agent)
    assert env.conductor.names()[-1] == EVENT_END and env.event_ends() == [None], env.conductor.names()


def test_shares(env):
    """nova-api refuses to shelve an instance with shares, so there are none; nova-compute asks all the same."""
    query = "ShareMappingList.get_by_instance_uuid"
    for record, asked in ((BOBCAT, False), (EPOXY, True)):
        env.conductor.calls.clear()
        env.guest.reset()
        agent = env.agent(record)
        env.send(agent, "shelving", "shelve_instance", clean_shutdown=False, accel_uuids=[])
        env.wait(agent)
        assert (query in env.conductor.names()) == asked, env.conductor.names()
        assert agent.stop() == 0


def test_an_instance_with_shares_is_not_shelved(env):
    share = {"uuid": str(uuid.uuid4()), "share_id": str(uuid.uuid4()), "status": "active", "tag": "t"}
    env.conductor.shares = [share]
    agent = env.agent(EPOXY, {"notifications": {"notification_format": "both", "include_share_mapping": "true"}})
    env.send(agent)
    env.wait(agent)
    found, = env.payload(agent)["nova_object.data"]["shares"]
    assert found["nova_object.name"] == "SharePayload", found
    assert found["nova_object.data"] == {
        "share_mapping_uuid": share["uuid"], **{key: share[key] for key in ("share_id", "status", "tag")}}, found
    env.send(agent, "shelving", "shelve_instance", clean_shutdown=False, accel_uuids=[])
    tap.wait_for("refusal", lambda: "1 shares attached" in agent.text(), 30)
    env.wait(agent)
    assert env.guest.state() == "running"


def test_check_names_the_release(env):
    for record, wanted in ((EPOXY, "ok    nova's release: Nova 31 (2025.1 Epoxy), by version 68"),
                           (BOBCAT, "Nova 27 (2023.1 Antelope) or 28 (2023.2 Bobcat)"),
                           (999, "warn  nova's release: a release that is newer than this novasnap, served as Nova 34"),
                           (None, "warn  nova's release: not known, and taken from each request")):
        env.conductor.service_version = record
        shown = env.make_agent().command("check", check=False).stdout
        assert wanted in shown, shown


def test_the_second_server_is_served_where_the_cloud_has_it(env):
    for record, served in ((None, False), (ZED, False), (EPOXY, False), (GAZPACHO, True), (HIBISCUS, True)):
        agent = env.agent(record)
        tap.wait_for("release", lambda: "nova's release is" in agent.text(), 20)
        assert env.has_queue(f"compute.{agent.host}")
        assert env.has_queue(f"compute-alt.{agent.host}") == served, record
        assert agent.stop() == 0


def test_requests_to_the_second_server(env):
    """They are handled like those on the topic compute."""
    agent = env.agent(GAZPACHO)
    client = env.alt_client(agent)
    resize = failure_of(lambda: client.call({}, "prep_snapshot_based_resize_at_source", instance={}, migration={}))
    assert resize == "InstanceFaultRollback", resize
    refused = failure_of(lambda: client.call({}, "check_instance_shared_storage", instance={}, data={}))
    assert refused == "NoSuchMethod", refused
    client.cast({}, "external_instance_event", instances=[], events=[])
    tap.wait_for("note of the cast", lambda: "the cast external_instance_event" in agent.text(), 20)
    env.alt_client(agent, fanout=True).cast({}, "refresh_instance_security_rules", instance={})
    tap.wait_for("note of the fanout", lambda: "dropping the cast refresh_instance_security_rules" in agent.text(), 20)
    # Also a snapshot would be served there.
    with open(CAST) as file:
        args = json.load(file)["args"]
    args["instance"]["nova_object.data"].update(uuid=env.guest.uuid, host=agent.host)
    args["image_id"] = env.glance.create(instance_uuid=env.guest.uuid)
    env.conductor.task_states[env.guest.uuid] = "image_snapshot_pending"
    client.prepare(version="6.0").cast({}, "snapshot_instance", **args)
    env.wait(agent)
    assert env.glance.get(args["image_id"])["status"] == "active"


def test_the_second_server_is_served_when_the_release_becomes_known(env):
    """novasnapd starts before the conductor. The request waits in the queue that an earlier process has left."""
    env.callback(lambda: env.conductor.is_up() or env.conductor.start())
    agent = env.agent(GAZPACHO)
    assert agent.stop() == 0
    env.conductor.stop()
    client = env.alt_client(agent)
    client.cast({}, "external_instance_event", instances=[], events=[])
    agent.start()
    tap.wait_for("first try", lambda: "release is not known" in agent.text(), 20)
    env.conductor.start()
    tap.wait_for("cast", lambda: "the cast external_instance_event" in agent.text(), 40)
    env.send(agent)
    env.wait(agent)
    assert env.conductor.names().index(EVENT_END) == 2, env.conductor.names()


TESTS = [*(snapshot_in(*kind) for kind in ((ZED, "1.9", False, False), (BOBCAT, "1.9", False, False),
                                           (EPOXY, "1.10", True, False), (GAZPACHO, "1.10", True, True),
                                           (HIBISCUS, "1.10", True, True))),
         *(test for name, test in list(globals().items()) if name.startswith("test_"))]

if __name__ == "__main__":
    tap.main(Releases, TESTS)
