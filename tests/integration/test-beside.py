#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnapd beside nova-compute, with the real RabbitMQ: what is not its own reaches nova-compute's queue byte for byte,
in order, and none is lost, whichever of the two is missing or killed. The test reads nova-compute's queue itself."""
import ctypes
import gzip
import json
import os
import random
import signal
import statistics
import struct
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from beside_site import BesideEnvironment, under_load, unique_id_of  # noqa: E402
from rpc_peers import check, equal, wait_until  # noqa: E402
from standin_network import NetworkStandIn  # noqa: E402

PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def short(text):
    return struct.pack("B", len(text)) + text


def table(*entries):
    data = b"".join(short(name) + kind + value for name, kind, value in entries)
    return struct.pack(">I", len(data)) + data


def long_text(text):
    return struct.pack(">I", len(text)) + text


EVERY_KIND = table(
    (b"boolean", b"t", b"\1"), (b"i8", b"b", b"\x80"), (b"u8", b"B", b"\xff"), (b"i16", b"s", b"\x80\0"),
    (b"u16", b"u", b"\xff\xff"), (b"i32", b"I", b"\x80\0\0\0"), (b"u32", b"i", b"\xff" * 4),
    (b"i64", b"l", b"\x80" + b"\0" * 7), (b"f32", b"f", struct.pack(">f", 0.1)), (b"f64", b"d", struct.pack(">d", 0.1)),
    (b"decimal", b"D", b"\2\0\0\0\7"), (b"text", b"S", long_text("ü".encode())),
    (b"bytes", b"x", long_text(b"\0\xff")), (b"time", b"T", struct.pack(">Q", 1)), (b"void", b"V", b""),
    (b"table", b"F", table((b"inner", b"A", struct.pack(">I", 5) + b"I\0\0\0\1"))),
    (b"x-death", b"A", struct.pack(">I", 0)), (b"text", b"S", long_text(b"twice")),
    (b"", b"S", long_text(b"no name")), (b"unnamed", b"F", table((b"", b"V", b""))),
)
# All properties, in the order of AMQP; only user_id must be our own.
ALL_PROPERTIES = struct.pack(">H", 0xfff8) + b"".join((
    short(b"application/json"), short(b"odd"), EVERY_KIND, b"\1", b"\7", short(b"correlation"), short(b"reply_1"),
    short(b"600000"), short(b"message-1"), struct.pack(">Q", 2**40), short(b"a type"), short(b"guest"), short(b"app")))
NO_PROPERTIES = b"\0\0"


def nested(levels):
    """Arrays in each other; with 26000 levels about as many as a frame has room for."""
    return b"".join(b"A" + struct.pack(">I", 5 * level) for level in reversed(range(levels)))


def with_header(value):
    return struct.pack(">H", 0x2000) + table((b"", value[:1], value[1:]))


def test_byte_for_byte(env):
    site = env.site().enable()
    text = site.message("build_and_run_instance", big="x" * 1000)
    snapshot, _ = site.snapshot()
    newer = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps({
        **json.loads(json.loads(snapshot)["oslo.message"]), "version": "6.99"})})
    spaced = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps({
        **json.loads(json.loads(snapshot)["oslo.message"]), "namespace": "other"})})
    gzipped = struct.pack(">H", 0x2000) + table((b"compression", b"S", long_text(b"application/x-unknown")))
    sent = [
        (text, ALL_PROPERTIES), (text, NO_PROPERTIES), ("", NO_PROPERTIES), (b"\xff\0not JSON", ALL_PROPERTIES),
        (gzip.compress(snapshot.encode()), gzipped), (newer, NO_PROPERTIES), (spaced, NO_PROPERTIES),
        ("[" * 5000, NO_PROPERTIES), (json.dumps({"result": 1, "_msg_id": "x"}), NO_PROPERTIES),
        (snapshot, struct.pack(">H", 0x8000) + short(b"application/x-python-serialize")),
        (os.urandom(131072 - 8), NO_PROPERTIES), (os.urandom(3_000_000), ALL_PROPERTIES),
        (os.urandom(20_000_000), NO_PROPERTIES), (text, with_header(nested(90))), (text, NO_PROPERTIES),
    ]
    # RabbitMQ 4.3 itself sorts headers, and keeps one of each name: without novasnapd the messages would arrive so.
    site.channel.queue_declare("reference", auto_delete=False)
    for body, encoded in sent:
        site.publish(body, encoded)
        site.publish(b"", encoded, key="reference", exchange="")
    got = site.read_all(len(sent))
    equal(len(got), len(sent), "messages")
    for (body, _), message in zip(sent, got):
        encoded = site.read("reference").encoded
        body = body.encode() if isinstance(body, str) else body
        arrived = message.body.encode() if isinstance(message.body, str) else message.body
        check(arrived == body, f"a body of {len(body)} bytes: {len(arrived)} came")
        check(message.encoded == encoded, f"properties: {message.encoded[:1000]!r} instead of {encoded[:1000]!r}")
    equal(site.journal(), [], "the journal")
    print(f"# hop: {site.beside()['hop_ms']}")


