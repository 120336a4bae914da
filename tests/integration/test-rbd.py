#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images in Ceph: each function of image/rbd.h, with a real Ceph and the real novasnap-rbd. tests/tools/rbd-client.c
calls them. Faults are those of Ceph (a full pool, an OSD that hangs, a manager that is away, a wrong key) and killed
processes."""
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
import document_commands  # noqa: E402
from ceph import NOVA_CAPS, READ_ONLY_CAPS, has_tasks  # noqa: E402
from environment import Environment  # noqa: E402
from paths import BUILD  # noqa: E402
from process import processes  # noqa: E402

MIB = 1 << 20
TIMEOUT = 20  # of an operation without progress


class Client:
    """rbd-client, which has novasnap-rbd as its child."""

    def __init__(self, env, conf=None, user="nova", timeout=TIMEOUT, program=None):
        argv = [os.path.join(BUILD, "tests/tools/rbd-client"), program or os.path.join(BUILD, "novasnap-rbd"),
                env.users[user].conf if conf is None else conf, user, str(timeout)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.progress, self.buffer = [], b""

    def send(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()

    def line(self, seconds=100):
        end = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            assert select.select([self.process.stdout], [], [], max(end - time.monotonic(), 0))[0], "no answer"
            got = os.read(self.process.stdout.fileno(), 65536)
            assert got, "rbd-client ended"
            self.buffer += got
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def answer(self, seconds=100):
        self.progress.clear()
        while "done" not in (line := self.line(seconds)):
            self.progress.append(line["progress"])
        return line

    def ask(self, *words):
        self.send(*words)
        return self.answer()

    def do(self, *words):
        answer = self.ask(*words)
        assert "error" not in answer, answer
        return answer

    def fails(self, code, *words, says=""):
        answer = self.ask(*words)
        assert answer.get("error") == code and says in answer["message"], (code, says, answer)
        return answer["message"]

    def child(self):
        """Returns the process id of novasnap-rbd."""
        return next(each.pid for each in processes() if each.parent == self.process.pid and each.state != "Z")

    def has_child(self):
        return any(each.parent == self.process.pid for each in processes())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


class Rbd(Environment):
    services = ("ceph",)

    def set_up(self):
        self.wait_services()
        self.users = {"nova": self.ceph.user("nova", NOVA_CAPS), "reader": self.ceph.user("reader", READ_ONLY_CAPS),
                      "admin": self.ceph.admin}
        self.ceph.create("vms", "disk", 64)
        self.ceph.write_image("vms", "disk", os.urandom(8 * MIB), 4 * MIB)
        self.number = 0

    def before_test(self):
        self.number += 1
        self.snap = f"s{self.number}"
        self.copy = f"copy{self.number}"

    def client(self, opened=True, **more):
        client = self.enter(Client(self, **more))
        if opened:
            client.do("open")
        return client

    def big_clone(self, client, megabytes=1024):
        """Makes a clone whose flattening takes some seconds."""
        if "big" not in self.ceph.images("vms"):
            self.ceph.create("vms", "big", megabytes)
            self.ceph.rbd("bench", "--io-type", "write", "--io-size", "4M", "--io-total", f"{megabytes}M", "vms/big")
            client.do("snap_create", "vms", "big", "s")
        client.do("clone", "vms", "big", "s", "images", self.copy)


def test_direct_snapshot_and_its_undoing(env):
    client = env.client()
    assert client.do("fsid")["fsid"] == env.ceph.fsid
    assert client.do("info", "vms", "disk")["size"] == 64 * MIB
    client.do("snap_create", "vms", "disk", env.snap)
    client.fails("EXISTS", "snap_create", "vms", "disk", env.snap)
    client.do("clone", "vms", "disk", env.snap, "images", env.copy)
    assert env.ceph.snapshots("vms", "disk")[env.snap], "clone format 1 needs a protected snapshot"
    client.fails("EXISTS", "clone", "vms", "disk", env.snap, "images", env.copy)
    assert client.do("info", "images", env.copy)["parent"] == f"vms/disk@{env.snap}"
    assert set(env.ceph.info("images", env.copy)["features"]) == set(env.ceph.info("vms", "disk")["features"])
    client.fails("BUSY", "snap_remove", "vms", "disk", env.snap)
    client.do("flatten", "images", env.copy, "client")
    client.do("flatten", "images", env.copy, "client")
    assert "parent" not in client.do("info", "images", env.copy)
    for _ in range(2):
        client.do("snap_remove", "vms", "disk", env.snap)
    client.do("snap_create", "images", env.copy, "snap")
    for _ in range(2):
        client.do("snap_protect", "images", env.copy, "snap")
    assert env.ceph.hash_image("images", f"{env.copy}@snap") == env.ceph.hash_image("vms", "disk")
    for _ in range(2):
        client.do("remove_copy", "images", env.copy)
    assert env.copy not in env.ceph.images("images") and env.snap not in env.ceph.snapshots("vms", "disk")
    client.do("close")
    assert not client.has_child()


def is_refused_by_manager(env):
    """Checks what is said where the manager has no such task."""
    client = env.client()
    env.big_clone(client)
    client.fails("UNSUPPORTED", "flatten", "images", env.copy, "mgr", says="rbd_support")
    client.do("remove_copy", "images", env.copy)


def test_flatten_by_manager(env):
    if not has_tasks():
        is_refused_by_manager(env)
        return
    client = env.client()
    client.do("snap_create", "vms", "disk", env.snap)
    client.do("clone", "vms", "disk", env.snap, "images", env.copy)
    for _ in range(2):
        client.do("flatten", "images", env.copy, "mgr")
    assert "parent" not in client.do("info", "images", env.copy) and not env.ceph.tasks()
    assert env.ceph.hash_image("images", env.copy) == env.ceph.hash_image("vms", "disk")
    client.do("remove_copy", "images", env.copy)
    client.do("snap_remove", "vms", "disk", env.snap)


def test_cancelled_flatten_leaves_no_task_and_no_watcher(env):
    for by in ("mgr", "client") if has_tasks() else ("client",):
        client = env.client()
        env.big_clone(client)
        client.do("cancel", 800)
        begin = time.monotonic()
        client.fails("CANCELLED", "flatten", "images", env.copy, by)
        assert time.monotonic() - begin < 8
        assert not client.has_child()
        client.fails("DISCONNECTED", "remove_copy", "images", env.copy)
        tap.wait_for("end of the task", lambda: not env.ceph.tasks(), 30)
        assert env.ceph.info("images", env.copy).get("parent"), "it was flat already: the image is too small"
        env.client().do("remove_copy", "images", env.copy)


def interrupt_removal(env):
    """Kills removals of a snapshot until one has left it in the trash of its image. Returns the image."""
    for number in range(60):
        image = f"interrupted{number}"
        env.ceph.create("vms", image, 8)
        env.ceph.rbd("snap", "create", f"vms/{image}@{env.snap}")
        removal = subprocess.Popen(["rbd", "-c", env.users["nova"].conf, "--id", "nova", "snap", "rm",
                                    f"vms/{image}@{env.snap}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.03 + number % 20 * 0.005)
        removal.kill()
        removal.wait(30)
        if set(env.ceph.snapshots("vms", image)) - {env.snap}:
            print(f"# removal {number + 1} was interrupted")
            return image
    raise AssertionError("no removal was interrupted in time")


def test_a_removal_that_was_interrupted(env):
    image = interrupt_removal(env)
    env.client().do("snap_remove", "vms", image, env.snap)
    assert env.ceph.snapshots("vms", image) == {}


def test_only_a_copy_is_removed(env):
    client, own, other = env.client(), f"novasnap-{env.snap}", f"images/{env.copy}"

    def try_to_remove(is_ours):
        if is_ours:
            client.do("remove_copy", "images", env.copy)
        else:
            client.fails("EXISTS", "remove_copy", "images", env.copy)
            env.ceph.rbd("rm", "--no-progress", other)
    env.ceph.create("images", env.copy, 8)
    env.ceph.write_image("images", env.copy, b"x" * 4096, 0)
    client.fails("EXISTS", "remove_copy", "images", env.copy)
    env.ceph.rbd("snap", "create", "--no-progress", f"{other}@snap")
    client.fails("EXISTS", "remove_copy", "images", env.copy)
    assert env.ceph.snapshots("images", env.copy)
    env.ceph.rbd("snap", "rm", "--no-progress", f"{other}@snap")
    env.ceph.rbd("rm", "--no-progress", other)
    # A clone that was interrupted before it had its parent, and one before it had its mark.
    env.ceph.create("images", env.copy, 8)
    client.do("remove_copy", "images", env.copy)
    for snap, is_ours in ((own, True), ("theirs", False)):
        client.do("snap_create", "vms", "disk", snap)
        env.ceph.rbd("snap", "protect", f"vms/disk@{snap}")
        env.ceph.rbd("clone", f"vms/disk@{snap}", other)
        try_to_remove(is_ours)
        client.do("snap_remove", "vms", "disk", snap)
    # A clone of format 2 without its mark, whose snapshot was removed, is still known: also in the trash.
    for snap, is_ours in ((own, True), ("theirs", False)):
        client.do("snap_create", "vms", "disk", snap)
        env.ceph.rbd("clone", "--rbd-default-clone-format", "2", f"vms/disk@{snap}", other)
        client.do("snap_remove", "vms", "disk", snap)
        assert snap not in env.ceph.snapshots("vms", "disk"), "it is not in the trash"
        try_to_remove(is_ours)
    # The mark is not inherited.
    client.do("snap_create", "vms", "disk", own)
    client.do("clone", "vms", "disk", own, "images", env.copy)
    client.do("snap_create", "images", env.copy, "s")
    client.do("clone", "images", env.copy, "s", "images", "theirs")
    env.ceph.rbd("flatten", "--no-progress", "images/theirs")
    env.ceph.rbd("mv", "images/theirs", "images/renamed")
    client.fails("EXISTS", "remove_copy", "images", "renamed")
    env.ceph.rbd("rm", "--no-progress", "images/renamed")
    client.do("remove_copy", "images", env.copy)
    client.do("snap_remove", "vms", "disk", own)


def test_remove_ends_the_managers_task(env):
    if not has_tasks():
        is_refused_by_manager(env)
        return
    client, other = env.client(), env.client()
    env.big_clone(client)
    client.send("flatten", "images", env.copy, "mgr")
    tap.wait_for("task", env.ceph.tasks, 30)
    other.do("remove_copy", "images", env.copy)
    answer = client.answer()
    assert answer["error"] in ("NOT_FOUND", "FAILED"), answer
    assert not env.ceph.tasks() and env.copy not in env.ceph.images("images")


def test_manager_is_away(env):
    client = env.client(timeout=5)
    env.big_clone(client)
    env.ceph.stop_manager()
    try:
        client.fails("TIMEOUT", "flatten", "images", env.copy, "mgr", says="5 s")
    finally:
        env.ceph.start_manager()
    env.client().do("remove_copy", "images", env.copy)


def test_what_does_not_exist(env):
    client = env.client()
    client.fails("NOT_FOUND", "info", "nopool", "disk", says="the pool nopool")
    client.fails("NOT_FOUND", "info", "vms", "nothing", says="the image vms/nothing")
    client.fails("NOT_FOUND", "info", "vms", "disk", "nosnap", says="the snapshot vms/disk@nosnap")
    client.fails("NOT_FOUND", "snap_create", "vms", "nothing", "s")
    client.fails("NOT_FOUND", "clone", "vms", "disk", "nosnap", "images", env.copy, says="vms/disk@nosnap")
    client.fails("NOT_FOUND", "flatten", "images", "nothing", "client")
    client.fails("NOT_FOUND", "flatten", "images", "nothing", "mgr")
    client.do("snap_create", "vms", "disk", env.snap)
    client.fails("NOT_FOUND", "clone", "vms", "disk", env.snap, "nopool", "x", says="nopool")
    for words in (("nopool", "x", "s"), ("vms", "x", "s"), ("vms", "disk", "nosnap"), ("vms", "disk", env.snap)):
        client.do("snap_remove", *words)
    client.do("remove_copy", "nopool", "x")
    client.do("remove_copy", "vms", "x")


def test_user_without_rights(env):
    client = env.client(user="reader")
    client.do("snap_create", "vms", "disk", env.snap)
    message = client.fails("DENIED", "clone", "vms", "disk", env.snap, "images", env.copy)
    assert "client.reader" in message and "profile rbd" in message and "images" in message, message
    assert env.copy not in env.ceph.images("images")
    env.client().do("clone", "vms", "disk", env.snap, "images", env.copy)
    client.fails("DENIED", "flatten", "images", env.copy, "mgr", says="mgr")
    env.client().do("remove_copy", "images", env.copy)
    client.do("snap_remove", "vms", "disk", env.snap)


def test_the_commands_of_the_page(env):
    """With these rights nova's user has all that is tested here; what is left is found and removed."""
    texts = [text for place, text, _ in document_commands.of_pages()
             if place.startswith("conf/docs/ceph.md") and document_commands.program_of(text) in ("ceph", "rbd")]
    caps, find, remove = sorted(texts)

    def run(text):
        print(f"# $ {text}", flush=True)
        return subprocess.run(["sh", "-c", text], env={**os.environ, "CEPH_CONF": env.ceph.conf}, check=True, timeout=120,
                              capture_output=True, text=True).stdout
    env.ceph.set_caps("nova", READ_ONLY_CAPS)
    client = env.client()
    client.do("snap_create", "vms", "disk", env.snap)
    client.fails("DENIED", "clone", "vms", "disk", env.snap, "images", env.copy)
    run(caps)
    client = env.client()
    client.do("clone", "vms", "disk", env.snap, "images", env.copy)
    assert env.snap in run(find)
    env.ceph.rbd("snap", "create", f"images/{env.copy}@snap")
    env.ceph.rbd("snap", "protect", f"images/{env.copy}@snap")
    run(remove.replace("ID", env.copy))
    assert env.copy not in env.ceph.images("images")
    client.do("snap_remove", "vms", "disk", env.snap)


