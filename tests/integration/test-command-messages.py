#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `novasnap send` publishes and `novasnap record` receives, with a real RabbitMQ."""
import json
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from command_conf import write_command_conf  # noqa: E402
from environment import Environment  # noqa: E402
from paths import BUILD, CAST  # noqa: E402

IMAGE = "2f6e1c2e-8f0b-4a58-9d0c-1d2b2f6f8c11"


class Messages(Environment):
    services = ("broker",)

    def set_up(self):
        self.conf = write_command_conf(self.folder, self.broker)

    def run(self, status, *arguments):
        done = subprocess.run([os.path.join(BUILD, "novasnap"), "--config-file", self.conf, *arguments], timeout=60,
                              capture_output=True, text=True)
        assert done.returncode == status, done
        return done

    def queue(self, channel, name):
        """Declares a queue as a compute host does."""
        import kombu
        exchange = kombu.Exchange("nova", "topic", durable=False)(channel)
        exchange.declare()
        queue = kombu.Queue(name, exchange, routing_key=name, durable=False)(channel)
        queue.declare()
        return queue


def test_a_recording_that_is_complete_before_all_connections_are_open_ends(env):
    stop = threading.Event()

    def publish():
        with env.broker.connection() as connection:
            env.queue(connection.channel(), "compute.other")
            producer = connection.Producer()
            while not stop.is_set():
                producer.publish("{}", exchange="nova", routing_key="compute.h", content_type="application/json")
    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        for number in range(3):
            path = env.folder.file(f"flood-{number}.jsonl")
            env.run(0, "record", "--count", "1", path)
            with open(path) as file:
                assert len(file.readlines()) == 1
    finally:
        stop.set()
        publisher.join()


def test_send_publishes_no_other_method_of_a_recording(env):
    with open(CAST) as file:
        cast = json.load(file)
    other = {**cast, "method": "terminate_instance"}
    cast.update({"_context_auth_token": "***", "_msg_id": "1", "_reply_q": "reply_1"})
    recording = env.folder.file("recording.jsonl")

    def send(status, *messages):
        with open(recording, "w") as file:
            file.writelines(json.dumps({"body": json.dumps(message)}) + "\n" for message in messages)
        return env.run(status, "send", "snapshot_instance", "--file", recording, "--image", IMAGE)
    with env.broker.connection() as connection:
        queue = env.queue(connection.channel(), "compute.h")
        done = send(1, other)
        assert recording in done.stderr and "snapshot_instance" in done.stderr, done
        assert queue.get(no_ack=True) is None
        send(0, other, cast)
        sent = json.loads(json.loads(queue.get(no_ack=True).body)["oslo.message"])
        assert queue.get(no_ack=True) is None
    assert sent["method"] == "snapshot_instance" and sent["_context_auth_token"] is None, sent
    assert "_msg_id" not in sent and "_reply_q" not in sent, sent


if __name__ == "__main__":
    tap.main(Messages)
