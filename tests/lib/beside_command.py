# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host with novasnapd, a nova-compute's messaging by the real oslo.messaging, and `novasnap beside`."""
import json
import time
import uuid

import tap
from broker import Broker
from environment import Environment
from layouts import LAYOUTS
from nova_compute import NovaCompute
from nova_service import NovaService
from rpc_peers import check, equal, wait_until

WAIT = ("--wait", "20")
DONE, FAILED, PENDING = 0, 1, 3


class CommandEnvironment(Environment):
    services = ("broker",)
    own_broker = True

    def make_broker(self):
        return Broker(self.folder, management=True)

    def set_up(self):
        self.wait_services()

    def site(self, layout="defaults", **more):
        return CommandSite(self, LAYOUTS[layout], **more)


class CommandSite:
    """A host of a cloud with a broker's vhost of its own."""

    def __init__(self, env, options, user=None, host=None, novasnap=None, notifications=False):
        self.env, self.options = env, options
        self.vhost = f"v{uuid.uuid4().hex[:8]}"
        self.url = env.broker.add_vhost(self.vhost)
        self.host = host or f"h{uuid.uuid4().hex[:6]}.example.org"
        self.exchange, self.queue = f"nova.{self.host}", f"novasnap.{self.host}"
        sections = {
            "DEFAULT": {"host": self.host}, "oslo_messaging_rabbit": options, "broker_url": self.url,
            "libvirt_uri": "test:///default", "glance_url": None, "images": env.folder.make("images")}
        if user:
            sections["broker_url"] = self.url.replace("guest:guest", f"{user}:{user}")
        if notifications:
            self.other_vhost = f"v{uuid.uuid4().hex[:8]}"
            sections["oslo_messaging_notifications"] = {
                "driver": "messagingv2", "transport_url": env.broker.add_vhost(self.other_vhost)}
        self.agent = env.make_agent(sections=sections, mode="beside", **(novasnap or {}))
        self.nova = None
        self.api = env.enter(NovaService(env.folder, self.url, options, topic="api", host="ctl"))

    def start(self, exchange=None):
        """Starts nova-compute, with its old configuration or its own exchange, and novasnapd."""
        self.restart_nova(exchange)
        self.env.enter(self.agent)
        return self

    def restart_nova(self, exchange=None, **more):
        if self.nova:
            self.nova.close()
        self.nova = self.env.enter(NovaCompute(self.env.folder, self.url, self.options, host=self.host,
                                               exchange=exchange, **more))

    def beside(self, *args, status=DONE, env=()):
        """`env`: a command that runs it."""
        done = self.agent.command("beside", *args, check=False, env=env)
        equal(done.returncode, status, f"status of {args}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def status(self):
        done = self.agent.command("beside", "--status", "--json", check=False)
        check(done.stdout, f"status {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def enable(self):
        """All the way: nova-compute has its own exchange afterwards."""
        self.beside("--enable", "--wait", "0", status=PENDING)
        self.restart_nova(self.exchange)
        self.beside("--enable", *WAIT)
        return self

    def broker_objects(self, vhost):
        """RabbitMQ 4 lists a binding before its queue, for a moment."""
        def are_complete():
            found = self.env.broker.objects(vhost)
            names = {queue["name"] for queue in found[1]}
            return all(each["destination"] in names for each in found[2]
                       if each["destination_type"] == "queue") and found
        return tap.wait_for("the queues of all bindings", are_complete, 20, 0.1)

    def objects(self, vhost=None):
        """What is at the broker, without the queues of single processes."""
        exchanges, queues, bindings = self.broker_objects(vhost or self.vhost)
        own = {queue["name"] for queue in queues if queue["exclusive"] or queue["name"].startswith("reply_")
               or "_fanout_" in queue["name"]}
        return (sorted((each["name"], each["type"], each["durable"], each["auto_delete"]) for each in exchanges
                       if "_fanout" not in each["name"]),
                sorted((each["name"], each["durable"], json.dumps(each["arguments"], sort_keys=True))
                       for each in queues if each["name"] not in own),
                sorted((each["source"], each["destination"], each["routing_key"]) for each in bindings
                       if each["destination"] not in own and "_fanout" not in each["source"]))

    def bound(self):
        """The queues that get the requests for this host."""
        return sorted(to for source, to, key in self.objects()[2]
                      if source == "nova" and key == f"compute.{self.host}")

    def reaches(self, count=5):
        """Requests reach nova-compute once each, in order."""
        names = [f"test_{uuid.uuid4().hex[:6]}" for _ in range(count)]
        self.nova.endpoint.called.clear()
        for name in names:
            self.api.cast("compute", self.host, name)
        wait_until("requests reach nova-compute", lambda: len(self.nova.endpoint.called) >= count)
        time.sleep(0.3)
        equal(self.nova.endpoint.called, names, "requests")