def test_wrong_configuration(env):
    def fails(code, conf, says, user="nova"):
        env.client(opened=False, conf=conf, user=user, timeout=4).fails(code, "open", says=says)
    good = env.ceph.client_conf()
    fails("CONFIG", "/nonexistent/ceph.conf", "/nonexistent/ceph.conf")
    fails("CONFIG", env.ceph.write("garbage.conf", "}{\nnonsense\n"), "garbage.conf")
    keyring = os.path.join(env.ceph.folder, "nothing.keyring")
    fails("CONFIG", env.ceph.write("nokey.conf", f"{good}[client.nova]\nkeyring = {keyring}\n"), keyring)
    other = env.users["reader"].key
    wrong = env.ceph.write("wrong.keyring", f"[client.nova]\nkey = {other}\n", 0o600)
    fails("DENIED", env.ceph.write("wrong.conf", f"{good}[client.nova]\nkeyring = {wrong}\n"), "client.nova")
    with open(env.users["nova"].conf) as file:
        away = file.read().replace(str(env.ceph.mon_v2), "1").replace(str(env.ceph.mon_v1), "2")
    fails("TIMEOUT", env.ceph.write("away.conf", away), "mon host")
    program = os.path.join(env.ceph.folder, "novasnap-rbd")
    env.client(opened=False, program=program).fails("NO_PROGRAM", "open", says="install the package novasnap-rbd")


