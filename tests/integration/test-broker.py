#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnapd and a real RabbitMQ, with the real oslo.messaging as its peer.

A RabbitMQ that is not ours (NOVASNAP_TEST_AMQP_URL) is not restarted: that test is left out."""
import contextlib
import json
import os
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from guest import Guest, same_content  # noqa: E402
from services import CAST, Agent, Folder, Libvirt, broker_for_tests  # noqa: E402

import kombu  # noqa: E402
import oslo_messaging  # noqa: E402
from oslo_config import cfg  # noqa: E402


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        broker = stack.enter_context(broker_for_tests(folder))
        stack.enter_context(Libvirt(folder))
        guest = stack.enter_context(Guest(folder, size_mib=64, data_mib=16))
        images = folder.make("images")
        agent = stack.enter_context(Agent(folder, broker.url, images=images))
        cfg.CONF([])
        transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=broker.url)
        stack.callback(transport.cleanup)

        def client(version="6.0"):
            target = oslo_messaging.Target(exchange="nova", topic="compute", server=agent.host,
                                           version=version)
            return oslo_messaging.get_rpc_client(transport, target, timeout=20)

        def send_body(body, key=None):
            with kombu.Connection(broker.url.replace("rabbit:", "amqp:")) as connection:
                connection.Producer().publish(body, exchange="nova",
                                              routing_key=key or f"compute.{agent.host}",
                                              content_type="application/json",
                                              content_encoding="utf-8")

        def snapshot():
            image, shown, status = agent.snapshot(guest.uuid)
            assert status == 0, (shown, agent.text()[-1500:])
            assert same_content(os.path.join(images, image), "qcow2", guest.disk, "qcow2")

        def raised(call):
            try:
                call()
            except Exception as error:  # what is raised is what is tested
                return type(error).__name__, str(error)
            return None, None

        def test_a_call_of_an_unknown_method():
            name, text = raised(lambda: client().call({}, "no_such_thing"))
            assert name == "NoSuchMethod" or "NoSuchMethod" in text, (name, text)

        def test_a_call_of_a_version_that_is_not_served():
            for version in ("7.0", "6.99", "4.0"):
                name, text = raised(lambda: client(version).call({}, "snapshot_instance"))
                assert name == "UnsupportedVersion" or "UnsupportedVersion" in text, (name, text)

        def test_a_call_with_arguments_that_make_no_sense():
            name, text = raised(lambda: client().call({}, "snapshot_instance", image_id="x"))
            assert "image_id is no uuid" in text, (name, text)

        def test_a_cast_of_oslo_itself():
            image = str(uuid.uuid4())
            with open(CAST) as file:
                args = json.load(file)["args"]
            args["instance"]["nova_object.data"]["uuid"] = guest.uuid
            args["image_id"] = image
            client().cast({"auth_token": "x", "request_id": "req-1"}, "snapshot_instance", **args)
            tap.wait_for("image", lambda: os.path.exists(os.path.join(images, image)))

        def test_a_duplicate_is_dropped():
            with open(CAST) as file:
                message = json.load(file)
            message["args"]["instance"]["nova_object.data"]["uuid"] = guest.uuid
            message["args"]["image_id"] = str(uuid.uuid4())
            message["_unique_id"] = uuid.uuid4().hex
            before = agent.text().count("snapshot into image")
            for _ in range(3):
                send_body(json.dumps(message))
            tap.wait_for("duplicates", lambda: agent.text().count("a duplicate of message") >= 2)
            path = os.path.join(images, message["args"]["image_id"])
            tap.wait_for("image", lambda: os.path.exists(path))
            assert agent.text().count("snapshot into image") == before + 1

        def test_a_bare_message_is_taken():
            with open(CAST) as file:
                message = json.load(file)
            message["args"]["instance"]["nova_object.data"]["uuid"] = guest.uuid
            message["args"]["image_id"] = image = str(uuid.uuid4())
            message["_unique_id"] = uuid.uuid4().hex
            send_body(json.dumps(message))
            tap.wait_for("image", lambda: os.path.exists(os.path.join(images, image)))

        def test_bodies_that_are_no_messages_are_kept_and_acked():
            rejected = os.path.join(agent.state, "rejected")
            before = len(os.listdir(rejected)) if os.path.isdir(rejected) else 0
            bodies = ["", "{", "[1]", '{"oslo.version":"3.0","oslo.message":"{}"}',
                      '{"method":1,"_context_auth_token":"SECRET1"}',
                      '{"_context_auth_token": "SECRET2', "[" * 5000,
                      '{"oslo.version":"2.0","oslo.message":"{\\"auth_token\\":\\"SECRET3"}']
            for body in bodies:
                send_body(body)
            tap.wait_for("rejected bodies", lambda: os.path.isdir(rejected) and
                         len(os.listdir(rejected)) >= before + len(bodies))
            for name in os.listdir(rejected):
                with open(os.path.join(rejected, name)) as file:
                    assert "SECRET" not in file.read(), name
            with kombu.Connection(broker.url.replace("rabbit:", "amqp:")) as connection:
                queue = connection.channel().queue_declare(f"compute.{agent.host}", passive=True)
                assert queue.message_count == 0, queue
            snapshot()

        def test_a_foreign_cast_is_logged_and_dropped():
            client().cast({}, "reboot_instance", instance={})
            tap.wait_for("log line", lambda: "the cast reboot_instance" in agent.text())

        def test_nova_hears_of_start_and_end():
            heard = []
            with kombu.Connection(broker.url.replace("rabbit:", "amqp:")) as connection:
                channel = connection.channel()
                for topic in ("notifications.info", "versioned_notifications.info"):
                    queue = kombu.Queue(topic, channel=channel)
                    while message := queue.get(no_ack=True):
                        body = json.loads(message.body)
                        heard.append(json.loads(body["oslo.message"])["event_type"])
            for event in ("compute.instance.snapshot.start", "compute.instance.snapshot.end",
                          "instance.snapshot.start", "instance.snapshot.end"):
                assert event in heard, heard

        def test_the_broker_is_restarted_between_two_casts():
            snapshot()
            broker.stop()
            tap.wait_for("loss", lambda: "connection is lost" in agent.text())
            broker.start()
            tap.wait_for("queue", lambda: f"compute.{agent.host}" in broker.ctl("list_queues"))
            snapshot()

        def test_five_at_once_and_a_stop_in_the_middle():
            guests = [stack.enter_context(Guest(folder, size_mib=64, data_mib=8))
                      for _ in range(5)]
            for each in guests:
                agent.command("send", "snapshot_instance", "--file", CAST, "--instance", each.uuid)
            tap.wait_for("casts", lambda: agent.text().count("snapshot into image") >= 5)
            assert agent.stop() == 0
            assert os.listdir(agent.snapshots) == []

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        if not broker.own:
            tests.remove(test_the_broker_is_restarted_between_two_casts)
        return tap.run(tests, [agent.log])


if __name__ == "__main__":
    sys.exit(main())
