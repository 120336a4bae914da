#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Forwarding beside nova-compute when the broker does not take what is forwarded: it confirms nothing, rejects copies, is
blocked, or refuses a message; and when novasnapd cannot journal its own requests. RabbitMQ is real. A stand-in in front
of it withholds confirmations."""
import json
import os
import re
import subprocess
import sys
import threading
import time
import uuid

import amqp

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from beside_site import BesideEnvironment, under_load, unique_id_of  # noqa: E402
from broker import Broker  # noqa: E402
from certificates import Authority  # noqa: E402
from paths import BUILD  # noqa: E402
from rpc_peers import check, equal, wait_until  # noqa: E402
from standin_network import ConfirmStandIn, NetworkStandIn  # noqa: E402

MIB = 1024 * 1024


class Forwarding(BesideEnvironment):
    def make_broker(self):
        self.authority = Authority(self.folder)
        return Broker(self.folder, (self.authority.certificate, *self.authority.issue("server")), verify_clients=False,
                      management=True, options=self.broker_options)


def peak_mib(agent):
    with open(f"/proc/{agent.process.pid}/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read())[1]) // 1024


def read_sizes(site, count, limit_s):
    """Returns (number, bytes) of each message of nova-compute's queue. A body begins with its number."""
    got, until = [], time.monotonic() + limit_s
    while len(got) < count and time.monotonic() < until:
        message = site.channel.basic_get(site.target, no_ack=True)
        if message:
            body = message.body if isinstance(message.body, bytes) else message.body.encode()
            got.append((int(body[:4]), len(body)))
        else:
            time.sleep(0.05)
    return got


def test_bytes_that_are_held_are_bounded(env):
    """The queue of a nova-compute that is away does not exist, so nothing can be forwarded."""
    site = env.site(durable=True).enable()
    site.channel.queue_delete(site.target)
    before = peak_mib(site.agent)
    sizes = [12 * MIB] * 12 + [50 * MIB] + [1000] * 5
    # The broker moves what it has held for 10 s, so all of them are published in less.
    content = os.urandom(max(sizes))
    for number, size in enumerate(sizes):
        site.publish(b"%04d" % number + content[4:size])
    wait_until("the log", lambda: "stays with the broker" in site.agent.text())
    time.sleep(2)
    site.declare_target()
    got = read_sizes(site, len(sizes), 90)
    equal(got, list(enumerate(sizes)), "what reaches nova-compute")
    peak = peak_mib(site.agent)
    print(f"# {sum(sizes) // MIB} MiB, peak of memory {before} MiB before, {peak} MiB after")
    # The largest message may be there twice: arriving and held. The sanitizers keep what is freed.
    if os.path.basename(BUILD) == "build":
        check(peak - before < 32 + 2 * 50 + 30, f"{before} MiB before, {peak} MiB after")
    wait_until("all acked", lambda: site.beside()["held"] == 0)


def test_no_confirmation(env):
    """The connection lives, and requests go on arriving."""
    network = env.enter(ConfirmStandIn(env.broker.port))
    site = env.site(durable=True, port=network.port).enable()
    network.withhold()
    first = site.message("reboot_instance", number=0)
    began = time.monotonic()
    site.publish(first)
    others = []
    while site.bound() != [site.target]:
        check(time.monotonic() < began + 30, "no bypass")
        others.append(site.message("reboot_instance", number=len(others) + 1))
        site.publish(others[-1])
        time.sleep(0.5)
    print(f"# bypass after {time.monotonic() - began:.1f} s")
    check("beside_patience" in site.agent.text(), "the log")
    direct = site.message("reboot_instance", number=-1)
    site.publish(direct)
    wait_until("the reason", lambda: "has not confirmed a message" in site.agent.text())
    wait_until("interception again", lambda: site.bound() == [site.queue])
    got = [message.body for message in site.read_all(len(others) + 3) if "reboot_instance" in message.body]
    # The copy without a confirmation was there, and is sent again.
    equal(sorted(got), sorted([first, first, direct] + others), "requests")
    equal([body for body in got if body != direct][1:], [first] + others, "the order of those that were delivered again")