def test_deeply_nested_headers(env):
    """librabbitmq decodes at most 100 levels since 0.14. The connection ends then, and the broker moves the message."""
    site = env.site().enable()
    deep, plain = site.message("reboot_instance"), site.message("build_and_run_instance")
    arrays = nested(26000)
    sent = with_header(arrays)
    site.publish(deep, sent)
    site.publish(plain, NO_PROPERTIES)
    got = {message.body: message for message in site.read_all(2, limit_s=120)}
    equal(sorted(got), sorted((deep, plain)), "messages")
    encoded = got[deep].encoded
    is_moved = ctypes.CDLL("librabbitmq.so.4").amqp_version_number() >= 14 << 16
    check(arrays in encoded and b"x-death" in encoded if is_moved else encoded == sent,
          f"properties: {encoded[:20]!r}...{encoded[-400:]!r}")
    check(site.agent.process.poll() is None, "novasnapd has ended")
    site.publish(plain, NO_PROPERTIES)
    equal([message.body for message in site.read_all(1)], [plain], "the next message")


def test_own_methods_are_taken_out(env):
    site = env.site(durable=True).enable()
    others, own = [], []
    for number in range(300):
        if number % 7 == 3:
            body, unique_id = site.snapshot()
            own.append(unique_id)
        else:
            body = site.message("reboot_instance", number=number)
            others.append(body)
        site.publish(body)
    equal([message.body for message in site.read_all(len(others))], others, "what reaches nova-compute")
    wait_until("snapshots in the journal", lambda: len(site.journal()) >= len(own))
    equal(sorted(site.journal()), sorted(own), "the journal")
    wait_until("all acked", lambda: site.count(site.queue) == 0)
    # Requests that are ours, and that it cannot use.
    broken = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps({
        "method": "snapshot_instance", "args": {}, "version": "6.0", "_unique_id": uuid.uuid4().hex})})
    site.publish(broken)
    equal([message.body for message in site.read_all(1)], [broken], "a snapshot without an instance")


def test_nothing_before_enable(env):
    site = env.site()
    env.enter(site.agent)
    time.sleep(3)
    check(site.ask()["ready"], "it is not ready")
    equal(site.beside()["stage"], "off", "stage")
    exchanges, queues, _ = env.broker.objects(site.vhost)
    names = {each["name"] for each in exchanges + queues}
    check(f"nova.{site.host}" not in names and site.queue not in names and "compute" not in names, names)
    body, _ = site.snapshot()
    site.publish(body)
    equal([message.body for message in site.read_all(1)], [body], "a snapshot")


def test_the_target_is_missing(env):
    site = env.site(durable=True).enable()
    site.channel.queue_delete(site.target)
    sent = [site.message("reboot_instance", number=number) for number in range(200)]
    for body in sent:
        site.publish(body)
    wait_until("the log", lambda: "does not exist; is nova-compute running?" in site.agent.text())
    equal(sum("WARNING" in line and "does not exist; is nova-compute running?" in line
              for line in site.agent.text().splitlines()), 1, "warnings")
    body, unique_id = site.snapshot()
    site.publish(body)
    site.declare_target()
    equal([message.body for message in site.read_all(len(sent))], sent, "what reaches nova-compute")
    wait_until("the snapshot", lambda: site.journal() == [unique_id])
    check("forwarding to compute" in site.agent.text(), "the log")