def test_full_pool(env):
    client = env.client()
    client.do("snap_create", "vms", "disk", env.snap)
    client.do("clone", "vms", "disk", env.snap, "images", env.copy)
    env.ceph.create("images", "filler", 16)
    env.ceph.write_image("images", "filler", os.urandom(8 * MIB))
    try:
        tap.wait_for("data of the pool", lambda: env.ceph.used("images") > MIB, 60)
        env.ceph.set_quota("images", MIB)
        for words in (("clone", "vms", "disk", env.snap, "images", "other"), ("flatten", "images", env.copy, "client"),
                      *([("flatten", "images", env.copy, "mgr")] if has_tasks() else [])):
            client.fails("FULL", *words, says="the pool images is full or over its quota")
        # What gives room works.
        client.do("remove_copy", "images", env.copy)
        client.do("snap_remove", "vms", "disk", env.snap)
        assert "other" not in env.ceph.images("images")
    finally:
        env.ceph.set_quota("images", 0)
        tap.wait_for("room", lambda: not env.ceph.rbd("rm", "--no-progress", "images/filler", check=False).returncode, 30)


def test_osd_hangs(env):
    client = env.client(timeout=4)
    env.ceph.pause_osd()
    try:
        begin = time.monotonic()
        client.fails("TIMEOUT", "snap_create", "vms", "disk", env.snap)
        assert time.monotonic() - begin < 15 and not client.has_child()
        other = env.client(timeout=60)
        other.do("cancel", 500)
        begin = time.monotonic()
        other.fails("CANCELLED", "info", "vms", "disk")
        assert time.monotonic() - begin < 2.5
    finally:
        env.ceph.resume_osd()
    env.client().do("snap_remove", "vms", "disk", env.snap)


