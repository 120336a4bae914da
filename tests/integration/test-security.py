#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""No secret gets out, and no name in a message becomes a path. The tests make snapshots and failures with tokens and
passwords that can be recognized, and then search for them in everything that is written, shown or visible from outside.
RabbitMQ and libvirt are real. Glance is real and stands behind a stand-in that repeats in its answers what it was sent,
as the stand-in for Keystone does."""
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import uuid

import kombu
import psutil
from oslo_utils import strutils

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from images import MIB, same_content  # noqa: E402
from paths import BUILD, CAST  # noqa: E402
from standin_glance import GlanceStandIn  # noqa: E402
from standin_keystone import KeystoneStandIn  # noqa: E402

SECRETS = {name: f"sEcReT-{name}-{uuid.uuid4().hex}" for name in (
    "rabbit", "wrong-rabbit", "own-password", "service-password", "own-token", "service-token",
    "cast-token", "admin-pass", "user-data", "chap", "in-python", "in-xml", "in-list")}
BAD_IDS = ["../../x", "../images-of-others", "/etc/passwd", "a/b", "..", "", "no-uuid", "x\ny",
           f"{uuid.uuid4()}\n", f"{uuid.uuid4()}/../x", f" {uuid.uuid4()}", str(uuid.uuid4())[:-1]]


def found_in(text):
    """Returns the names of the secrets that a text contains."""
    data = text if isinstance(text, bytes) else text.encode()
    return [name for name, secret in SECRETS.items() if secret.encode() in data]


def files_below(*folders):
    return {os.path.join(where, name) for folder in folders for where, _, names in os.walk(folder) for name in names}


def found_below(*folders):
    """Returns (file, secret) for each secret that is in a file of these folders."""
    found = []
    for path in files_below(*folders):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            found += [(path, name) for name in found_in(file.read())]
    return found


def seen_from_outside(agent):
    """Returns everything that other processes can see of a novasnapd and its children."""
    process = psutil.Process(agent.process.pid)
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            yield "\0".join(one.cmdline() + [f"{k}={v}" for k, v in one.environ().items()])


class Secrets(Environment):
    services = ("broker", "glance", "libvirt")
    own_broker = True

    def set_up(self):
        self.guest = self.make_guest(size_mib=32, data_mib=16)
        self.wait_services()
        self.broker.ctl("add_user", "novasnap", SECRETS["rabbit"])
        self.broker.ctl("set_permissions", "novasnap", ".*", ".*", ".*")
        self.url = f"rabbit://novasnap:{SECRETS['rabbit']}@127.0.0.1:{self.broker.port}/"
        self.front = self.enter(GlanceStandIn(self.glance))
        self.keystone = self.enter(KeystoneStandIn(
            ours=(SECRETS["own-password"], SECRETS["own-token"]),
            service=(SECRETS["service-password"], SECRETS["service-token"])))

    def before_test(self):
        self.front.reset()
        self.keystone.refuses = False
        self.guest.reset("shut off")

    def agent(self, retries=1, **more):
        """An agent with secrets of each kind in its configuration. At the end of the test none of them may have got
        out."""
        keys = {"keystone_authtoken": self.keystone.section("ours"),
                "service_user": self.keystone.section("service", send_service_user_token="true")}
        agent = self.make_agent(sections={"broker_url": self.url, "glance_url": self.front.url, "retries": retries,
                                          **keys, **more}, upload_bytes_per_second=str(8 * MIB))
        agent.printed = []
        self.callback(check_nothing_got_out, agent)
        return agent

    def folder_agent(self):
        """An agent whose images are in a folder of its own."""
        images = self.folder.make(f"images-{uuid.uuid4().hex[:8]}")
        return self.agent(glance_url=None, images=images)

    def cast(self, change=None, **args):
        """Makes the recorded cast with our token for our guest. Returns its file and the message."""
        with open(CAST) as file:
            message = json.load(file)
        message["_context_auth_token"] = SECRETS["cast-token"]
        message["_unique_id"] = uuid.uuid4().hex
        message["args"].update(args)
        data = message["args"]["instance"]["nova_object.data"]
        data["uuid"] = self.guest.uuid
        # As nova stores what a volume driver and a user gave it.
        data["user_data"] = SECRETS["user-data"]
        data["system_metadata"]["connection_info"] = json.dumps({"data": {"auth_password": SECRETS["chap"]}})
        data["system_metadata"]["python"] = str({"sys_pswd": SECRETS["in-python"]})
        data["system_metadata"]["xml"] = f"<secret><passphrase>{SECRETS['in-xml']}</passphrase></secret>"
        message["args"]["meta"] = [{"key": "secret", "value": SECRETS["in-list"]}]
        if change:
            change(message)
        path = os.path.join(self.folder.make("casts"), f"{uuid.uuid4()}.json")
        with open(path, "w") as file:
            json.dump(message, file)
        return path, message

    def publish(self, body, agent):
        self.broker.publish(body, f"compute.{agent.host}")

    def snapshot(self, agent, *more):
        """Returns the image and the exit status."""
        done = run(agent, "send", "snapshot_instance", "--file", self.cast()[0], "--watch", "--timeout", "60", *more)
        return done.stdout.split("\n")[0], done.returncode


def run(agent, *args):
    """Runs a command of novasnap, whose output is searched at the end of the test."""
    done = agent.command(*args, check=False)
    agent.printed.append(done.stdout + done.stderr)
    return done


def check_nothing_got_out(agent):
    assert not found_in(agent.text()), agent.text()
    assert found_below(agent.state, agent.snapshots, agent.run_dir) == []
    assert [found_in(text) for text in agent.printed if found_in(text)] == []
    for name in ("journal", "rejected"):
        path = os.path.join(agent.state, name)
        assert not os.path.exists(path) or os.stat(path).st_mode & 0o777 == 0o700, path


def test_secrets_in_use(env):
    agent = env.enter(env.agent())
    assert len(found_below(os.path.dirname(agent.conf))) > 0, "the search finds nothing at all"
    image, status = env.snapshot(agent)
    assert status == 0, agent.text()[-3000:]
    assert same_content(env.glance.file(image), "qcow2", env.guest.disk, "qcow2")
    # The snapshot is under way, with each kind of child process.
    seen = set()
    for runs in (False, True):
        if runs:
            env.guest.start()
        run(agent, "send", "snapshot_instance", "--file", env.cast()[0])
        end = time.monotonic() + 20
        while len(agent.text().split("is active: ")) < 3 + runs:
            for text in seen_from_outside(agent):
                assert not found_in(text), text
                seen.add(text.split("\0")[0])
            assert time.monotonic() < end, agent.text()[-3000:]
            time.sleep(0.02)
    assert any("qemu-nbd" in one for one in seen) and any("novasnapd" in one for one in seen)
    assert os.path.exists(os.path.join(agent.state, "journal", "journal.db"))


def test_secrets_in_refusals_of_glance(env):
    agent = env.enter(env.agent())
    env.front.reset("echo")
    _image, status = env.snapshot(agent)
    assert status == 1 and "X-Auth-Token: ***" in agent.text(), agent.text()[-3000:]
    assert "X-Service-Token: ***" in agent.text()


def test_secrets_in_refusals_of_keystone(env):
    env.keystone.refuses = True
    agent = env.enter(env.agent(retries=0))
    _image, status = env.snapshot(agent, "--image", str(uuid.uuid4()))
    assert status == 1 and "this was refused" in agent.text(), agent.text()
    assert "FAIL" in run(agent, "check").stdout


def test_secrets_in_a_configuration_that_is_wrong(env):
    agent = env.agent(broker_url=env.url.replace(SECRETS["rabbit"], SECRETS["wrong-rabbit"]))
    assert "cannot log in" in run(agent, "check").stdout
    # A dollar sign refers to another key.
    agent.configure("keystone_authtoken", password=f"a${SECRETS['own-password'][:6]}")
    done = run(agent, "check")
    assert "dollar" in done.stdout and SECRETS["own-password"][:6] not in done.stdout, done


def test_secrets_in_what_is_rejected(env):
    agent = env.enter(env.agent())

    def text(method="snapshot_instance", **args):
        message = env.cast(image_id="no-uuid", **args)[1]
        message["method"] = method
        return json.dumps(message)
    for body in (text(), json.dumps({"oslo.version": "2.0", "oslo.message": text()}), text()[:-5],
                 json.dumps({"oslo.version": "2.0", "oslo.message": text()[:-9]}),
                 text(new_pass=SECRETS["admin-pass"]), text(new_pass=SECRETS["admin-pass"])[:-5],
                 text("set_admin_password", new_pass=SECRETS["admin-pass"])):
        env.publish(body, agent)
    rejected = os.path.join(agent.state, "rejected")
    tap.wait_for("files of rejected messages", lambda: os.path.isdir(rejected) and len(os.listdir(rejected)) >= 6, 20)
    tap.wait_for("foreign cast", lambda: "set_admin_password" in agent.text(), 20)
    for name in os.listdir(rejected):
        assert os.stat(os.path.join(rejected, name)).st_mode & 0o777 == 0o600
        run(agent, "decode", os.path.join(rejected, name))


def test_secrets_in_what_is_shown(env):
    agent = env.enter(env.agent())
    assert env.snapshot(agent)[1] == 0
    for args in (["jobs"], ["jobs", "--all"], ["show", env.guest.uuid], ["show", "--message", env.guest.uuid],
                 ["decode", env.cast()[0]], ["check"], ["cancel", env.guest.uuid], ["--help"], ["watch", "--help"]):
        run(agent, *args)
    assert any("_context_auth_token" in text for text in agent.printed)


def nested(key, secret):
    """Texts in which a message holds a secret under a name; each is the value of some member."""
    inner = {"data": {key: secret, "keep": 1}}
    yield inner
    yield json.dumps(inner)
    yield json.dumps({"again": json.dumps(inner)})
    yield str(inner)
    yield json.dumps(inner)[:-len(', "keep": 1}}') - 1]  # cut off in the secret
    yield f"<{key}>{secret}</{key}>"
    yield f"mount --{key} {secret} -v"
    yield f"{key}={secret}&x"


def test_whatever_oslo_masks_is_hidden(env):
    """By the list of the oslo.utils that is installed, in the forms that its mask_password knows."""
    agent = env.agent()
    keys = sorted({*strutils._SANITIZE_KEYS, "adminPass", "X-Auth-Token", "CHAPPASSWORD", "connection_password"})
    assert len(keys) > 30, keys
    lines = []
    for key in keys:
        for number, value in enumerate(nested(key, SECRETS["chap"])):
            text = value if isinstance(value, str) else json.dumps(value)
            # What oslo does not find, it need not be.
            if number == 4 or SECRETS["chap"] not in strutils.mask_password(text):
                lines.append(json.dumps({"method": "m", "args": {"keep": key, "value": value}}))
    assert len(lines) > 6 * len(keys), len(lines)
    path = os.path.join(env.folder.make("nested"), "messages.jsonl")
    with open(path, "w") as file:
        file.write("\n".join(lines))
    done = run(agent, "decode", path)
    assert done.returncode == 0 and done.stdout.count('"keep":') >= len(lines), done
    assert not found_in(done.stdout), [line for line in lines if found_in(agent.command(
        "decode", "-", text=line + "\n").stdout)][:5]


def test_secrets_in_a_recording(env):
    agent = env.enter(env.agent())
    path = os.path.join(env.folder.make("recorded"), "casts.jsonl")
    with subprocess.Popen([os.path.join(BUILD, "novasnap"), *agent.files, "record", "--count", "1", path],
                          stderr=subprocess.PIPE, text=True) as recorder:
        assert "recording" in recorder.stderr.read(9)
        tap.wait_for("listener", lambda: "channel 3" in agent.text() or os.path.exists(path))
        while recorder.poll() is None:
            env.publish(env.cast(image_id=str(uuid.uuid4()))[1], agent)
            time.sleep(1)
    with open(path) as file:
        text = file.read()
    assert "snapshot_instance" in text and not found_in(text), text


def test_secrets_in_notifications(env):
    agent = env.enter(env.agent())
    assert env.snapshot(agent)[1] == 0
    env.front.reset("echo")
    assert env.snapshot(agent)[1] == 1
    heard = 0
    with env.broker.connection() as connection:
        for queue in ("notifications.info", "notifications.error",
                      "versioned_notifications.info", "versioned_notifications.error"):
            simple = connection.SimpleQueue(kombu.Queue(queue, durable=False), no_ack=True)
            with contextlib.suppress(simple.Empty):
                while True:
                    body = simple.get(timeout=1).body
                    found = found_in(body if isinstance(body, (bytes, str)) else json.dumps(body))
                    # A failure's notification has the arguments of the cast, as nova's has.
                    assert set(found) <= {"user-data", "chap", "in-python", "in-xml", "in-list"}, body
                    heard += 1
    assert heard > 4, heard


def test_there_is_no_core_file(env):
    agent = env.agent()
    cwd = env.folder.make("cwd", 0o777)
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(cwd)
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
            out = os.open("out", os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.execv(os.path.join(BUILD, "novasnapd"), ["novasnapd", *agent.files])
        finally:
            os._exit(127)
    tap.wait_for("readiness", lambda: os.listdir(cwd) and " ready after " in
                 open(os.path.join(cwd, "out")).read(), 30)
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    os.kill(pid, signal.SIGABRT)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) and not os.WCOREDUMP(status), status
    assert os.listdir(cwd) == ["out"]


def test_image_ids_are_no_paths(env):
    agent, to_folder = env.enter(env.agent()), env.enter(env.folder_agent())
    before = files_below(env.folder.path)
    for bad in BAD_IDS:
        for which in (agent, to_folder):
            offset = len(which.text())
            env.publish(env.cast(image_id=bad)[1], which)
            tap.wait_for("refusal", lambda: "image_id is not a UUID" in which.text()[offset:], 20)
        for args in (["send", "snapshot_instance", "--file", env.cast()[0], "--image", bad],
                     ["replay", "--image", bad, env.cast()[0]], ["replay", "--local", "--image", bad, env.cast()[0]],
                     ["replay", "--local", env.cast(image_id=bad)[0]], ["cancel", bad], ["show", bad]):
            done = run(to_folder, *args)
            assert done.returncode in (1, 2), (args, done)

    def odd_instance(message):
        message["args"]["instance"]["nova_object.data"]["uuid"] = "../../x"
    env.publish(env.cast(odd_instance, image_id=str(uuid.uuid4()))[1], to_folder)
    time.sleep(0.5)
    new = {path for path in files_below(env.folder.path) - before
           if not any(place in path for place in ("/casts/", "/rejected/", "/journal/"))}
    assert not new and os.listdir(to_folder.images) == [], new


def test_names_are_no_paths(env):
    agent, image = env.enter(env.folder_agent()), str(uuid.uuid4())

    def odd_name(message):
        data = message["args"]["instance"]["nova_object.data"]
        data["display_name"] = "../../x\n/etc/passwd\x1b[2J"
        data["name"] = data["hostname"] = "../x"
    done = run(agent, "send", "snapshot_instance", "--file", env.cast(odd_name)[0], "--image", image,
               "--watch", "--timeout", "60")
    assert done.returncode == 0, done
    assert sorted(os.listdir(agent.images)) == [image, image + ".json"]
    with open(os.path.join(agent.images, image + ".json")) as file:
        assert "../../x\n/etc/passwd" in json.load(file)["name"]
    done = run(agent, "snapshot", env.guest.name, "--name", "../../x\n")
    assert done.returncode == 0 and len(os.listdir(agent.images)) == 4, done


if __name__ == "__main__":
    tap.main(Secrets)