def test_a_rejected_copy_is_not_overtaken(env):
    """nova-compute's queue is full now and then: the broker rejects some copies, and accepts later ones."""
    site = env.site(durable=True).enable()
    env.broker.ctl("set_policy", "-p", site.vhost, "full", r"^compute\.", '{"max-length": 2, "overflow": "reject-publish"}',
                   "--apply-to", "queues")
    sent = [site.message("reboot_instance", number=number) for number in range(60)]

    def send():
        with site.connect() as connection:
            channel = connection.channel()
            channel.confirm_select()
            for body in sent:
                site.publish(body, channel=channel)
    sender = threading.Thread(target=send)
    sender.start()
    got = [message.body for message in site.read_all(len(sent))]
    sender.join(60)
    check("takes nothing at the moment" in site.agent.text(), "nothing was rejected")
    numbers = [sent.index(body) for body in got]
    equal(numbers, list(range(len(sent))), "order")


def test_tls(env):
    """The forwarding connection, and those of the commands and of the watchdog."""
    rabbit = {"ssl": "true", "ssl_ca_file": env.authority.certificate}
    site = env.site(durable=True, port=env.broker.tls_port, sections={"oslo_messaging_rabbit": rabbit}).enable()
    sent = [site.message("reboot_instance", number=number) for number in range(20)] + [os.urandom(3 * MIB)]
    body, unique_id = site.snapshot()
    for each in (*sent[:10], body, *sent[10:]):
        site.publish(each)
    equal([message.body for message in site.read_all(len(sent))], sent, "what reaches nova-compute")
    wait_until("the snapshot", lambda: site.journal() == [unique_id])
    shown = env.broker.ctl("list_connections", "vhost", "ssl", "client_properties")
    mine = [line for line in shown.splitlines() if site.vhost in line and "novasnap" in line]
    check(any("forwarder" in line for line in mine) and all("\ttrue\t" in line for line in mine), shown)
    equal(site.agent.stop(), 0, "status")
    equal(site.bound(), [site.target], "bound after the stop")
    site.agent.start()
    wait_until("interception", lambda: site.beside()["intercepting"])


def test_the_user_id_of_another_user(env):
    """RabbitMQ checks user_id when a message is published, so the copy cannot have it: the broker moves the message."""
    site = env.site(durable=True).enable()
    user = f"u{uuid.uuid4().hex[:6]}"
    env.broker.permit(user, site.vhost)
    body, own = site.message("reboot_instance"), site.snapshot()
    with amqp.Connection(f"127.0.0.1:{env.broker.port}", user, user, virtual_host=site.vhost,
                         confirm_publish=False) as connection:
        channel = connection.channel()
        channel.confirm_select()
        encoded = b"\x00\x10" + bytes([len(user)]) + user.encode()  # only the user_id
        site.publish(body, encoded, channel=channel)
        site.publish(own[0], encoded, channel=channel)
    got = site.read_all(1)
    equal([message.body for message in got], [body], "what reaches nova-compute")
    check(user.encode() in got[0].encoded, got[0].encoded)
    check("it has the user_id of another user" in site.agent.text(), "the log")
    wait_until("the snapshot", lambda: site.journal() == [own[1]])
    equal(site.beside()["dead_lettered"], 1, "dead-lettered")


def test_a_broker_that_is_blocked(env):
    """By its memory alarm: it reads nothing from a connection that publishes."""
    site = env.site(durable=True).enable()
    clear = ("set_vm_memory_high_watermark", "0.6")
    env.callback(env.broker.ctl, *clear)
    with under_load(site) as (sent, own):
        time.sleep(1)
        env.broker.ctl("set_vm_memory_high_watermark", "0.000001")
        wait_until("the log", lambda: "the broker is blocked" in site.agent.text())
        time.sleep(8)
        check(site.agent.is_running(), "it has ended")
        env.broker.ctl(*clear)
        time.sleep(2)
    wait_until("interception", lambda: site.beside()["intercepting"] and site.bound() == [site.queue])
    got = [unique_id_of(message.body) for message in site.read_all(len(sent)) if "_unique_id" in message.body]
    wanted = [unique_id_of(body) for body in sent]
    print(f"# {len(wanted)} requests, {len(set(got) & set(wanted))} reached nova-compute, {len(own)} snapshots")
    equal(set(wanted) - set(got), set(), "requests that are lost")
    equal(set(own) - set(site.journal()) - set(got), set(), "snapshots that are lost")
    equal(set(site.journal()) & set(got), set(), "snapshots that both have")