def test_child_is_killed_or_hangs(env):
    client = env.client()
    env.big_clone(client)
    client.send("flatten", "images", env.copy, "client")
    client.line()
    os.kill(client.child(), signal.SIGKILL)
    answer = client.answer()
    assert answer["error"] == "DISCONNECTED" and "ended unexpectedly" in answer["message"], answer
    assert not client.has_child()
    # The cluster believes for 30 s that the dead client still has the image.
    env.client().do("remove_copy", "images", env.copy)
    hung = env.client(timeout=3)
    os.kill(hung.child(), signal.SIGSTOP)
    hung.fails("TIMEOUT", "info", "vms", "disk", says="3 s")
    assert not hung.has_child()


def test_parent_is_killed(env):
    client = env.client()
    env.big_clone(client)
    client.send("flatten", "images", env.copy, "client")
    client.line()
    child = client.child()
    client.process.kill()
    tap.wait_for("end of the child", lambda: not any(each.pid == child for each in processes()), 10)
    env.client().do("remove_copy", "images", env.copy)


def check_source(env, image, data=None):
    """Exports a snapshot by its source, and compares it with what rbd exports. Returns the bytes of its data."""
    client = env.client(opened=False)
    path = os.path.join(env.ceph.folder, "exported")
    size = client.do("source", "vms", image, "s")["size"]
    got = client.do("extents")["data"]
    client.do("export", path)
    with open(path, "rb") as file:
        exported = file.read()
    assert len(exported) == size and exported == env.ceph.read_image("vms", f"{image}@s"), image
    assert data is None or got == data, (image, got)
    client.do("close_source")
    assert not client.has_child()
    return got


