# SPDX-License-Identifier: LGPL-2.1-or-later
"""Both peers of the tests of the rpc room: our program rpc-peer, and the real oslo.messaging."""
import json
import os
import queue
import subprocess
import threading
import uuid

import kombu
import oslo_messaging

import tap
from oslo_conf import make_conf
from paths import BUILD

LIMIT_S = 60
PEER = os.path.join(BUILD, "tests", "tools", "rpc-peer")


def check(condition, why):
    if not condition:
        raise AssertionError(why)


def equal(got, expected, what):
    check(got == expected, f"{what}: got {got!r}, expected {expected!r}")


def wait_until(what, condition):
    return tap.wait_for(what, condition, LIMIT_S)


class Names:
    """The names of one test on a broker that others may use too. Its queues and exchanges are deleted at the end."""

    def __init__(self, url):
        self.url = url
        unique = uuid.uuid4().hex[:8]
        self.exchange = f"nova-{unique}"
        self.topic = f"compute-{unique}"
        self.other = f"conductor-{unique}"
        self.host = "node1"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        queues = [self.topic, f"{self.topic}.{self.host}", f"{self.topic}_fanout", self.other, f"{self.other}.node9"]
        with self.connection() as connection:
            for name in queues:
                self.delete(connection, "queue_delete", name)
            for name in (self.exchange, f"{self.topic}_fanout", f"{self.other}_fanout"):
                self.delete(connection, "exchange_delete", name)

    @staticmethod
    def delete(connection, method, name):
        getattr(connection.channel(), method)(name)

    def connection(self):
        return kombu.Connection(self.url.replace("rabbit:", "amqp:", 1))

    def publish(self, key, body, exchange=None, **properties):
        with self.connection() as connection:
            producer = connection.Producer(serializer=None)
            producer.publish(
                body, exchange=self.exchange if exchange is None else exchange, routing_key=key,
                **{"content_type": "application/json", "content_encoding": "utf-8", **properties},
            )

    def depth(self, name):
        """Returns the number of messages that are ready in a queue, or None if the queue does not exist."""
        with self.connection() as connection:
            try:
                return connection.channel().queue_declare(name, passive=True).message_count
            except connection.channel_errors:
                return None


class Peer:
    """The program rpc-peer. Its events are kept in order until a test waits for them."""

    def __init__(self, names, *options, url=None, ready=True):
        self.names = names
        self._events = queue.Queue()
        self._kept = []
        self._id = 0
        self.log = []
        self._process = subprocess.Popen(
            (
                PEER, "--url", url or names.url, "--host", names.host,
                "--topic", names.topic, "--exchange", names.exchange, *options,
            ),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=dict(os.environ, G_MESSAGES_DEBUG="all"),
        )
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_log, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        if ready:
            self.done(self.do("ready", timeout=LIMIT_S))

    def _read_events(self):
        for line in self._process.stdout:
            try:
                self._events.put(json.loads(line))
            except ValueError:
                self.log.append(line)

    def _read_log(self):
        for line in self._process.stderr:
            self.log.append(line)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        code = self.close()
        if kind is None:
            check(code == 0, f"rpc-peer ended with {code}: {self.text()[-2000:]}")

    def text(self):
        return "".join(self.log)

    def end_input(self):
        """Makes it end, and does not wait for that."""
        if not self._process.stdin.closed:
            self._process.stdin.close()

    def close(self):
        self.end_input()
        try:
            code = self._process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for reader in self._readers:
            reader.join(LIMIT_S)
        self._process.stdout.close()
        self._process.stderr.close()
        return code

    def do(self, what, **arguments):
        """Sends it a command. Returns the command's number."""
        self._id += 1
        command = dict(arguments, do=what, id=self._id)
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._id

    def event(self, condition, limit_s=LIMIT_S):
        """Waits for the first event for which the condition is true."""
        for index, event in enumerate(self._kept):
            if condition(event):
                return self._kept.pop(index)
        while True:
            try:
                event = self._events.get(timeout=limit_s)
            except queue.Empty:
                raise TimeoutError(f"no such event; log: {self.text()[-2000:]}") from None
            if condition(event):
                return event
            self._kept.append(event)

    def request(self, method):
        return self.event(lambda e: e["event"] == "request" and e["method"] == method)

    def seen(self, condition):
        """Returns the events so far for which the condition is true."""
        while not self._events.empty():
            self._kept.append(self._events.get())
        return [event for event in self._kept if condition(event)]

    def outcome(self, number):
        return self.event(lambda e: e["event"] == "done" and e["id"] == number)

    def done(self, number):
        outcome = self.outcome(number)
        check("error" not in outcome, f"{outcome.get('error')}; log: {self.text()[-2000:]}")
        return outcome["result"]

    def run(self, what, **arguments):
        return self.done(self.do(what, **arguments))

    def fails(self, what, **arguments):
        outcome = self.outcome(self.do(what, **arguments))
        check("error" in outcome, f"{what} did not fail: {outcome}")
        return outcome

    def serve(self):
        self.run("serve")
        self.run("ready", timeout=LIMIT_S)
        return self

    def wait_log(self, text, count=1):
        wait_until(f"log says {text!r}", lambda: self.text().count(text) >= count)


class Oslo:
    """The real oslo.messaging, with the names of a test."""

    def __init__(self, names, durable=False, **options):
        """`options`: of the section oslo_messaging_rabbit."""
        self.names = names
        self.conf = make_conf()
        self.rpc = oslo_messaging.get_rpc_transport(self.conf, names.url, allowed_remote_exmods=[
            "oslo_messaging.rpc.dispatcher", "oslo_messaging.exceptions"])
        self.conf.set_override("control_exchange", names.exchange)
        self.rpc._driver._default_exchange = names.exchange
        self.conf.set_override(
            "amqp_durable_queues", durable, group="oslo_messaging_rabbit")
        for name, value in options.items():
            self.conf.set_override(name, value, group="oslo_messaging_rabbit")
        self._servers = []
        self._transports = [self.rpc]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self._servers:
            server.stop()
            server.wait()
        for transport in self._transports:
            transport.cleanup()

    def client(self, **target):
        values = {"topic": self.names.topic, "server": self.names.host, "version": "6.0", **target}
        return oslo_messaging.get_rpc_client(
            self.rpc, oslo_messaging.Target(exchange=self.names.exchange, **values), timeout=LIMIT_S)

    def serve(self, endpoint):
        target = oslo_messaging.Target(
            exchange=self.names.exchange, topic=self.names.other, server="node9")
        server = oslo_messaging.get_rpc_server(self.rpc, target, [endpoint], executor="threading")
        server.start()
        self._servers.append(server)

    def listen(self, topics, endpoint):
        transport = oslo_messaging.get_notification_transport(self.conf, self.names.url)
        self._transports.append(transport)
        server = oslo_messaging.get_notification_listener(
            transport,
            [oslo_messaging.Target(exchange=self.names.exchange, topic=topic) for topic in topics],
            [endpoint], executor="threading", pool=f"pool-{uuid.uuid4().hex[:8]}")
        server.start()
        self._servers.append(server)