def limit_later(env, size):
    """Returns a function that makes the broker refuse larger messages. It returns at once, while rabbitmqctl takes
    seconds."""
    gate = env.folder.file("gate")
    code = (f'file:write_file("{gate}.ready", ""), Wait = fun Wait() -> case filelib:is_file("{gate}") of true -> ok; '
            'false -> timer:sleep(5), Wait() end end, Wait(), '
            f'{env.broker.message_limit(size)}, file:write_file("{gate}.done", "").')
    thread = threading.Thread(target=env.broker.ctl, args=("eval", code))
    thread.start()
    env.callback(thread.join, 60)

    def limit():
        with open(gate, "w"):
            pass
        wait_until("the limit", lambda: os.path.exists(f"{gate}.done"))
    env.callback(limit)
    wait_until("rabbitmqctl", lambda: os.path.exists(f"{gate}.ready"))
    return limit


def test_a_message_over_a_limit_that_became_smaller(env):
    """As after a restart of the broker: what it has already taken is over its limit when it is forwarded."""
    network = env.enter(NetworkStandIn(env.broker.port))
    site = env.site(durable=True, port=network.port).enable()
    env.callback(env.broker.limit_messages, 134217728)
    limit = limit_later(env, 1000000)
    sent = [site.message("reboot_instance", number=1), "x" * 2_000_000, site.message("reboot_instance", number=2)]
    network.freeze()
    for body in sent:
        site.publish(body)
    limit()
    network.cut()
    got = [message.body for message in site.read_all(len(sent)) if "ping" not in message.body]
    equal(sorted(got), sorted(sent), "what reaches nova-compute")
    equal(site.beside()["dead_lettered"], 1, "dead-lettered")
    check("dead-lettering" in site.agent.text(), "the log")


def test_a_journal_that_is_full(env):
    """What cannot be journaled is forwarded: nova-compute makes the snapshots, until there is room again."""
    site = env.site(durable=True)
    os.makedirs(site.agent.state, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=711", "none", site.agent.state], check=True, timeout=20)
    env.callback(subprocess.run, ["umount", "-l", site.agent.state], check=True, timeout=20)
    site.enable()
    filler = os.path.join(site.agent.state, "filler")
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    bodies = [site.snapshot()[0] for _ in range(20)]
    mixed = [site.message("reboot_instance", number=number) for number in range(20)]
    for own, other in zip(bodies, mixed):
        site.publish(own)
        site.publish(other)
    got = [message.body for message in site.read_all(40)]
    journaled = set(site.journal())
    missing = {unique_id_of(body) for body in bodies} - {unique_id_of(body) for body in got}
    print(f"# {len(bodies)} snapshots, {len(journaled)} of them journaled")
    equal([body for body in got if body in mixed], mixed, "other requests")
    equal(missing, journaled, "snapshots that nova-compute has not")
    check(len(journaled) < len(bodies), "the journal was not full")
    os.remove(filler)
    wait_until("interception", lambda: site.beside()["intercepting"])
    body, unique_id = site.snapshot()
    site.publish(body)
    wait_until("the snapshot", lambda: unique_id in site.journal())


def volume_request(env, site):
    """Returns the body of a request that has no task state, so nobody can claim it; and its id."""
    body, unique_id = site.snapshot()
    message = json.loads(json.loads(body)["oslo.message"])
    message["method"] = "volume_snapshot_delete"
    message["args"] = {"instance": message["args"]["instance"], "volume_id": str(uuid.uuid4()),
                       "snapshot_id": str(uuid.uuid4()), "delete_info": {"type": "qcow2", "volume_id": "v"}}
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}), unique_id


def test_an_unclaimed_request_whose_ack_is_lost(env):
    """nova-compute gets it from the broker, so novasnapd must not do it as well."""
    network = env.enter(NetworkStandIn(env.broker.port))
    site = env.site(durable=True, port=network.port, beside_methods="snapshot_instance, volume_snapshot_delete").enable()
    body, unique_id = volume_request(env, site)
    site.publish(body)
    wait_until("the request", lambda: site.journal() == [unique_id])
    equal(site.read_all(0), [], "what reaches nova-compute")
    network.silence(deaf=False, mute=True)
    body, unique_id = volume_request(env, site)
    site.publish(body)
    time.sleep(12)  # longer than the queue's TTL
    network.resume()
    network.cut()
    wait_until("nova-compute has it", lambda: any(message.body == body for message in site.read_all(1, 1)))
    time.sleep(3)
    check(unique_id not in site.journal(), "both have it")
    wait_until("the log", lambda: "leaving volume_snapshot_delete to nova-compute" in site.agent.text())
    check("if it has, the request is lost" in site.agent.text(), "what it means")


if __name__ == "__main__":
    tap.main(Forwarding)
