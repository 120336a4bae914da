# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures how many casts a second novasnap and oslo.messaging take, one after the other. Recorded snapshot_instance
casts go to a handler that does nothing, without a broker and from a RabbitMQ in whose queue they already wait."""
import contextlib
import json
import os
import time

import amqp

import tap
from agent import Agent
from paths import BUILD, TOP
from process import end, spawn

BODY = os.path.join(TOP, "tests/data/wire/snapshot_instance.body")
# Both are replaced in each cast: duplicates are dropped, and jobs of one instance wait for each other.
UNIQUE_ID = "a5514e71f5ef4115be7a09aaa221c78b"
INSTANCE = "2b5a5b29-ff82-456a-8cb5-56c0ad05b188"
HERE = os.path.dirname(os.path.abspath(__file__))
OURS = [os.path.join(BUILD, "tests/bench/casts")]
THEIRS = ["/usr/bin/python3", os.path.join(HERE, "oslo-casts.py")]
LIMIT_S = 300


class Queue:
    """A compute host's queue, which exists before its server, as when nova-compute is down."""

    def __init__(self, broker, host):
        self.name = f"compute.{host}"
        host_port = broker.url.split("@")[-1].strip("/")
        user, password = broker.url.split("//")[1].split("@")[0].split(":")
        self.connection = amqp.Connection(host_port, userid=user, password=password)

    def __enter__(self):
        self.connection.connect()
        self.channel = self.connection.channel()
        self.channel.exchange_declare("nova", "topic", durable=False, auto_delete=False)
        self.channel.queue_declare(self.name, durable=False, auto_delete=False)
        self.channel.queue_bind(self.name, "nova", self.name)
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.channel.queue_delete(self.name)
            self.connection.close()

    def depth(self):
        return self.channel.queue_declare(self.name, passive=True).message_count

    def fill(self, count, first):
        with open(BODY, encoding="utf-8") as file:
            body = file.read()
        assert UNIQUE_ID in body and INSTANCE in body
        for number in range(first, first + count):
            text = body.replace(UNIQUE_ID, f"{number:032x}")
            text = text.replace(INSTANCE, f"{number:08x}{INSTANCE[8:]}")
            self.channel.basic_publish(
                amqp.Message(text, content_type="application/json", content_encoding="utf-8",
                             delivery_mode=2, priority=0, application_headers={}),
                "nova", self.name)
        tap.wait_for("casts in the queue", lambda: self.depth() == count)

    def check_empty(self):
        """Waits until the queue is empty: the program that has ended has acked all messages."""
        tap.wait_for("empty queue", lambda: self.depth() == 0, 10)


def rates(folder, argv):
    """Runs a program, and reads the rounds that it prints."""
    log = folder.file("log")
    process = spawn(argv, log)
    try:
        status = process.wait(LIMIT_S)
    finally:
        end(process)
    with open(log, errors="replace") as file:
        text = file.read()
    os.unlink(log)
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if status != 0 or len(lines) != 1:
        raise RuntimeError(f"{argv} ended with {status}:\n{text[-3000:]}")
    return json.loads(lines[0])["rounds"]


class CastRates:
    def __init__(self, folder, broker):
        images = folder.make("images")
        self.folder, self.broker, self.sent = folder, broker, 0
        self.agent = Agent(folder, broker.url, images=images)
        # Nothing listens at that port, and novasnapd tries it once.
        self.alone = Agent(folder, "rabbit://127.0.0.1:1/", images=images, name="alone",
                           oslo_messaging_rabbit={"rabbit_retry_interval": "60",
                                                  "rabbit_interval_max": "60"})

    def our_decode(self):
        return rates(self.folder, [*OURS, "decode", self.alone.conf, BODY, "1"])

    def their_decode(self):
        return rates(self.folder, [*THEIRS, "decode", BODY, "1"])

    def our_broker(self, how="broker", count=20000):
        return self._broker(count, [*OURS, how, self.agent.conf, str(count)])

    def our_jobs(self):
        return self.our_broker("jobs")

    def our_journal(self):
        return self.our_broker("journal", 5000)

    def their_broker(self, count=2000):
        return self._broker(count, [*THEIRS, "broker", self.broker.url, self.agent.host, str(count)])

    def _broker(self, count, argv):
        with Queue(self.broker, self.agent.host) as queue:
            queue.fill(count, self.sent)
            self.sent += count
            found = rates(self.folder, argv)
            queue.check_empty()
        return found

    def all(self, rounds):
        parts = {"novasnap, without a broker": self.our_decode,
                 "oslo.messaging and nova's objects, without a broker": self.their_decode,
                 "novasnap, RabbitMQ": self.our_broker,
                 "novasnap, RabbitMQ, each a job in a thread": self.our_jobs,
                 "the same, in the journal before it is acked": self.our_journal,
                 "oslo.messaging and nova's objects, RabbitMQ": self.their_broker}
        found = {name: [] for name in parts}
        for _ in range(rounds):
            for name, measure in parts.items():
                found[name] += measure()
                print(f"# {time.strftime('%H:%M:%S')} casts: {name}: {found[name][-1]} a second",
                      flush=True)
        return [{"name": name, "rounds": values} for name, values in found.items()]