def test_source_with_and_without_maps(env):
    for kind, options in (("fast", ()), ("plain", ("--image-feature", "layering"))):
        env.ceph.create("vms", kind, 64, *options)
        env.ceph.write_image("vms", kind, os.urandom(5 * MIB + 512), 10 * MIB - 512)
        env.ceph.write_image("vms", kind, os.urandom(MIB), 40 * MIB)
        env.ceph.discard_image("vms", kind, 40 * MIB, 4 * MIB)
        env.ceph.rbd("snap", "create", f"vms/{kind}@s")
        env.ceph.write_image("vms", kind, os.urandom(MIB), 50 * MIB)
        assert check_source(env, kind) <= 16 * MIB, "it reads more than the objects with data"
        env.ceph.rbd("snap", "protect", f"vms/{kind}@s")
        for child, more in (("fast", ()), ("plain", ("--image-feature", "layering"))):
            name = f"{kind}-{child}"
            env.ceph.rbd("clone", *more, f"vms/{kind}@s", f"vms/{name}")
            env.ceph.write_image("vms", name, os.urandom(4096), 12 * MIB)
            env.ceph.write_image("vms", name, os.urandom(MIB), 30 * MIB)
            env.ceph.discard_image("vms", name, 8 * MIB, 4 * MIB)
            env.ceph.rbd("snap", "create", f"vms/{name}@s")
            assert MIB < check_source(env, name) <= 28 * MIB


