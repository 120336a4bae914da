#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnap beside, with the real RabbitMQ and novasnapd, and a nova-compute's messaging by the real oslo.messaging."""
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from broker import Broker  # noqa: E402
from environment import Environment  # noqa: E402
from layouts import LAYOUTS  # noqa: E402
from nova_compute import NovaCompute  # noqa: E402
from nova_service import NovaService  # noqa: E402
from rpc_peers import check, equal, wait_until  # noqa: E402

WAIT = ("--wait", "20")
DONE, FAILED, PENDING = 0, 1, 3


class Beside(Environment):
    services = ("broker",)
    own_broker = True

    def make_broker(self):
        return Broker(self.folder, management=True)

    def set_up(self):
        self.wait_services()

    def site(self, layout="defaults", **more):
        return Site(self, LAYOUTS[layout], **more)


class Site:
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

    def restart_nova(self, exchange=None, serves=True):
        if self.nova:
            self.nova.close()
        self.nova = self.env.enter(NovaCompute(self.env.folder, self.url, self.options, host=self.host,
                                               exchange=exchange, serves=serves))

    def beside(self, *args, status=DONE):
        done = self.agent.command("beside", *args, check=False)
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


def there_and_back(env, layout):
    site = env.site(layout)
    site.restart_nova()
    before = site.objects()
    site.start()
    equal(site.status()["stage"], "off", "stage")
    site.beside("--status", status=PENDING)
    site.reaches()
    text = site.beside("--enable", "--wait", "0", status=PENDING)
    check(f"control_exchange = {site.exchange}" in text, text)
    equal(site.bound(), [site.queue], "bound")
    site.reaches()
    site.restart_nova(site.exchange)
    check("nova-compute follows" in site.beside("--enable", *WAIT), "it does not follow")
    site.reaches()
    status = site.status()
    equal((status["stage"], status["problems"], status["nova_exchange"]), ("enabled", [], "own"), "status")
    equal((status["ping_requests"]["answers"], status["novasnapd"]["intercepting"]), (1, True), "status")
    site.beside("--status")
    # nova-compute still uses its exchange.
    check("not been restarted" in site.beside("--disable", "--wait", "0", status=PENDING), "it was not awaited")
    equal(site.bound(), [f"compute.{site.host}"], "bound")
    site.reaches()
    site.restart_nova()
    check("deleted. Done" in site.beside("--disable", *WAIT), "it is not done")
    site.reaches()
    equal(site.objects(), before, "the broker")
    check("not enabled" in site.beside("--disable"), "twice")
    equal(site.status()["stage"], "off", "stage")


def test_plain(env):
    there_and_back(env, "defaults")


def test_durable(env):
    there_and_back(env, "durable")


def test_quorum(env):
    there_and_back(env, "quorum")


def test_auto_delete(env):
    there_and_back(env, "auto-delete")


def test_nova_compute_is_restarted_first(env):
    """With its own exchange and no bindings it reaches no other service; --enable brings it back."""
    site = env.site()
    site.restart_nova()
    site.start(site.exchange)
    status = site.status()
    equal(status["nova_exchange"], "unknown", "what reaches the conductor")
    site.beside("--enable", *WAIT)
    site.reaches()
    equal(site.status()["problems"], [], "problems")


def test_old_configuration_is_noticed(env):
    site = env.site().start().enable()
    site.restart_nova()
    status = site.status()
    check(any("twice" in text for text in status["problems"]), status)
    equal(status["nova_exchange"], "old", "status")
    site.beside("--status", status=FAILED)
    check("old configuration" in site.beside("--guard", status=FAILED), "the guard is silent")
    equal(site.bound(), [site.queue], "bound after the guard")
    site.reaches()
    site.restart_nova(site.exchange)
    site.beside("--guard")
    equal(site.status()["problems"], [], "problems")


