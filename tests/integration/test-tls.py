#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whom novasnapd talks to: a real RabbitMQ by TLS and a real Glance behind a stand-in for its TLS, with a private
CA; certificates that are wrong; and a Glance that points elsewhere."""
import contextlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from elsewhere import Elsewhere  # noqa: E402
from faulty_glance import FaultyGlance  # noqa: E402
from guest import Guest, same_content  # noqa: E402
from services import Agent, Broker, Folder, Glance, Libvirt, begin  # noqa: E402
from tls import Authority, TlsFront  # noqa: E402


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        authority, stranger = Authority(folder), Authority(folder, "stranger")
        server = authority.issue("server", "DNS:localhost")
        client = authority.issue("client")
        broker = Broker(folder, (authority.certificate, *server))
        glance = Glance(folder)
        begin(stack, broker, glance)
        stack.enter_context(Libvirt(folder))
        guest = stack.enter_context(Guest(folder, size_mib=32, data_mib=8))
        broker.wait()
        glance.wait()
        faulty = stack.enter_context(FaultyGlance(glance))
        elsewhere = stack.enter_context(Elsewhere())
        count = iter(range(1000))

        def rabbit(**more):
            return {"ssl": "true", "ssl_ca_file": authority.certificate, "ssl_cert_file": client[0],
                    "ssl_key_file": client[1], **more}

        def agent(host="localhost", port=None, url=glance.url, store=None, tls=None):
            which = Agent(folder, f"rabbit://guest:guest@{host}:{port or broker.tls_port}/", url,
                          name=f"agent{next(count)}", retries=0, oslo_messaging_rabbit=tls or rabbit())
            with open(which.conf, "a") as file:
                file.write("[glance]\n")
                file.writelines(f"{key} = {value}\n" for key, value in (store or {}).items())
            return which

        def line(which, name):
            """What novasnap check says of one thing, and whether it is well."""
            shown = which.command("check", check=False).stdout
            found = [text for text in shown.splitlines() if f"  {name}" in text]
            assert len(found) == 1, shown
            return found[0]

        def front(port, pair):
            return stack.enter_context(TlsFront(port, pair)).port

        def test_rabbitmq_and_glance_by_tls():
            secure = front(glance.port, authority.issue("glance"))
            with agent(url=f"https://localhost:{secure}",
                       store={"cafile": authority.certificate}) as which:
                image, shown, status = which.snapshot(guest.uuid)
                assert status == 0, (shown, which.text())
                assert same_content(glance.file(image), "qcow2", guest.disk, "qcow2")
                assert line(which, "RabbitMQ") == "ok    RabbitMQ: login accepted, with TLS"
                assert line(which, "Glance").startswith("ok "), line(which, "Glance")

        def test_rabbitmq_by_the_old_names_of_the_keys():
            which = agent(tls={"rabbit_use_ssl": "true", "kombu_ssl_ca_certs": authority.certificate,
                               "kombu_ssl_certfile": client[0], "kombu_ssl_keyfile": client[1]})
            assert line(which, "RabbitMQ") == "ok    RabbitMQ: login accepted, with TLS"

        def test_rabbitmq_by_its_address():
            port = front(broker.port, authority.issue("address", "IP:127.0.0.1"))
            assert line(agent("127.0.0.1", port), "RabbitMQ").startswith("ok ")
            assert "for another host" in line(agent("localhost", port), "RabbitMQ")

        def test_rabbitmq_refused():
            expired = front(broker.port, authority.issue("expired", days=-1))
            other = front(broker.port, authority.issue("other", "DNS:rabbit.example.org"))
            partial = front(broker.port, authority.issue("partial", "DNS:local*"))
            strange = front(broker.port, stranger.issue("strange"))
            locked = os.path.join(folder.path, "locked.key")
            Authority._openssl("rsa", "-aes128", "-passout", "pass:x", "-in", client[1], "-out",
                               locked)
            for which, words in (
                    (agent(tls=rabbit(ssl_ca_file=stranger.certificate)), "in certificate chain"),
                    (agent(tls=rabbit(ssl_ca_file="")), "in certificate chain"),
                    (agent(port=strange), "ssl_ca_file"),
                    (agent("127.0.0.1"), "for another host"),
                    (agent(port=other), "for another host"),
                    (agent(port=partial), "for another host"),
                    (agent(port=expired), "has expired"),
                    (agent(tls=rabbit(ssl_cert_file="", ssl_key_file="")), "ssl_cert_file"),
                    (agent(tls=rabbit(ssl_ca_file="/nonexistent")), "/nonexistent"),
                    (agent(tls=rabbit(ssl_key_file=locked)), "ssl_key_file"),
                    (agent(port=broker.port), "one for TLS"),
                    (agent(tls={"ssl": "false"}), "FAIL")):
                said = line(which, "RabbitMQ")
                assert said.startswith("FAIL") and words in said, (words, said)
                assert "guest:guest" not in said, said

        def test_glance_refused():
            good = front(glance.port, authority.issue("good"))
            expired = front(glance.port, authority.issue("late", days=-1))
            other = front(glance.port, authority.issue("far", "DNS:glance.example.org"))
            ours = {"cafile": authority.certificate}
            for port, store, words in (
                    (good, {}, "certificate"), (good, {"cafile": stranger.certificate}, "certificate"),
                    (expired, ours, "certificate has expired"),
                    (other, ours, "matches target host name"),
                    (good, {"cafile": "/nonexistent"}, "/nonexistent"),
                    (glance.port, ours, "SSL")):
                said = line(agent(url=f"https://localhost:{port}", store=store), "Glance")
                assert said.startswith("FAIL") and words in said, (words, said)
            said = line(agent(url=f"https://localhost:{other}", store={"insecure": "true"}), "Glance")
            assert said.startswith("warn") and "not verified" in said, said
            # Nor does a snapshot get anywhere.
            with agent(url=f"https://localhost:{expired}", store=ours) as which:
                _image, shown, status = which.snapshot(guest.uuid, "--image",
                                                       glance.create("not to be reached"))
                assert status == 1 and "expired" in which.text(), (shown, which.text())

        def test_a_glance_that_points_elsewhere_is_not_followed():
            for status in (301, 302, 303, 307, 308):
                for place in (elsewhere.url, "file:///etc/passwd"):
                    with agent(url=faulty.url) as which:
                        faulty.always = None
                        image = glance.create(f"pointed elsewhere by {status}")
                        faulty.faults.append((status, place + "/v2/images"))
                        _image, shown, failed = which.snapshot(guest.uuid, "--image", image)
                        assert failed == 1 and f"answered {status}" in which.text(), which.text()
                        assert place in which.text() and "not followed" in which.text()
                        # From the first request on.
                        faulty.always = (status, place)
                        _image, shown, failed = which.snapshot(guest.uuid, "--image",
                                                               glance.create("the same"))
                        assert failed == 1, shown
                        said = line(which, "Glance")
                        assert said.startswith("FAIL") and place in said, said
            faulty.always = None
            assert elsewhere.seen == []

        def test_only_http_and_no_proxy_of_the_environment():
            for url in ("file:///etc/passwd", "ftp://localhost", "gopher://localhost"):
                said = line(agent(url=url), "Glance")
                assert said.startswith("FAIL") and "disabled" in said, said
            which = agent()
            which.start({name: elsewhere.url for name in ("http_proxy", "https_proxy", "all_proxy",
                                                          "HTTPS_PROXY", "ALL_PROXY")})
            try:
                _image, shown, status = which.snapshot(guest.uuid)
                assert status == 0, (shown, which.text())
            finally:
                which.stop()
            assert elsewhere.seen == []

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [broker.log])


if __name__ == "__main__":
    sys.exit(main())
