#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnap beside, with the real RabbitMQ and novasnapd, and a nova-compute's messaging by the real oslo.messaging."""
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from beside_command import FAILED, PENDING, WAIT, CommandEnvironment  # noqa: E402
from paths import CAST  # noqa: E402
from rpc_peers import check, equal, wait_until  # noqa: E402


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


def test_who_watches_learns_that_it_is_not_enabled(env):
    site = env.site()
    site.restart_nova()
    done = site.agent.command("send", "snapshot_instance", "--file", CAST, "--image", str(uuid.uuid4()), "--watch",
                              "--timeout", "60", check=False)
    equal(done.returncode, FAILED, done)
    check("nova-compute serves it" in done.stderr and "within the timeout" not in done.stderr, done)


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
    wait_until("no problem is left", lambda: not site.status()["problems"])


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
    wait_until("no problem is left", lambda: not site.status()["problems"])


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


def refused(env, permissions, action):
    """A user who may not declare, or not bind: one line says so, and nothing has changed."""
    user = f"u{uuid.uuid4().hex[:6]}"
    site = env.site(user=user)
    env.broker.permit(user, site.vhost)
    site.start()
    before = site.objects()
    env.broker.permit(user, site.vhost, **permissions)
    said = [line for line in site.beside("--enable", status=FAILED).splitlines() if line]
    wanted = re.compile(r"novasnap beside: nothing was changed: the broker's user lacks a permission, see "
                        rf"`rabbitmqctl set_permissions`: {action.format(site=site)}: .*ACCESS_REFUSED.*")
    check(len(said) == 1 and wanted.fullmatch(said[0]), said)
    env.broker.permit(user, site.vhost)
    equal(site.objects(), before, "the broker")
    site.beside("--disable", *WAIT)
    equal(site.objects(), before, "the broker after --disable")
    site.reaches()


def test_a_user_who_may_not_declare(env):
    refused(env, {"configure": "none"}, "declaring the exchange {site.exchange} at [0-9.:]+")


def test_a_user_who_may_not_bind(env):
    refused(env, {"read": "^(?!nova$).*"}, "binding the exchange {site.exchange} to nova at [0-9.:]+")


def test_other_arguments(env):
    site = env.site().start()
    with env.broker.connection(site.vhost) as connection:
        connection.channel().exchange_declare(site.exchange, "topic", durable=True, auto_delete=False)
    before = site.objects()
    text = site.beside("--enable", status=FAILED)
    check("406" in text and "durable" in text, text)
    equal(site.objects(), before, "the broker")


def test_the_queue_has_other_arguments(env):
    """nova-compute has the requests, and all say why. The advice helps."""
    site = env.site().start().enable()
    site.agent.stop()
    with env.broker.connection(site.vhost) as connection:
        channel = connection.channel()
        channel.queue_delete(site.queue)
        channel.queue_declare(site.queue, durable=True, auto_delete=False, arguments={"x-expires": 600000})
    site.agent.start()
    words = f"x-expires.*`rabbitmqctl delete_queue -p {site.vhost} {site.queue}`, and novasnapd makes it again"
    wait_until("the status tells why", lambda: any(re.search(words, text) for text in site.status()["problems"]))
    time.sleep(12)  # two more tries
    log = site.agent.text()
    equal(len(re.findall(f"WARNING .*{words}", log)), 1, log)
    shown = site.agent.command("check", check=False).stdout
    check(re.search(f"^FAIL *queues: queue {site.queue}: .*{words}", shown, re.M), shown)
    site.reaches()
    env.broker.ctl("delete_queue", "-p", site.vhost, site.queue)
    wait_until("novasnapd takes the requests", lambda: site.bound() == [site.queue])
    site.reaches()
    wait_until("no problem is left", lambda: not site.status()["problems"])


def test_the_line_of_another_host(env):
    """Nothing is made at the broker: it would be the other host's exchange."""
    site = env.site().start().enable()
    before = site.objects()
    site.agent.configure("DEFAULT", control_exchange="nova.other")
    for command in ("--guard", "--status", "--enable", "--disable"):
        text = site.beside(command, status=FAILED)
        check("another host's" in text and f"control_exchange = {site.exchange}" in text, text)
    equal(site.objects(), before, "the broker")
    site.agent.configure("DEFAULT", control_exchange="nova")
    site.beside("--guard")
    site.reaches()


def test_nova_compute_starts_slowly(env):
    """It uses its exchange long before it serves requests."""
    site = env.site().start()
    site.beside("--enable", "--wait", "0", status=PENDING)
    site.restart_nova(site.exchange, serves=False)
    check("does not consume" in site.beside("--enable", "--wait", "3", status=PENDING), "it was not awaited")
    site.nova.serve()
    check("nova-compute follows" in site.beside("--enable", *WAIT), "it does not follow")
    wait_until("no problem is left", lambda: not site.status()["problems"])


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


def test_disable_when_nova_compute_does_not_run(env):
    """Nobody consumes its queue for 30 s."""
    site = env.site("durable").start().enable()
    site.nova.close()
    began = time.monotonic()
    said = site.beside("--disable", "--wait", "90")
    check(30 <= time.monotonic() - began < 90, f"after {time.monotonic() - began:.0f} s")
    check("nova-compute does not run. Start it only without the line." in said and "deleted. Done" in said, said)
    site.restart_nova()
    site.reaches()


def test_no_ping_waits_for_nova_compute(env):
    """The guard sends one each 15 seconds, also while nova-compute does not run."""
    site = env.site().start().enable()
    site.nova.close()
    site.beside("--guard")
    check(site.status()["ping_direct"]["answers"] == 0, "nova-compute answers")
    time.sleep(5)
    equal(site.status()["nova_queue"]["messages"], 0, "messages for nova-compute")


def test_disable_when_nova_compute_publishes_nothing(env):
    """As with another servicegroup_driver than db: it answers, and has not used its exchange for 120 s."""
    site = env.site("durable").start().enable()
    site.restart_nova(reports=False)
    began = time.monotonic()
    said = site.beside("--disable", "--wait", "170")
    check(120 <= time.monotonic() - began < 170, f"after {time.monotonic() - began:.0f} s")
    check("deleted. Done" in said and "does not run" not in said, said)
    site.reaches()


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
    for args in ((), ("--enable", "--disable"), ("--enable", "--wait", "-1"), ("x",)):
        site.beside(*args, status=2)


if __name__ == "__main__":
    tap.main(CommandEnvironment)
