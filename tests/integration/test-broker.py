#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What novasnapd does with messages that the real oslo.messaging and other programs send to it over a real RabbitMQ:
casts, calls, duplicates, and bodies that are not messages. libvirt and QEMU are real, and the images are in a folder.
The RabbitMQ of NOVASNAP_TEST_AMQP_URL is used where that is set."""
import configparser
import contextlib
import json
import os
import pty
import signal
import socket
import sqlite3
import sys
import uuid

import kombu

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from compute import Compute  # noqa: E402
from environment import Environment  # noqa: E402
from images import same_content  # noqa: E402
from paths import CAST, TOP  # noqa: E402


class Messages(Environment):
    services = ("broker", "libvirt")

    def set_up(self):
        self.guest = self.make_guest(size_mib=64, data_mib=16)

    def before_test(self):
        self.images = self.folder.make(f"images-{uuid.uuid4().hex[:8]}")
        self.agent = self.start_agent(sections={"images": self.images})
        self.compute = self.enter(Compute(self.broker.url, self.agent.host))

    def send_body(self, body):
        self.broker.publish(body, f"compute.{self.agent.host}")

    def publish(self, message, **properties):
        with self.broker.connection() as connection:
            connection.Producer(serializer="json").publish(
                message, exchange="nova", routing_key=f"compute.{self.agent.host}", **properties)

    def make_cast(self):
        """Makes the recorded cast for our guest, into a new image."""
        with open(CAST) as file:
            message = json.load(file)
        message["args"]["instance"]["nova_object.data"]["uuid"] = self.guest.uuid
        message["args"]["image_id"] = str(uuid.uuid4())
        message["_unique_id"] = uuid.uuid4().hex
        return message

    def wait_image(self, image):
        tap.wait_for("image", lambda: os.path.exists(os.path.join(self.images, image)))

    def take_snapshot(self):
        image, shown, status = self.agent.snapshot(self.guest.uuid)
        assert status == 0, (shown, self.agent.text()[-1500:])
        assert same_content(os.path.join(self.images, image), "qcow2", self.guest.disk, "qcow2")


def raised(call):
    """Returns the name and text of the exception that a call raises."""
    try:
        call()
    except Exception as error:  # the test checks the type
        return type(error).__name__, str(error)
    return None, None


def test_a_call_of_an_unknown_method(env):
    name, text = raised(lambda: env.compute.call("no_such_thing"))
    assert name == "NoSuchMethod" or "NoSuchMethod" in text, (name, text)


def test_a_call_of_a_version_that_is_not_served(env):
    for version in ("7.0", "6.99", "4.0"):
        name, text = raised(lambda: env.compute.make_client(version).call({}, "snapshot_instance"))
        assert name == "UnsupportedVersion" or "UnsupportedVersion" in text, (name, text)


def test_a_call_with_wrong_arguments(env):
    name, text = raised(lambda: env.compute.call("snapshot_instance", image_id="x"))
    assert "image_id is not a UUID" in text, (name, text)


def test_a_cast_of_oslo_itself(env):
    args = env.make_cast()["args"]
    env.compute.cast("snapshot_instance", **args)
    env.wait_image(args["image_id"])


def test_a_duplicate_is_dropped(env):
    message = env.make_cast()
    for _ in range(3):
        env.send_body(message)
    tap.wait_for("duplicates", lambda: env.agent.text().count("a duplicate of message") >= 2)
    env.wait_image(message["args"]["image_id"])
    assert env.agent.text().count("snapshot into image") == 1


def test_a_message_without_an_envelope(env):
    message = env.make_cast()
    env.send_body(message)
    env.wait_image(message["args"]["image_id"])


def test_a_compressed_cast(env):
    """As a nova-api sends it that has [oslo_messaging_rabbit]kombu_compression."""
    for compression in ("gzip", "bzip2"):
        message = env.make_cast()
        env.publish(message, compression=compression)
        env.wait_image(message["args"]["image_id"])


def test_a_compression_that_nobody_knows_is_named(env):
    """The message waits for nova-compute, which may read it."""
    env.publish(env.make_cast(), headers={"compression": "application/x-other"})
    tap.wait_for("log line", lambda: "its compression is application/x-other" in env.agent.text())
    queue = f"novasnap.unhandled.{env.agent.host}"
    with env.broker.connection() as connection:
        tap.wait_for("moved message", lambda: connection.channel().queue_declare(
            queue, passive=True).message_count == 1, 20)
        assert connection.channel().basic_get(queue, no_ack=True).headers == {"compression": "application/x-other"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(os.path.join(env.agent.state, "journal", "status"))
        client.send(b'{"ask": "status"}')
        status = json.loads(client.recv(65536))
    assert status["unsupported"] == 1 and status["rejected"] == 0, status
    with env.broker.connection() as connection:
        assert connection.channel().queue_declare(f"compute.{env.agent.host}", passive=True).message_count == 0


def test_bodies_that_are_no_messages_are_kept_and_acked(env):
    rejected = os.path.join(env.agent.state, "rejected")
    bodies = ["", "{", "[1]", '{"oslo.version":"3.0","oslo.message":"{}"}',
              '{"method":1,"_context_auth_token":"SECRET1"}',
              '{"_context_auth_token": "SECRET2', "[" * 5000,
              '{"oslo.version":"2.0","oslo.message":"{\\"auth_token\\":\\"SECRET3"}']
    for body in bodies:
        env.send_body(body)
    tap.wait_for("rejected bodies", lambda: os.path.isdir(rejected) and len(os.listdir(rejected)) >= len(bodies))
    for name in os.listdir(rejected):
        with open(os.path.join(rejected, name)) as file:
            assert "SECRET" not in file.read(), name
    with env.broker.connection() as connection:
        queue = connection.channel().queue_declare(f"compute.{env.agent.host}", passive=True)
        assert queue.message_count == 0, queue
    env.take_snapshot()


def test_a_cast_of_another_method_is_logged_and_dropped(env):
    env.compute.cast("reboot_instance", instance={})
    tap.wait_for("log line", lambda: "the cast reboot_instance" in env.agent.text())


def test_start_and_end_are_published_as_notifications(env):
    wanted = {"compute.instance.snapshot.start", "compute.instance.snapshot.end",
              "instance.snapshot.start", "instance.snapshot.end"}
    env.take_snapshot()
    heard = set()
    with env.broker.connection() as connection:
        channel = connection.channel()

        def listen():
            for topic in ("notifications.info", "versioned_notifications.info"):
                while message := kombu.Queue(topic, channel=channel).get(no_ack=True):
                    heard.add(json.loads(json.loads(message.body)["oslo.message"])["event_type"])
            return wanted <= heard
        with contextlib.suppress(AssertionError):
            tap.wait_for("notifications", listen, 20)
    assert wanted <= heard, heard


def test_sighup_reopens_the_log_and_reads_debug_again(env):
    agent = env.make_agent(sections={"images": env.images})
    agent.configure("DEFAULT", log_file=agent.log)
    with agent:
        assert "DEBUG" in agent.text()
        old = f"{agent.log}.1"
        os.rename(agent.log, old)
        agent.configure("DEFAULT", debug="false", report_interval="9")
        agent.configure("novasnap", shutdown_grace="1")
        agent.process.send_signal(signal.SIGHUP)
        tap.wait_for("a new log", lambda: "ignoring the change of" in agent.text())
        assert "debug is false" in agent.text() and "DEBUG" not in agent.text(), agent.text()
        assert "[DEFAULT]report_interval, [novasnap]shutdown_grace:" in agent.text(), agent.text()
        with open(old) as file:
            assert "SIGHUP" not in file.read()
        # Jobs go on, and nothing else has changed.
        image, shown, status = agent.snapshot(env.guest.uuid)
        assert status == 0 and "DEBUG" not in agent.text(), (shown, agent.text())
        # A configuration that cannot be read changes nothing.
        agent.configure("novasnap", no_such_key="1")
        agent.process.send_signal(signal.SIGHUP)
        tap.wait_for("a warning", lambda: "keeping the configuration" in agent.text())
        os.rename(agent.log, f"{agent.log}.2")
        with open(agent.conf) as file:
            text = file.read().replace("no_such_key = 1\n", "").replace("debug = false", "debug = true")
        with open(agent.conf, "w") as file:
            file.write(text)
        agent.process.send_signal(signal.SIGHUP)
        tap.wait_for("debug", lambda: "debug is true" in agent.text())
        assert agent.snapshot(env.guest.uuid)[2] == 0
        assert "DEBUG" in agent.text(), agent.text()


def test_the_end_of_its_terminal_stops_it(env):
    agent = env.make_agent(sections={"images": env.images})
    agent.configure("DEFAULT", log_file=agent.log)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(os.path.join(agent.programs, "novasnapd"), ["novasnapd", *agent.files])
    tap.wait_for("the start", lambda: " ready after " in agent.text())
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert status == 0 and "stopping: " in agent.text(), (status, agent.text())


def test_old_jobs_are_deleted_while_it_runs(env):
    image, _, status = env.agent.snapshot(env.guest.uuid)
    assert status == 0
    with contextlib.closing(sqlite3.connect(os.path.join(env.agent.state, "journal", "journal.db"), timeout=30)) as journal:
        journal.execute("UPDATE jobs SET ended_at = 1000 WHERE image = ?", (image,))
        journal.commit()
    tap.wait_for("the deletion", lambda: not env.agent.shown(image))


def test_the_unit_restarts_it_after_every_unclean_end(env):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(os.path.join(TOP, "conf/novasnapd.service"))
    assert unit["Service"]["Restart"] == "always" and unit["Unit"]["StartLimitIntervalSec"] == "0"
    # An end by any of these is clean for systemd, and needs Restart=always; SIGHUP must not end it.
    env.agent.process.send_signal(signal.SIGHUP)
    tap.wait_for("a reload", lambda: "the configuration was read again" in env.agent.text())
    assert env.agent.is_running()


def test_a_stop_waits_for_five_snapshots_at_once(env):
    guests = [env.make_guest(size_mib=64, data_mib=8) for _ in range(5)]
    for guest in guests:
        env.agent.command("send", "snapshot_instance", "--file", CAST, "--instance", guest.uuid)
    tap.wait_for("casts", lambda: env.agent.text().count("snapshot into image") >= 5)
    assert env.agent.stop() == 0
    assert os.listdir(env.agent.snapshots) == []


if __name__ == "__main__":
    tap.main(Messages)