def test_further_queues_get_no_second_copy(env):
    site = env.site().enable()
    site.channel.queue_declare("other", auto_delete=False)
    site.publish(site.message("reboot_instance"), application_headers={"CC": ["other"]})
    equal(len(site.read_all(1)), 1, "for nova-compute")
    site.channel.queue_bind("other", "nova", "other")
    equal(site.count("other"), 0, "the queue in CC, which is not bound")
    check("dead-lettering" in site.agent.text(), "the log")


def test_killed_at_random(env):
    site = env.site(durable=True).enable()
    with under_load(site) as (sent, own):
        for _ in range(6):
            time.sleep(random.uniform(0.5, 2))
            site.agent.kill()
            time.sleep(random.uniform(0, 1))
            site.agent.start()
    got = [unique_id_of(message.body) for message in site.read_all(len(sent))]
    wanted = [unique_id_of(body) for body in sent]
    print(f"# {len(wanted)} requests, {len(got) - len(set(got))} of them twice; {len(own)} snapshots, "
          f"{len(set(got) & set(own))} of them to nova-compute")
    equal(set(wanted) - set(got), set(), "requests that are lost")
    # A copy that was not confirmed when it died is sent again: as many as it holds.
    check(len(got) - len(set(got)) <= 6 * 128, "too many requests came twice")
    journal = site.journal()
    equal(len(journal), len(set(journal)), "snapshots in the journal")
    equal(set(own) - set(journal) - set(got), set(), "snapshots that are lost")


def test_clean_stop_and_start(env):
    site = env.site(durable=True).enable()
    equal(site.bound(), [site.queue], "bound")
    with under_load(site) as (sent, own):
        time.sleep(1)
        equal(site.agent.stop(), 0, "status")
        equal((site.bound(), site.count(site.queue)), ([site.target], 0), "bound after the stop, and what is left")
        time.sleep(1)
        site.agent.start()
        wait_until("interception", lambda: site.beside()["intercepting"])
        equal(site.bound(), [site.queue], "bound after the start")
        time.sleep(1)
    got = [unique_id_of(message.body) for message in site.read_all(len(sent))]
    wanted = [unique_id_of(body) for body in sent]
    print(f"# {len(wanted)} requests, {len(got) - len(set(got))} of them twice while both queues were bound; "
          f"{len(own)} snapshots, {len(set(got) & set(own))} of them to nova-compute")
    equal(set(wanted) - set(got), set(), "requests that are lost")
    equal(set(own) - set(site.journal()) - set(got), set(), "snapshots that are lost")
    equal(set(site.journal()) & set(got), set(), "snapshots that both have")


def test_killed_before_it_sent_the_marker(env):
    """The marker of an earlier take is recorded, as after a kill between the last take's record and its marker."""
    site = env.site(durable=True).enable()
    site.agent.kill()
    path = os.path.join(site.agent.state, "journal", "beside-intercepting")
    assert os.path.exists(path)
    with open(path, "w") as file:
        file.write(str(uuid.uuid4()))
    site.agent.start()
    wait_until("consuming", lambda: site.beside()["consuming"])
    check(not site.beside()["intercepting"], "it waits for the marker")
    tap.wait_for("interception", lambda: site.beside()["intercepting"], 60)


