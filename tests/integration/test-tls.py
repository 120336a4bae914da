#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which servers novasnapd trusts: a RabbitMQ and a Glance with TLS and a private CA, certificates that are wrong in
each way, and a Glance that redirects to another server. RabbitMQ, Glance, libvirt and QEMU are real. Stand-ins use TLS
with the wrong certificates, answer with redirects, and are the targets of redirects."""
import os
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from broker import Broker  # noqa: E402
from certificates import Authority  # noqa: E402
from environment import Environment  # noqa: E402
from images import same_content  # noqa: E402
from standin_glance import GlanceStandIn  # noqa: E402
from standin_network import TlsStandIn  # noqa: E402
from standin_stranger import StrangerStandIn  # noqa: E402


class Tls(Environment):
    services = ("broker", "glance", "libvirt")
    own_broker = True

    def make_broker(self):
        self.authority, self.other_authority = Authority(self.folder), Authority(self.folder, "other-ca")
        self.client = self.authority.issue("client")
        return Broker(self.folder, (self.authority.certificate, *self.authority.issue("server", "DNS:localhost")))

    def set_up(self):
        self.guest = self.make_guest(size_mib=32, data_mib=8)
        self.wait_services()

    def before_test(self):
        self.guest.reset("shut off")

    def rabbit(self, **more):
        return {"ssl": "true", "ssl_ca_file": self.authority.certificate, "ssl_cert_file": self.client[0],
                "ssl_key_file": self.client[1], **more}

    def agent(self, host="localhost", port=None, url=None, glance=None, rabbit=None, query=""):
        """`host`, `port`: of RabbitMQ, whose section is `rabbit`; `url`: of Glance, with more keys for its section."""
        agent = self.make_agent(sections={
            "broker_url": f"rabbit://guest:guest@{host}:{port or self.broker.tls_port}/{query}",
            "glance_url": url or self.glance.url, "retries": 0, "oslo_messaging_rabbit": rabbit or self.rabbit()})
        agent.configure("glance", **(glance or {}))
        return agent

    def front(self, port, pair):
        """Starts a stand-in with this certificate in front of a port. Returns its port."""
        return self.enter(TlsStandIn(port, pair)).port


def line(agent, name):
    """Returns the line of novasnap check about one subject."""
    shown = agent.command("check", check=False).stdout
    found = [text for text in shown.splitlines() if f"  {name}" in text]
    assert len(found) == 1, shown
    return found[0]


def fails(agent, name, words):
    said = line(agent, name)
    assert said.startswith("FAIL") and words in said, (words, said)
    return said


def assert_login(env, agent):
    assert line(agent, "RabbitMQ") == (
        f"ok    RabbitMQ: login accepted: user guest at localhost:{env.broker.tls_port}, vhost /, with TLS and the "
        f"certificate {env.client[0]}"), line(agent, "RabbitMQ")


def test_a_snapshot_with_rabbitmq_and_glance_by_tls(env):
    port = env.front(env.glance.port, env.authority.issue("glance"))
    with env.agent(url=f"https://localhost:{port}", glance={"cafile": env.authority.certificate}) as agent:
        image, shown, status = agent.snapshot(env.guest.uuid)
        assert status == 0, (shown, agent.text())
        assert same_content(env.glance.file(image), "qcow2", env.guest.disk, "qcow2")
        assert_login(env, agent)
        assert line(agent, "Glance").startswith("ok "), line(agent, "Glance")


def test_rabbitmq_by_the_old_names_of_the_keys(env):
    agent = env.agent(rabbit={"rabbit_use_ssl": "true", "kombu_ssl_ca_certs": env.authority.certificate,
                              "kombu_ssl_certfile": env.client[0], "kombu_ssl_keyfile": env.client[1]})
    assert_login(env, agent)


def test_rabbitmq_by_the_query_of_the_url(env):
    """It overrides the section, in both directions, as in oslo.messaging."""
    query = urllib.parse.urlencode({"ssl": "1", "ssl_ca_file": env.authority.certificate, "ssl_cert_file": env.client[0],
                                    "ssl_key_file": env.client[1]})
    agent = env.agent(rabbit={"ssl": "false", "ssl_ca_file": "/nonexistent"}, query=f"?{query}")
    assert_login(env, agent)
    agent = env.agent(port=env.broker.port, query="?ssl=0")
    assert line(agent, "RabbitMQ").startswith("ok ") and "TLS" not in line(agent, "RabbitMQ")


def test_rabbitmq_by_its_address(env):
    port = env.front(env.broker.port, env.authority.issue("address", "IP:127.0.0.1"))
    assert line(env.agent("127.0.0.1", port), "RabbitMQ").startswith("ok ")
    assert "for another host" in line(env.agent("localhost", port), "RabbitMQ")


def test_rabbitmq_with_wrong_certificates(env):
    expired = env.front(env.broker.port, env.authority.issue("expired", days=-1))
    other = env.front(env.broker.port, env.authority.issue("other", "DNS:rabbit.example.org"))
    partial = env.front(env.broker.port, env.authority.issue("partial", "DNS:local*"))
    unknown = env.front(env.broker.port, env.other_authority.issue("unknown"))
    locked = env.folder.file("locked.key")
    Authority.openssl("rsa", "-aes128", "-passout", "pass:x", "-in", env.client[1], "-out", locked)
    for agent, words in (
            (env.agent(rabbit=env.rabbit(ssl_ca_file=env.other_authority.certificate)), "in certificate chain"),
            (env.agent(rabbit=env.rabbit(ssl_ca_file="")), "in certificate chain"),
            (env.agent(port=unknown), "ssl_ca_file"),
            (env.agent("127.0.0.1"), "for another host"),
            (env.agent(port=other), "for another host"),
            (env.agent(port=partial), "for another host"),
            (env.agent(port=expired), "has expired"),
            (env.agent(rabbit=env.rabbit(ssl_cert_file="", ssl_key_file="")), "ssl_cert_file"),
            (env.agent(rabbit=env.rabbit(ssl_ca_file="/nonexistent")), "/nonexistent"),
            (env.agent(rabbit=env.rabbit(ssl_key_file=locked)), "ssl_key_file"),
            (env.agent(port=env.broker.port), "one for TLS"),
            (env.agent(rabbit={"ssl": "false"}), "FAIL")):
        said = fails(agent, "RabbitMQ", words)
        assert "guest:guest" not in said, said


def test_glance_with_wrong_certificates(env):
    good = env.front(env.glance.port, env.authority.issue("good"))
    expired = env.front(env.glance.port, env.authority.issue("late", days=-1))
    other = env.front(env.glance.port, env.authority.issue("far", "DNS:glance.example.org"))
    ours = {"cafile": env.authority.certificate}
    # uwsgi would wait for the rest of a request.
    plain = env.enter(StrangerStandIn()).port
    for port, glance, words in (
            (good, {}, "certificate"), (good, {"cafile": env.other_authority.certificate}, "certificate"),
            (expired, ours, "certificate has expired"), (other, ours, "matches target host"),
            (good, {"cafile": "/nonexistent"}, "/nonexistent"), (plain, ours, "SSL")):
        fails(env.agent(url=f"https://localhost:{port}", glance=glance), "Glance", words)
    said = line(env.agent(url=f"https://localhost:{other}", glance={"insecure": "true"}), "Glance")
    assert said.startswith("warn") and "not verified" in said, said
    # A snapshot fails too.
    with env.agent(url=f"https://localhost:{expired}", glance=ours) as agent:
        _image, shown, status = agent.snapshot(env.guest.uuid, "--image", env.glance.create("not to be reached"))
        assert status == 1 and "expired" in agent.text(), (shown, agent.text())


def test_a_glance_that_points_to_another_server_is_not_followed(env):
    front, stranger = env.enter(GlanceStandIn(env.glance)), env.enter(StrangerStandIn())
    for status in (301, 302, 303, 307, 308):
        for place in (stranger.url, "file:///etc/passwd"):
            with env.agent(url=front.url) as agent:
                front.reset((status, place + "/v2/images"))
                _image, _shown, failed = agent.snapshot(env.guest.uuid, "--image", env.glance.create())
                assert failed == 1 and f"answered {status}" in agent.text(), agent.text()
                assert place in agent.text() and "not followed" in agent.text()
                # From the first request on.
                front.always = (status, place)
                _image, shown, failed = agent.snapshot(env.guest.uuid, "--image", env.glance.create())
                assert failed == 1, shown
                fails(agent, "Glance", place)
    assert stranger.seen == []


def test_only_http_and_no_proxy_of_the_environment(env):
    stranger = env.enter(StrangerStandIn())
    for url in ("file:///etc/passwd", "ftp://localhost", "gopher://localhost"):
        fails(env.agent(url=url), "Glance", "disabled")
    agent = env.agent()
    agent.start({name: stranger.url for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY")})
    try:
        _image, shown, status = agent.snapshot(env.guest.uuid)
        assert status == 0, (shown, agent.text())
    finally:
        agent.stop()
    assert stranger.seen == []


if __name__ == "__main__":
    tap.main(Tls)