def interrupt(site, *args):
    """Runs a command, and kills it at a random moment."""
    process = subprocess.Popen([os.path.join(site.agent.programs, "novasnap"), *site.agent.files, "beside", *args],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(random.uniform(0, 2.5))
    process.kill()
    process.wait(20)


def test_killed_at_any_moment(env):
    site = env.site("durable")
    site.restart_nova()
    before = site.objects()
    site.start()
    for _ in range(3):
        for _ in range(4):
            interrupt(site, "--enable", "--wait", "0")
            check(site.bound(), "nobody gets the requests")
        site.beside("--enable", "--wait", "0", status=PENDING)
        equal(site.bound(), [site.queue], "bound")
        site.reaches()
        for _ in range(4):
            interrupt(site, "--disable", "--wait", "5")
            check(site.bound(), "nobody gets the requests")
        site.beside("--disable", *WAIT)
        site.reaches()
        equal(site.objects(), before, "the broker")


def test_without_novasnapd(env):
    site = env.site()
    site.restart_nova()
    before = site.objects()
    check("start novasnapd first" in site.beside("--enable", status=FAILED), "the reason")
    equal(site.beside("--disable"), "novasnap is not enabled on this host.\n", "what --disable says")
    equal(site.objects(), before, "the broker")


def test_disable_with_an_empty_state_folder(env):
    """The broker has what was enabled: without the folder --disable cannot go on safely."""
    site = env.site().start().enable()
    before = site.objects()
    with open(site.agent.conf) as file:
        text = file.read()
    with open(site.agent.conf, "w") as file:
        file.write(text.replace(site.agent.state, site.agent.state + "-new"))
    check("start novasnapd first" in site.beside("--disable", status=FAILED), "the reason")
    with open(site.agent.conf, "w") as file:
        file.write(text)
    equal(site.objects(), before, "the broker")


def test_refused(env):
    """A user who may not declare, or not bind: nothing has changed."""
    for permissions in ({"configure": "none"}, {"read": "^(?!nova$).*"}):
        user = f"u{uuid.uuid4().hex[:6]}"
        site = env.site(user=user)
        env.broker.permit(user, site.vhost)
        site.start()
        before = site.objects()
        env.broker.permit(user, site.vhost, **permissions)
        text = site.beside("--enable", status=FAILED)
        check("403" in text and "lacks a permission" in text, text)
        env.broker.permit(user, site.vhost)
        site.beside("--disable", *WAIT)
        equal(site.objects(), before, "the broker")
        site.reaches()


def test_other_arguments(env):
    site = env.site().start()
    with env.broker.connection(site.vhost) as connection:
        connection.channel().exchange_declare(site.exchange, "topic", durable=True, auto_delete=False)
    before = site.objects()
    text = site.beside("--enable", status=FAILED)
    check("406" in text and "durable" in text, text)
    equal(site.objects(), before, "the broker")


def test_nova_compute_starts_slowly(env):
    """It uses its exchange long before it serves requests."""
    site = env.site().start()
    site.beside("--enable", "--wait", "0", status=PENDING)
    site.restart_nova(site.exchange, serves=False)
    check("does not consume" in site.beside("--enable", "--wait", "3", status=PENDING), "it was not awaited")
    site.nova.serve()
    check("nova-compute follows" in site.beside("--enable", *WAIT), "it does not follow")
    equal(site.status()["problems"], [], "problems")


def test_long_name(env):
    site = env.site(host="h" * 250)
    text = site.beside("--enable", status=FAILED)
    check("262 bytes" in text or "259 bytes" in text, text)
    equal(len(text.strip().splitlines()), 1, text)


def test_another_consumer(env):
    """Another novasnapd with the same host. Of a quorum queue no consumer is exclusive."""
    site = env.site("quorum").start().enable()
    with env.broker.connection(site.vhost) as connection:
        channel = connection.channel()
        channel.basic_qos(0, 1, False)
        channel.basic_consume(site.queue, no_ack=False, callback=lambda _message: None)
        check("another process consumes" in site.beside("--enable", status=FAILED), "the reason")
        check(any("2 processes" in text for text in site.status()["problems"]), "the status")
    site.beside("--enable", *WAIT)


def lose_the_topology(env, site):
    env.broker.ctl("stop_app")
    env.broker.ctl("start_app")
    env.broker.wait()
    wait_until("nova-compute is back", lambda: f"compute.{site.host}" in {name for name, *_ in site.objects()[1]})


def bindings(site):
    return [each for each in site.objects()[2] if site.host in str(each)]


def test_the_guard_restores_the_topology(env):
    site = env.site().start().enable()
    before = bindings(site)
    site.agent.kill()
    lose_the_topology(env, site)
    wait_until("the guard repairs", lambda: not site.beside("--guard") and site.bound() == [site.queue])
    equal(before, bindings(site), "bindings")
    site.agent.start()
    site.reaches()


def test_novasnapd_restores_the_topology(env):
    site = env.site().start().enable()
    before = bindings(site)
    lose_the_topology(env, site)
    wait_until("novasnapd repairs", lambda: bindings(site) == before)
    site.reaches()


def test_novasnapd_hangs(env):
    """A stopped process is still a consumer. The guard gives the requests back; novasnapd takes them again later."""
    site = env.site(novasnap={"beside_away": "10"}).start().enable()
    site.agent.process.send_signal(signal.SIGSTOP)
    try:
        until = time.monotonic() + 60
        while site.bound() != [f"compute.{site.host}"]:
            check(time.monotonic() < until, "the requests are not given back")
            site.beside("--guard")
            time.sleep(1)
        site.reaches()
        check(any("given back" in text for text in site.status()["problems"]), "the status")
    finally:
        site.agent.process.send_signal(signal.SIGCONT)
    wait_until("novasnapd takes the requests again", lambda: site.bound() == [site.queue])
    site.reaches()


def test_guard_leaves_what_was_disabled(env):
    site = env.site().start().enable()
    site.restart_nova()
    site.beside("--disable", *WAIT)
    before = site.objects()
    site.beside("--guard")
    equal(site.objects(), before, "the broker")


def test_a_broker_for_notifications(env):
    site = env.site(notifications=True)
    site.restart_nova()
    before = site.objects(site.other_vhost)
    site.start().enable()
    equal([each for each in site.objects(site.other_vhost)[2] if each[0] == site.exchange],
          [(site.exchange, "nova", "#")], "bindings")
    site.restart_nova()
    site.beside("--disable", *WAIT)
    equal([each for each in site.objects(site.other_vhost)[0] if each[0] != "nova"],
          [each for each in before[0] if each[0] != "nova"], "the broker of notifications")


def test_usage(env):
    site = env.site()
    for args in ((), ("--enable", "--disable"), ("--enable", "--json"), ("--enable", "--wait", "-1"), ("x",)):
        site.beside(*args, status=2)


if __name__ == "__main__":
    tap.main(Beside)