def ptrace(request, tid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, tid, None, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def forwarding_thread(pid):
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm") as file:
            if file.read().strip() == "forwarding":
                return int(tid)
    raise AssertionError("there is no forwarding thread")


def test_the_forwarding_thread_is_stopped(env):
    """ptrace stops one thread by SIGSTOP, the others run."""
    site = env.site().enable()
    tid = forwarding_thread(site.agent.process.pid)
    ptrace(PTRACE_ATTACH, tid)
    os.waitpid(tid, 0x40000000)  # __WALL
    try:
        body = site.message("reboot_instance", number=1)
        began = time.monotonic()
        site.publish(body)
        wait_until("the bypass", lambda: site.bound() == [site.target])
        print(f"# bypass after {time.monotonic() - began:.1f} s")
        direct = site.message("reboot_instance", number=2)
        site.publish(direct)
        equal(site.read_all(1, 5)[0].body, direct, "a request past the thread that is stopped")
    finally:
        ptrace(PTRACE_DETACH, tid)
    check("beside_patience" in site.agent.text(), "the log")
    wait_until("interception again", lambda: site.beside()["intercepting"])
    equal(site.bound(), [site.queue], "bound")
    equal([message.body for message in site.read_all(1)], [body], "the request that waited")


def test_the_forwarding_connection_is_silent(env):
    """Neither side is told that it is dead, and the broker sends messages into it."""
    network = env.enter(NetworkStandIn(env.broker.port))
    site = env.site(port=network.port).enable()
    network.freeze()
    waiting = [site.message("reboot_instance", number=number) for number in range(3)]
    began = time.monotonic()
    for body in waiting:
        site.publish(body)
    equal(site.count(site.queue), 0, "messages that the broker has not sent")
    tap.wait_for("the bypass", lambda: site.bound() == [site.target], 50)
    print(f"# bypass after {time.monotonic() - began:.1f} s")
    time.sleep(12)
    equal(site.bound(), [site.target], "bound, while the connection is silent")
    network.cut()
    tap.wait_for("interception again", lambda: site.beside()["intercepting"], 90)
    got = [message.body for message in site.read_all(3)]
    # The questions to the thread that waited as well are harmless pings.
    equal(sorted(body for body in got if "reboot_instance" in body), sorted(waiting), "the requests that waited")


def test_the_hop(env):
    """Measured, not compared: a request one at a time, with and without novasnapd."""
    site, delays = env.site(), {}
    for name in ("without novasnapd", "beside it"):
        if name == "beside it":
            site.enable()
        times = []
        for number in range(200):
            body = site.message("reboot_instance", number=number)
            began = time.monotonic()
            site.publish(body)
            while not (message := site.read()):
                pass
            times.append((time.monotonic() - began) * 1000)
            equal(message.body, body, "the request")
        delays[name] = sorted(times)
    for name, times in delays.items():
        print(f"# {name}: median {statistics.median(times):.2f} ms, 99th percentile {times[197]:.2f} ms")
    wait_until("a canary", lambda: site.beside()["delay_ms"]["last"] is not None)
    print(f"# canary: {site.beside()['delay_ms']}")


def test_another_novasnapd(env):
    site = env.site().enable()
    other = env.make_agent(name="other", sections={
        "broker_url": site.env.broker.url + site.vhost, "DEFAULT": {"host": site.host}, "libvirt_uri": "test:///default",
        "glance_url": None, "images": env.folder.make("other")}, mode="beside")
    other.start()
    os.makedirs(os.path.join(other.state, "journal"), exist_ok=True)
    source = os.path.join(site.agent.state, "journal", "beside.json")
    with open(source) as file, open(os.path.join(other.state, "journal", "beside.json"), "w") as copy:
        copy.write(file.read())
    os.chmod(os.path.join(other.state, "journal", "beside.json"), 0o600)
    try:
        wait_until("the refusal", lambda: "another process consumes it" in other.text())
        body = site.message("reboot_instance")
        site.publish(body)
        equal([message.body for message in site.read_all(1)], [body], "a request")
    finally:
        other.process.send_signal(signal.SIGKILL)
        other.process.wait(20)
        other.process = None


def test_the_broker_is_killed(env):
    site = env.site(durable=True).enable()
    sent = [site.message("reboot_instance", number=number) for number in range(300)]
    for body in sent[:150]:
        site.publish(body)
    env.broker.kill()
    env.broker.start()
    wait_until("a connection", site.reconnect)
    for body in sent[150:]:
        site.publish(body)
    got, until = set(), time.monotonic() + 60
    while len(got) < len(sent) and time.monotonic() < until:
        got |= {message.body for message in site.read_all(1, 1)}
    equal(got, set(sent), "requests")


if __name__ == "__main__":
    tap.main(BesideEnvironment)
