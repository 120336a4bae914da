#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Secrets that go nowhere, and names of the wire that become no paths: snapshots and failures with tokens and
passwords that can be known again, and then a search for them in all that is written, shown or seen from outside.
RabbitMQ, libvirt and Glance are real, Keystone is a stand-in."""
import contextlib
import json
import os
import resource
import signal
import sys
import time
import uuid

import kombu
import psutil

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from faulty_glance import FaultyGlance  # noqa: E402
from guest import Guest, same_content  # noqa: E402
from picky_keystone import PickyKeystone  # noqa: E402
from services import BUILD, CAST, Agent, Broker, Folder, Glance, Libvirt, begin  # noqa: E402

SECRETS = {name: f"sEcReT-{name}-{uuid.uuid4().hex}" for name in (
    "rabbit", "wrong-rabbit", "own-password", "service-password", "own-token", "service-token",
    "cast-token", "admin-pass")}
BAD_IDS = ["../../x", "../images-of-others", "/etc/passwd", "a/b", "..", "", "no-uuid", "x\ny",
           f"{uuid.uuid4()}\n", f"{uuid.uuid4()}/../x", f" {uuid.uuid4()}", str(uuid.uuid4())[:-1]]


def found_in(text):
    data = text if isinstance(text, bytes) else text.encode()
    return [name for name, secret in SECRETS.items() if secret.encode() in data]


def found_below(*folders):
    """(file, secret) of each that lies in a file of these folders."""
    found = []
    for path in (os.path.join(where, name) for folder in folders
                 for where, _, names in os.walk(folder) for name in names):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            found += [(path, name) for name in found_in(file.read())]
    return found


def tree(folder):
    return {os.path.join(where, name) for where, _, names in os.walk(folder) for name in names}


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        broker, glance = Broker(folder), Glance(folder)
        begin(stack, broker, glance)
        stack.enter_context(Libvirt(folder))
        guest = stack.enter_context(Guest(folder, size_mib=32, data_mib=16))
        broker.wait()
        glance.wait()
        broker.ctl("add_user", "novasnap", SECRETS["rabbit"])
        broker.ctl("set_permissions", "novasnap", ".*", ".*", ".*")
        url = f"rabbit://novasnap:{SECRETS['rabbit']}@127.0.0.1:{broker.port}/"
        faulty = stack.enter_context(FaultyGlance(glance))
        keystone = stack.enter_context(PickyKeystone({
            "ours": (SECRETS["own-password"], SECRETS["own-token"]),
            "service": (SECRETS["service-password"], SECRETS["service-token"])}))
        keys = {section: {"auth_url": keystone.url, "username": name, "password": SECRETS[password]}
                for section, name, password in (
                    ("keystone_authtoken", "ours", "own-password"),
                    ("service_user", "service", "service-password"))}
        keys["service_user"]["send_service_user_token"] = "true"
        # With their catalogue of each user's own.
        agent = stack.enter_context(Agent(folder, url, faulty.url, retries=1, **keys,
                                          novasnap={"upload_bytes_per_second": str(8 << 20)}))
        images = folder.make("images")
        to_folder = stack.enter_context(Agent(folder, url, images=images, name="to-folder"))
        shown = []

        def command(*args, which=agent):
            done = which.command(*args, check=False)
            shown.append(done.stdout + done.stderr)
            return done

        def cast(change=None, **args):
            """The recorded cast with our token, in a file."""
            with open(CAST) as file:
                message = json.load(file)
            message["_context_auth_token"] = SECRETS["cast-token"]
            message["_unique_id"] = uuid.uuid4().hex
            message["args"].update(args)
            message["args"]["instance"]["nova_object.data"]["uuid"] = guest.uuid
            if change:
                change(message)
            path = os.path.join(folder.make("casts"), f"{uuid.uuid4()}.json")
            with open(path, "w") as file:
                json.dump(message, file)
            return path, message

        def publish(body, which=agent):
            with kombu.Connection(broker.url.replace("rabbit:", "amqp:")) as connection:
                connection.Producer().publish(
                    body, exchange="nova", routing_key=f"compute.{which.host}",
                    content_type="application/json", content_encoding="utf-8")

        def snapshot(*more):
            done = command("send", "snapshot_instance", "--file", cast()[0], "--watch", "--timeout",
                           "60", *more)
            return done.stdout.split("\n")[0], done.returncode

        def outside(which):
            """All that others see of a process and its children."""
            process = psutil.Process(which.process.pid)
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
                    yield "\0".join(one.cmdline() + [f"{k}={v}" for k, v in one.environ().items()])

        def test_secrets_in_use():
            assert len(found_below(os.path.dirname(agent.conf))) > 0, "the search finds nothing at all"
            image, status = snapshot()
            assert status == 0, agent.text()[-3000:]
            assert same_content(glance.file(image), "qcow2", guest.disk, "qcow2")
            # While it is under way, by each kind of child.
            seen = set()
            for runs in (False, True):
                if runs:
                    guest.start()
                path = cast()[0]
                command("send", "snapshot_instance", "--file", path)
                end = time.monotonic() + 20
                while len(agent.text().split("is active: ")) < 3 + runs:
                    for text in outside(agent):
                        assert not found_in(text), text
                        seen.add(text.split("\0")[0])
                    assert time.monotonic() < end, agent.text()[-3000:]
                    time.sleep(0.02)
            assert any("qemu-nbd" in one for one in seen) and any("novasnapd" in one for one in seen)

        def test_secrets_in_failures():
            # Glance and Keystone say what they were sent.
            faulty.faults.append("echo")
            _image, status = snapshot()
            assert status == 1 and "X-Auth-Token: ***" in agent.text(), agent.text()[-3000:]
            assert "X-Service-Token: ***" in agent.text()
            keystone.refuses = True
            fresh = Agent(folder, url, faulty.url, name="fresh", retries=0, **keys)
            with fresh:
                done = command("send", "snapshot_instance", "--file", cast()[0], "--image",
                               str(uuid.uuid4()), "--watch", "--timeout", "60", which=fresh)
                assert done.returncode == 1 and "this was refused" in fresh.text(), fresh.text()
                assert found_below(fresh.state, fresh.folder + "/run") == []
                assert not found_in(fresh.text()), fresh.text()
                assert "FAIL" in command("check", which=fresh).stdout
            keystone.refuses = False
            wrong = Agent(folder, url.replace(SECRETS["rabbit"], SECRETS["wrong-rabbit"]), glance.url,
                          name="wrong")
            assert "cannot log in" in command("check", which=wrong).stdout
            # A dollar sign refers to another key.
            with open(wrong.conf, "a") as file:
                file.write(f"[keystone_authtoken]\npassword = a${SECRETS['own-password'][:6]}\n")
            done = command("check", which=wrong)
            assert "dollar" in done.stdout and SECRETS["own-password"][:6] not in done.stdout, done

        def test_secrets_in_what_is_rejected():
            def text(method="snapshot_instance", **args):
                message = cast(image_id="no-uuid", **args)[1]
                message["method"] = method
                return json.dumps(message)
            publish(text())
            publish(json.dumps({"oslo.version": "2.0", "oslo.message": text()}))
            publish(text()[:-5])
            publish(json.dumps({"oslo.version": "2.0", "oslo.message": text()[:-9]}))
            publish(text(new_pass=SECRETS["admin-pass"]))
            publish(text(new_pass=SECRETS["admin-pass"])[:-5])
            publish(text("set_admin_password", new_pass=SECRETS["admin-pass"]))
            rejected = os.path.join(agent.state, "rejected")
            tap.wait_for("files of rejected messages", lambda: os.path.isdir(rejected) and
                         len(os.listdir(rejected)) >= 6, 20)
            tap.wait_for("foreign cast", lambda: "set_admin_password" in agent.text(), 20)
            for name in os.listdir(rejected):
                assert os.stat(os.path.join(rejected, name)).st_mode & 0o777 == 0o600
                command("decode", os.path.join(rejected, name))

        def test_secrets_in_what_is_shown():
            for args in (["jobs"], ["jobs", "--all"], ["show", guest.uuid],
                         ["show", "--message", guest.uuid], ["decode", cast()[0]], ["check"],
                         ["cancel", guest.uuid], ["--help"], ["watch", "--help"]):
                command(*args)
            assert any("_context_auth_token" in text for text in shown)
            assert [found_in(text) for text in shown if found_in(text)] == []

        def test_secrets_in_notifications():
            heard = 0
            with kombu.Connection(broker.url.replace("rabbit:", "amqp:")) as connection:
                for queue in ("notifications.info", "notifications.error",
                              "versioned_notifications.info", "versioned_notifications.error"):
                    simple = connection.SimpleQueue(kombu.Queue(queue, durable=False), no_ack=True)
                    with contextlib.suppress(simple.Empty):
                        while True:
                            body = simple.get(timeout=1).body
                            assert not found_in(body if isinstance(body, (bytes, str))
                                                else json.dumps(body)), body
                            heard += 1
            assert heard > 4, heard

        def test_secrets_in_files():
            for which in (agent, to_folder):
                assert not found_in(which.text())
                assert found_below(which.state, which.snapshots, which.folder + "/run") == []
                for name in ("journal", "rejected"):
                    path = os.path.join(which.state, name)
                    assert not os.path.exists(path) or os.stat(path).st_mode & 0o777 == 0o700, path
            assert os.path.exists(os.path.join(agent.state, "journal", "journal.db"))

        def test_no_core_file():
            cwd = folder.make("cwd", 0o777)
            pid = os.fork()
            if pid == 0:
                os.chdir(cwd)
                resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
                out = os.open("out", os.O_WRONLY | os.O_CREAT, 0o600)
                os.dup2(out, 1)
                os.dup2(out, 2)
                os.execv(os.path.join(BUILD, "novasnapd"), ["novasnapd", *dying.files])
            tap.wait_for("readiness", lambda: os.listdir(cwd) and " ready after " in
                         open(os.path.join(cwd, "out")).read(), 30)
            assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
            os.kill(pid, signal.SIGABRT)
            status = os.waitpid(pid, 0)[1]
            assert os.WIFSIGNALED(status) and not os.WCOREDUMP(status), status
            assert os.listdir(cwd) == ["out"]

        dying = Agent(folder, url, glance.url, name="dying")

        def test_image_ids_are_no_paths():
            before = tree(folder.path)
            for bad in BAD_IDS:
                for which in (agent, to_folder):
                    offset = len(which.text())
                    publish(json.dumps(cast(image_id=bad)[1]), which)
                    tap.wait_for("refusal", lambda o=offset, w=which: "image_id is no uuid"
                                 in w.text()[o:], 20, 0.05)
                for args in (["send", "snapshot_instance", "--file", cast()[0], "--image", bad],
                             ["replay", "--image", bad, cast()[0]],
                             ["replay", "--local", "--image", bad, cast()[0]],
                             ["cancel", bad], ["show", bad]):
                    done = command(*args, which=to_folder)
                    assert done.returncode in (1, 2), (args, done)
                done = command("replay", "--local", cast(image_id=bad)[0], which=to_folder)
                assert done.returncode in (1, 2), done

            def odd_instance(message):
                message["args"]["instance"]["nova_object.data"]["uuid"] = "../../x"
            publish(json.dumps(cast(odd_instance, image_id=str(uuid.uuid4()))[1]), to_folder)
            time.sleep(0.5)
            new = {path for path in tree(folder.path) - before if "/casts/" not in path and
                   "/rejected/" not in path and "/journal/" not in path}
            assert not new and os.listdir(images) == [], new

        def test_names_are_no_paths():
            image = str(uuid.uuid4())

            def odd_name(message):
                data = message["args"]["instance"]["nova_object.data"]
                data["display_name"] = "../../x\n/etc/passwd\x1b[2J"
                data["name"] = data["hostname"] = "../x"
            done = command("send", "snapshot_instance", "--file", cast(odd_name)[0], "--image", image,
                           "--watch", "--timeout", "60", which=to_folder)
            assert done.returncode == 0, done
            assert sorted(os.listdir(images)) == [image, image + ".json"]
            with open(os.path.join(images, image + ".json")) as file:
                assert "../../x\n/etc/passwd" in json.load(file)["name"]
            done = command("snapshot", guest.name, "--name", "../../x\n", which=to_folder)
            assert done.returncode == 0 and len(os.listdir(images)) == 4, done

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [agent.log])


if __name__ == "__main__":
    sys.exit(main())
