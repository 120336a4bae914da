# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host with novasnapd beside nova-compute, and the queue of its nova-compute, which only the test reads."""
import contextlib
import json
import os
import socket
import sqlite3
import threading
import time
import uuid

import amqp
import amqp.method_framing

from broker import Broker
from environment import Environment
from paths import CAST
from rpc_peers import equal, wait_until

PENDING = 3  # the status of --enable and --disable when only nova-compute's restart is missing


class BesideEnvironment(Environment):
    services = ("broker",)
    own_broker = True
    broker_options = ("max_message_size = 134217728",)  # RabbitMQ 4 takes 16 MiB by default

    def make_broker(self):
        return Broker(self.folder, management=True, options=self.broker_options)

    def set_up(self):
        self.wait_services()
        with open(CAST) as file:
            self.cast = json.load(file)

    def site(self, durable=False, port=None, sections=None, **novasnap):
        return self.enter(Site(self, durable, port, sections or {}, novasnap))


class RawMessage(amqp.Message):
    """A message whose encoded properties are given, or kept."""
    encoded = b""

    def _serialize_properties(self):
        return self.encoded

    def _load_properties(self, class_id, buf, offset=0, *more):
        # py-amqp cannot decode all kinds of headers.
        self.encoded, self.properties = bytes(buf[offset:]), {}
        return len(buf)


amqp.method_framing.Message = RawMessage  # the class of each message that arrives


class Site:
    """A host with a vhost of its own, and the queue of its nova-compute, which only the test reads."""

    def __init__(self, env, durable, port, sections, novasnap):
        """`port`: novasnapd reaches the broker there. `sections`: more of its configuration."""
        self.env, self.durable = env, durable
        self.vhost = f"v{uuid.uuid4().hex[:8]}"
        self.host = f"h{uuid.uuid4().hex[:6]}"
        self.queue, self.target = f"novasnap.{self.host}", f"compute.{self.host}"
        options = {"amqp_durable_queues": str(durable).lower(), **sections.pop("oslo_messaging_rabbit", {})}
        url = env.broker.add_vhost(self.vhost).replace(f":{env.broker.port}/", f":{port or env.broker.port}/")
        self.agent = env.make_agent(sections={
            "broker_url": url, "DEFAULT": {"host": self.host},
            "oslo_messaging_rabbit": options, "libvirt_uri": "test:///default", "glance_url": None,
            "images": env.folder.make("images"), **sections}, mode="beside", **novasnap)
        self.connection = self.connect()
        self.channel = self.connection.channel()
        self.channel.confirm_select()
        self.channel.exchange_declare("nova", "topic", durable=durable, auto_delete=False)
        self.declare_target()

    def connect(self):
        connection = amqp.Connection(f"127.0.0.1:{self.env.broker.port}", "guest", "guest", virtual_host=self.vhost,
                                     confirm_publish=False)
        connection.connect()
        return connection

    def reconnect(self):
        try:
            self.connection = self.connect()
            self.channel = self.connection.channel()
            self.channel.confirm_select()
        except (OSError, amqp.AMQPError):
            return False
        return True

    def declare_target(self):
        self.channel.queue_declare(self.target, durable=self.durable, auto_delete=False)
        # As nova-compute does with either configuration.
        if not self.agent.is_running():
            self.channel.queue_bind(self.target, "nova", self.target)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError, amqp.AMQPError):
            self.connection.close()

    def enable(self):
        self.env.enter(self.agent)
        done = self.agent.command("beside", "--enable", "--wait", "0", check=False)
        equal(done.returncode, PENDING, f"status of --enable: {done.stdout}{done.stderr}")
        wait_until("interception", lambda: self.beside()["intercepting"])
        return self

    def beside(self):
        return self.ask()["beside"]

    def ask(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(os.path.join(self.agent.state, "journal", "status"))
            client.send(b'{"ask": "status"}')
            return json.loads(client.recv(131072))

    def publish(self, body, encoded=None, key=None, channel=None, exchange="nova", **properties):
        """Returns when the broker has it."""
        channel = channel or self.channel
        if encoded is None:
            message = amqp.Message(body, **{"content_type": "application/json", "content_encoding": "utf-8",
                                            "delivery_mode": 2, **properties})
        else:
            message = RawMessage(body)
            message.encoded = encoded
        channel.basic_publish_confirm(message, exchange, key or self.target)

    def read(self, queue=None):
        """Returns the next message of nova-compute's queue, or None."""
        message = self.channel.basic_get(queue or self.target, no_ack=True)
        if message and isinstance(message.body, bytes):
            with contextlib.suppress(UnicodeDecodeError):
                message.body = message.body.decode()
        return message

    def read_all(self, count, limit_s=60):
        """Returns that many messages, and checks that no more come."""
        got, until = [], time.monotonic() + limit_s
        while len(got) < count and time.monotonic() < until:
            message = self.read()
            if message:
                got.append(message)
            else:
                time.sleep(0.02)
        time.sleep(0.5)
        while message := self.read():
            got.append(message)
        return got

    def message(self, method, **args):
        return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps({
            "method": method, "args": args, "version": "6.0", "_unique_id": uuid.uuid4().hex})})

    def snapshot(self, instance=None, image=None):
        """Returns the body of a snapshot's cast, and its _unique_id."""
        cast = json.loads(json.dumps(self.env.cast))
        message = json.loads(cast["oslo.message"]) if "oslo.message" in cast else cast
        message["_unique_id"] = uuid.uuid4().hex
        message["args"]["image_id"] = image or str(uuid.uuid4())
        message["args"]["instance"]["nova_object.data"]["uuid"] = instance or str(uuid.uuid4())
        return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}), message["_unique_id"]

    def journal(self):
        """Returns the _unique_id of each cast in the journal."""
        path = os.path.join(self.agent.state, "journal", "journal.db")
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)
        try:
            return [row[0] for row in db.execute("SELECT unique_id FROM jobs")]
        finally:
            db.close()

    def bound(self):
        _, _, bindings = self.env.broker.objects(self.vhost)
        return sorted(each["destination"] for each in bindings
                      if each["source"] == "nova" and each["routing_key"] == self.target)

    def count(self, queue):
        return self.channel.queue_declare(queue, passive=True).message_count


def load(site, stop, sent, own):
    with site.connect() as connection:
        channel = connection.channel()
        channel.confirm_select()
        number = 0
        while not stop.is_set():
            if number % 10 == 5:
                body, unique_id = site.snapshot()
                own.append(unique_id)
            else:
                body = site.message("reboot_instance", number=number)
                sent.append(body)
            site.publish(body, channel=channel)
            number += 1
            time.sleep(0.002)


@contextlib.contextmanager
def under_load(site):
    """Publishes requests until the end of the block. Gives the bodies of those that are nova-compute's, and the ids of the
    snapshots. At the end of the block all of them have been handled."""
    stop, sent, own = threading.Event(), [], []
    sender = threading.Thread(target=load, args=(site, stop, sent, own))
    sender.start()
    try:
        yield sent, own
    finally:
        stop.set()
        sender.join(60)
    wait_until("an empty queue", lambda: site.count(site.queue) == 0 and site.beside()["held"] == 0)


def unique_id_of(text):
    return json.loads(json.loads(text)["oslo.message"])["_unique_id"]
