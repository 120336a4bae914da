#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rpc room when the broker is down, blocked, mute, or not the one it should be.

The broker is a private one always, for it is stopped and starved here.
"""

import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

# pylint: disable=wrong-import-position
import tap
from proxy import Proxy
from rpc_peers import LIMIT_S, Names, Oslo, Peer, TlsBroker, check, equal, wait_until
from services import Folder, free_port

BROKER = None
CERTIFICATES = None

DISCONNECTED, OUTBOX_FULL = 3, 4


def names():
    return Names(BROKER.url)


def proxied(proxy):
    return BROKER.url.replace(str(BROKER.port), str(proxy.port))


def call_self(n, number, **more):
    """A call that our own server answers."""
    return dict(topic=f"{n.topic}.{n.host}", method="echo", version="6.0", args={"n": number},
                timeout=LIMIT_S, **more)


def test_restart():
    """the broker is restarted between two casts, and a third waits for it"""
    with names() as n, Peer(n) as peer:
        peer.serve()
        own = f"{n.topic}.{n.host}"
        with Oslo(n) as oslo:
            oslo.client().cast({}, "echo", n=1)
            equal(peer.request("echo")["args"], {"n": 1}, "the first cast")
        BROKER.stop()
        peer.wait_log("the consuming connection is lost")
        peer.wait_log("the publishing connection is lost")
        waits = peer.do("call", **call_self(n, 3))
        BROKER.start()
        equal(peer.done(waits), {"n": 3}, "the reply to what waited")
        equal(peer.request("echo")["args"], {"n": 3}, "what waited")
        peer.run("ready", timeout=LIMIT_S)
        with Oslo(n) as oslo:
            oslo.client().cast({}, "echo", n=2)
            equal(peer.request("echo")["args"], {"n": 2}, "the second cast")
        wait_until("all is acked", lambda: n.depth(own) == 0)


def test_started_before_broker():
    """the broker may come later"""
    BROKER.stop()
    try:
        with names() as n, Peer(n, ready=False) as peer:
            peer.wait_log("cannot consume yet")
            failure = peer.fails("call", **dict(call_self(n, 1), timeout=1))
            equal(failure["code"], DISCONNECTED, failure["error"])
            peer.do("serve")
            BROKER.start()
            peer.run("ready", timeout=LIMIT_S)
            equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
    finally:
        if not BROKER.is_up():
            BROKER.start()


def test_outbox_full():
    """what the outbox cannot hold is refused, and what it holds is published later"""
    topic = "notifications-full"
    with names() as n, Peer(n, "--outbox", "2") as peer:
        BROKER.stop()
        try:
            peer.wait_log("the publishing connection is lost")
            for number in range(2):
                peer.run("notify", topic=topic, event_type=f"e{number}")
            peer.run("notify", topic=topic, event_type="e2")
            peer.wait_log("the notification e2 is lost")
            failure = peer.fails("cast", topic="t", method="m", version="1.0")
            equal(failure["code"], OUTBOX_FULL, failure["error"])
        finally:
            BROKER.start()
        wait_until("both are published", lambda: n.depth(f"{topic}.info") == 2)
        delete_queue(n, f"{topic}.info")


def delete_queue(n, name):
    with n.connection() as connection:
        connection.channel().queue_delete(name)


def bodies(n, name):
    found = []
    with n.connection() as connection:
        channel = connection.channel()
        while True:
            message = channel.basic_get(name, no_ack=True)
            if not message:
                return found
            found.append(json.loads(json.loads(message.body)["oslo.message"]))


def test_unconfirmed():
    """what was not confirmed when the connection broke is published again, under the same id"""
    with Proxy(BROKER.port) as proxy, names() as n:
        queue = f"test-{n.topic}"
        with n.connection() as connection:
            channel = connection.channel()
            channel.exchange_declare(n.exchange, "topic", durable=False, auto_delete=False)
            channel.queue_declare(queue, auto_delete=False)
            channel.queue_bind(queue, n.exchange, "k")
        try:
            with Peer(n, url=proxied(proxy)) as peer:
                # A stand-in for a network that loses the broker's confirms.
                proxy.silence(deaf=True)
                casts = [peer.do("cast", topic="k", method=f"m{i}", version="1.0")
                         for i in range(3)]
                wait_until("they are in the queue", lambda: n.depth(queue) == 3)
                proxy.cut()
                proxy.resume()
                for cast in casts:
                    peer.done(cast)
            found = [message["_unique_id"] for message in bodies(n, queue)]
            equal(len(found), 6, "messages")
            equal(sorted(found[:3]), sorted(found[3:]), "their ids")
        finally:
            delete_queue(n, queue)


def test_duplicate_of_unconfirmed():
    """a receiver takes a message that was published twice once"""
    with Proxy(BROKER.port) as proxy, names() as n, Peer(n) as server:
        server.serve()
        other = Names(BROKER.url)
        other.exchange, other.topic, other.host = n.exchange, n.topic, "node2"
        with Peer(other, url=proxied(proxy)) as peer:
            proxy.silence(deaf=True)
            cast = peer.do("cast", topic=f"{n.topic}.{n.host}", method="echo", version="6.0",
                           args={"n": 1})
            server.request("echo")
            proxy.cut()
            proxy.resume()
            peer.done(cast)
            server.wait_log("a duplicate of message")
        equal(server.seen(lambda e: e["event"] == "request"), [], "requests beside the first")


def test_mute_peer():
    """a connection on which nothing comes any more is given up, and made anew"""
    with Proxy(BROKER.port) as proxy, names() as n:
        with Peer(n, "--heartbeat", "2", url=proxied(proxy)) as peer:
            peer.serve()
            equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
            # A stand-in for a broker's host that is gone without a word.
            proxy.silence(deaf=True, mute=True)
            peer.wait_log("the consuming connection is lost")
            peer.wait_log("the publishing connection is lost")
            proxy.resume()
            equal(peer.run("call", **call_self(n, 2)), {"n": 2}, "the next reply")


def test_heartbeats():
    """heartbeats keep an idle connection"""
    with names() as n, Peer(n, "--heartbeat", "1") as peer:
        peer.serve()
        time.sleep(5)
        equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
        check("is lost" not in peer.text(), peer.text())


def test_blocked():
    """a blocked broker stops publishing alone: callers are told in time, consuming goes on"""
    with names() as n, Peer(n) as peer:
        own = f"{n.topic}.{n.host}"
        peer.serve()
        equal(peer.run("call", **call_self(n, 0)), {"n": 0}, "the reply")
        peer.request("echo")
        peer.run("stop")
        n.publish(own, b'{"method": "echo", "version": "6.0", "args": {"n": 1}}')
        wait_until("it waits", lambda: n.depth(own) == 1)
        BROKER.ctl("set_vm_memory_high_watermark", "0")
        try:
            failure = peer.fails("call", **dict(call_self(n, 2), timeout=3))
            equal(failure["code"], DISCONNECTED, failure["error"])
            check("blocked" in failure["error"], failure["error"])
            peer.serve()
            equal(peer.request("echo")["args"], {"n": 1}, "what is consumed meanwhile")
            # One that a declaration goes before, and one that waits.
            peer.run("notify", topic="notifications-blocked", event_type="e")
            waits = peer.do("call", **call_self(n, 3))
            time.sleep(2)
        finally:
            BROKER.ctl("set_vm_memory_high_watermark", "0.4")
        equal(peer.done(waits), {"n": 3}, "the reply to what waited")
        wait_until("the notification is there",
                   lambda: n.depth("notifications-blocked.info") == 1)
        delete_queue(n, "notifications-blocked.info")
        check("the publishing connection is lost" not in peer.text(), peer.text())


def test_end():
    """what was sent before the end is published within the grace"""
    with names() as n:
        BROKER.stop()
        try:
            with Peer(n, "--grace", "30", ready=False) as peer:
                for number in range(5):
                    peer.run("notify", topic="notifications-end", event_type=f"e{number}")
                peer.end_input()
                BROKER.start()
                equal(peer.close(), 0, "the end")
        finally:
            if not BROKER.is_up():
                BROKER.start()
        equal(len(bodies(n, "notifications-end.info")), 5, "notifications")
        delete_queue(n, "notifications-end.info")


def test_hosts():
    """of several hosts those that do not answer are passed over"""
    dead = free_port()
    with names() as n:
        url = f"rabbit://guest:guest@127.0.0.1:{dead},guest:guest@{BROKER.host}/"
        with Peer(n, url=url) as peer:
            peer.serve()
            equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
            peer.wait_log(f"cannot connect to RabbitMQ at 127.0.0.1:{dead}")


def test_refused():
    """a login that is refused is said, without the password"""
    with names() as n:
        for url, says in (
            (f"rabbit://guest:hidden@{BROKER.host}/", "ACCESS_REFUSED"),
            (f"rabbit://guest:guest@{BROKER.host}/none", "vhost none"),
        ):
            with Peer(n, url=url, ready=False) as peer:
                peer.wait_log("cannot log in to RabbitMQ", 2)
                peer.wait_log(says)
                check("hidden" not in peer.text(), "the password is in the log")


def test_tls():
    """TLS checks the broker's certificate and its name"""
    ca, other_ca = CERTIFICATES[0], CERTIFICATES[3]
    with names() as n:
        good = f"rabbit://guest:guest@localhost:{BROKER.tls_port}/"
        with Peer(n, "--ssl", "--ca", ca, url=good) as peer:
            peer.serve()
            equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
        for url, file in (
            (good.replace("localhost", "127.0.0.1"), ca),  # not its name
            (good, other_ca),
            (good.replace(str(BROKER.tls_port), str(BROKER.port)), ca),  # not TLS
            (good, "/none/such.pem"),
        ):
            with Peer(n, "--ssl", "--ca", file, url=url, ready=False) as peer:
                peer.wait_log("cannot publish yet")
                peer.wait_log("cannot consume yet")
                check("publishing at" not in peer.text(), f"it trusts {url} with {file}")


def make_certificates(folder):
    """A CA with a certificate for localhost, and another CA: CA, certificate, key, other CA."""

    def openssl(*arguments):
        subprocess.run(("openssl", *arguments), check=True, capture_output=True, cwd=folder)

    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                f"/CN=novasnap test {name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    with open(os.path.join(folder, "names"), "w", encoding="ascii") as file:
        file.write("subjectAltName=DNS:localhost\n")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
            "-keyout", "server.key", "-out", "server.csr")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.pem")
    return [os.path.join(folder, name)
            for name in ("ca.pem", "server.pem", "server.key", "other.pem")]


TESTS = [
    test_restart, test_started_before_broker, test_outbox_full, test_unconfirmed,
    test_duplicate_of_unconfirmed, test_mute_peer, test_heartbeats, test_blocked, test_end,
    test_hosts, test_refused, test_tls,
]


def main():
    global BROKER, CERTIFICATES  # pylint: disable=global-statement
    tap.handle_signals()
    with Folder() as folder:
        CERTIFICATES = make_certificates(folder.make("certificates"))
        with TlsBroker(folder, *CERTIFICATES[:3]) as BROKER:
            return tap.run(TESTS, [BROKER.log])


if __name__ == "__main__":
    sys.exit(main())