def test_source_of_an_image_with_an_invalid_map(env):
    env.ceph.create("vms", "map", 64)
    env.ceph.write_image("vms", "map", os.urandom(4 * MIB), 8 * MIB)
    env.ceph.rbd("feature", "disable", "vms/map", "fast-diff", "object-map")
    env.ceph.write_image("vms", "map", os.urandom(4 * MIB), 20 * MIB)
    # Enabled later, the maps of the objects are invalid until they are rebuilt.
    env.ceph.rbd("feature", "enable", "vms/map", "object-map", "fast-diff")
    assert "object map invalid" in env.ceph.info("vms", "map")["flags"]
    env.ceph.rbd("snap", "create", "vms/map@s")
    check_source(env, "map", data=8 * MIB)


def test_source_errors(env):
    client = env.client(opened=False, timeout=4)
    client.fails("NOT_FOUND", "source", "vms", "disk", "nosnap", says="vms/disk@nosnap")
    client.fails("NOT_FOUND", "source", "vms", "nothing", "s")
    env.ceph.rbd("snap", "create", f"vms/disk@{env.snap}")
    client.do("source", "vms", "disk", env.snap)
    os.kill(client.child(), signal.SIGKILL)
    client.fails("DISCONNECTED", "read", 0, 4 * MIB, says="ended unexpectedly")
    client.do("close_source")
    client.do("source", "vms", "disk", env.snap)
    env.ceph.pause_osd()
    try:
        message = client.ask("read", 4 * MIB, 4 * MIB)
        assert message["error"] in ("FAILED", "DISCONNECTED"), message
    finally:
        env.ceph.resume_osd()
    client.do("close_source")
    client.do("source", "vms", "disk", env.snap)
    client.do("cancel", 0)
    time.sleep(0.3)
    client.fails("CANCELLED", "read", 0, 4 * MIB)


def test_source_killed_while_it_reads(env):
    client = env.client(opened=False)
    other = env.client()
    env.big_clone(other)
    other.do("snap_create", "images", env.copy, "s")
    client.do("source", "images", env.copy, "s")
    client.send("export", "/dev/null")
    time.sleep(0.3)
    with contextlib.suppress(StopIteration):
        os.kill(client.child(), signal.SIGKILL)
    assert client.answer()["error"] == "DISCONNECTED"
    client.do("close_source")
    other.do("remove_copy", "images", env.copy)


def test_clone_of_format_2(env):
    env.ceph.min_compat_client("mimic")
    env.callback(env.ceph.min_compat_client, "luminous")
    client = env.client()
    client.do("snap_create", "vms", "disk", env.snap)
    client.do("clone", "vms", "disk", env.snap, "images", env.copy)
    assert not env.ceph.snapshots("vms", "disk")[env.snap], "format 2 needs no protection"
    client.do("snap_remove", "vms", "disk", env.snap)
    assert client.do("info", "images", env.copy)["parent"], "it is still a clone"
    client.do("flatten", "images", env.copy, "client")
    assert env.ceph.hash_image("images", env.copy) == env.ceph.hash_image("vms", "disk")
    client.do("remove_copy", "images", env.copy)
    # A protected snapshot is cloned as it is.
    client.do("snap_create", "vms", "disk", env.snap)
    client.do("snap_protect", "vms", "disk", env.snap)
    client.do("clone", "vms", "disk", env.snap, "images", env.copy)
    client.do("remove_copy", "images", env.copy)
    client.do("snap_remove", "vms", "disk", env.snap)


if __name__ == "__main__":
    tap.main(Rbd)
