#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs each command of conf/docs/beside.md, from the installation to the first snapshot and back, and then those of
the README's first snapshot and of conf/docs/operating.md, with the files that `make install` makes, as the user of the
units, beside a real nova-compute. The files are where the pages say, in a mount namespace. systemctl is a stand-in: it
runs what the installed units say. How long it took is printed."""
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lib"), HERE]
import tap  # noqa: E402
from cloud import Cloud  # noqa: E402
from cloud_conf import PASSWORD, REGION  # noqa: E402
from compute_host import Compute, check_unchanged, declared, discover_hosts  # noqa: E402
from document_commands import of_section  # noqa: E402
from environment import Environment  # noqa: E402
from mount_points import make_mount_points  # noqa: E402
from paths import TOP  # noqa: E402
from process import end, spawn  # noqa: E402
from server import Server  # noqa: E402

PAGE, README, OPERATING = "conf/docs/beside.md", "README.md", "conf/docs/operating.md"
GUARD_S = 15  # as conf/novasnap-beside-guard.timer


def commands_of(page, title):
    commands = of_section(page, title)
    assert commands, (page, title)
    return commands


def read(path):
    """Returns the text of a log, which may not be there yet."""
    if not os.path.exists(path):
        return ""
    with open(path, errors="replace") as file:
        return file.read()


class Page(Environment):
    cloud = namespace = None

    def set_up(self):
        self.cloud = cloud = self.enter(Cloud(self.folder))
        self.install()
        self.etc_nova = self.folder.make("etc-nova")
        shutil.copy(cloud.nova_conf, os.path.join(self.etc_nova, "nova.conf"))
        self.compute = Compute(cloud, cloud.host)
        self.compute.conf = os.path.join(self.etc_nova, "nova-compute.conf")
        self.compute.configure()
        self.compute.start()
        self.callback(self.compute.stop)
        discover_hosts(cloud, 1)
        uuid = cloud.boot(["first"], cloud.make_image("base"), cloud.make_flavor())["first"]
        self.server = Server(cloud, uuid)
        self.novasnapd = self.guard = None
        self.guard_ends = threading.Event()
        self.callback(lambda: self.disable("novasnap-beside-guard.timer", "novasnapd"))
        self.enter_namespace()

    def install(self):
        self.root = self.folder.make("root")
        subprocess.run(["make", "-C", TOP, "--no-print-directory", "install", f"DESTDIR={self.root}"], check=True,
                       timeout=300, stdout=subprocess.DEVNULL)

    def enter_namespace(self):
        """Makes a mount namespace in which the files have their own places."""
        places = {self.etc_nova: "/etc/nova", os.path.join(self.root, "etc/novasnap"): "/etc/novasnap",
                  self.folder.make("state"): "/var/lib/novasnap", self.folder.make("run"): "/run/novasnap",
                  self.folder.make("apparmor"): "/etc/apparmor.d/local/abstractions"}
        make_mount_points(self, places.values())
        script = "".join(f"mount --bind {source} {place} && " for source, place in places.items())
        self.namespace = spawn(["unshare", "--mount", "sh", "-c", f"{script}exec sleep infinity"],
                               self.folder.file("namespace.log"))
        self.callback(lambda: end(self.namespace))
        tap.wait_for("the namespace", lambda: self.inside("mountpoint", "-q", "/run/novasnap").returncode == 0, 20, 0.1)
        # The packages do this.
        shutil.chown(self.cloud.instances, "nova", "nova")
        self.tmpfiles = self.folder.file("tmpfiles.conf")
        with open(os.path.join(self.root, "usr/lib/tmpfiles.d/novasnap.conf")) as file, open(self.tmpfiles, "w") as to:
            to.write(file.read().replace("/var/lib/nova/instances", self.cloud.instances))
        for command in (["systemd-tmpfiles", "--create", self.tmpfiles], ["chgrp", "nova", "/etc/novasnap/novasnap.conf"]):
            assert self.inside(*command).returncode == 0, command

    def wrapped(self, *argv):
        """The command in the namespace, with the installed programs."""
        return ["nsenter", "-t", str(self.namespace.pid), "-m", "env", f"PATH={self.root}/usr/bin:{os.environ['PATH']}",
                *argv]

    def inside(self, *argv):
        return subprocess.run(self.wrapped(*argv), check=False, text=True, capture_output=True, timeout=330)

    @property
    def logs(self):
        return [path for path in (self.folder.file("novasnapd.log"), self.folder.file("guard.log"),
                                  self.cloud and self.cloud.log(f"nova-compute-{self.cloud.host}"))
                if path and os.path.exists(path)]

    def unit_key(self, name, key):
        with open(os.path.join(self.root, "usr/lib/systemd/system", f"{name}.service")) as file:
            return re.search(rf"^{key}=(.*)$", file.read(), re.M)[1]

    def unit(self, name):
        """Returns the command of an installed unit, as its user."""
        with open(os.path.join(self.root, "usr/lib/systemd/system", f"{name}.service")) as file:
            text = file.read()
        keys = dict(re.findall(r"^(ExecStart|User|Group|SupplementaryGroups)=(.*)$", text, re.M))
        groups = ",".join([keys["Group"], *keys.get("SupplementaryGroups", "").split()])
        return self.wrapped("setpriv", "--reuid", keys["User"], "--regid", keys["Group"], "--groups", groups,
                            "--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all",
                            os.path.join(self.root, keys["ExecStart"].lstrip("/").split()[0]),
                            *keys["ExecStart"].split()[1:])

    # What systemctl does in the page.

    def start_novasnapd(self):
        log = self.folder.file("novasnapd.log")
        before = len(read(log))
        self.novasnapd = spawn(self.unit("novasnapd"), log)

        def is_ready():
            assert self.novasnapd.poll() is None, "novasnapd has ended"
            return " ready after " in read(log)[before:]
        tap.wait_for("novasnapd", is_ready, 60, 0.1)

    def guard_main(self):
        while not self.guard_ends.wait(GUARD_S):
            with open(self.folder.file("guard.log"), "a") as log:
                subprocess.run(self.unit("novasnap-beside-guard"), check=False, stdout=log, stderr=log, timeout=180)

    def systemctl(self, verb, *units):
        if (verb, *units) == ("restart", "nova-compute"):
            self.compute.stop()
            self.compute.start(wait=False)
        elif (verb, *units) == ("enable", "--now", "novasnapd", "novasnap-beside-guard.timer"):
            self.start_novasnapd()
            self.guard_ends.clear()
            self.guard = threading.Thread(target=self.guard_main)
            self.guard.start()
        elif verb == "disable" and units[0] == "--now":
            self.disable(*units[1:])
        elif (verb, *units) == ("start", "novasnapd"):
            self.start_novasnapd()
        elif (verb, *units) == ("stop", "novasnapd"):
            self.disable("novasnapd")
        elif (verb, *units) == ("start", "nova-compute"):
            self.compute.start(wait=False)
        elif (verb, *units) == ("reload", "novasnapd"):
            subprocess.run(shlex.split(self.unit_key("novasnapd", "ExecReload")), check=True, timeout=20,
                           env={**os.environ, "MAINPID": str(self.novasnapd.pid)})
        elif (verb, *units) == ("daemon-reload",):
            pass
        else:
            raise AssertionError(f"no stand-in for systemctl {verb} {units}")

    def disable(self, *units):
        for unit in units:
            if unit == "novasnapd" and self.novasnapd:
                assert end(self.novasnapd, 90) == 0
                self.novasnapd = None
            elif unit != "novasnapd" and self.guard:
                self.guard_ends.set()
                self.guard.join(200)
                self.guard = None

    # Each command of the page.

    def run(self, command):
        print(f"# $ {command}", flush=True)
        words = shlex.split(command.replace("SERVER", self.server.server).replace("HOST", self.cloud.host))
        if words[0] == "systemctl":
            self.systemctl(*words[1:])
            return ""
        if words[0] == "openstack":
            words[1:1] = ["--os-auth-url", self.cloud.url("keystone", "/v3"), "--os-username", "admin",
                          "--os-password", PASSWORD, "--os-project-name", "admin", "--os-user-domain-name", "Default",
                          "--os-project-domain-name", "Default", "--os-region-name", REGION,
                          "--os-identity-api-version", "3"]
        done = self.inside(*words)
        assert done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def run_installation(self, command):
        """A command that gives the installed files their places and owners. It changes no users of this machine, and
        what would be in nova's folder is in the one of the test."""
        print(f"# $ {command}", flush=True)
        for shown, own in (("/usr/lib/tmpfiles.d/novasnap.conf", self.tmpfiles),
                           ("systemd-sysusers ", "systemd-sysusers --dry-run "),
                           (" /usr/", f" {self.root}/usr/"), (" /etc/systemd", f" {self.root}/etc/systemd")):
            command = command.replace(shown, own)
        done = self.inside("sh", "-c", command)
        assert done.returncode == 0, (command, done)

    def run_until_restart(self, command, restart, line):
        """Runs a command that waits for the restart of nova-compute, and does what it asks for meanwhile."""
        print(f"# $ {command}", flush=True)
        path = self.folder.file("waiting")
        before = len(read(path))
        waiting = spawn(self.wrapped(*shlex.split(command)), path)
        self.callback(lambda: end(waiting))

        def output():
            return read(path)[before:]

        def has_asked():
            assert waiting.poll() is None or line in output(), output()
            return line in output()
        tap.wait_for("the line for nova-compute", has_asked, 60, 0.1)
        restart()
        assert waiting.wait(300) == 0, output()
        return output()


def enable(env, commands):
    """Runs commands, among them --enable, which waits for nova-compute's restart."""
    def change():
        env.compute.configure(DEFAULT={"control_exchange": f"nova.{env.cloud.host}"})
        env.run("systemctl restart nova-compute")
    outputs = {}
    for command in commands:
        if command == "novasnap beside --enable":
            outputs[command] = env.run_until_restart(command, change, f"control_exchange = nova.{env.cloud.host}")
        elif command != "systemctl restart nova-compute":
            outputs[command] = env.run(command)
    assert "nova-compute follows" in outputs["novasnap beside --enable"], outputs
    return outputs


def disable(env, commands):
    def change():
        env.compute.configure()
        env.systemctl("restart", "nova-compute")
    for command in commands:
        if command == "novasnap beside --disable":
            env.run_until_restart(command, change, "control_exchange")
        else:
            env.run(command)
    env.compute.wait_up()
    assert env.novasnapd is None and env.guard is None


def test_there(env):
    commands = commands_of(PAGE, "From the package to the first snapshot")
    assert "systemctl restart nova-compute" in commands
    env.before = declared(env.cloud.broker)
    began = time.monotonic()
    outputs = enable(env, commands)
    assert "succeeded" in outputs["novasnap jobs"] or "done" in outputs["novasnap jobs"], outputs["novasnap jobs"]
    image = env.cloud.connection().image.find_image("first")
    assert image and image.status == "active" and image.id in outputs["novasnap jobs"], (image, outputs)
    print(f"# from the installation to the first snapshot: {time.monotonic() - began:.0f} s", flush=True)


def test_and_back(env):
    began = time.monotonic()
    disable(env, commands_of(PAGE, "And back"))
    check_unchanged(env.cloud.broker, env.before)
    assert env.compute.answers(env.server.server)
    image = env.server.ask("image", "afterwards")
    env.server.wait_idle()
    assert env.cloud.connection().image.get_image(image).status == "active"
    print(f"# and back: {time.monotonic() - began:.0f} s", flush=True)


def test_the_readme(env):
    """Its first snapshot is watched while it is made."""
    cloud = env.cloud.connection()
    cloud.image.delete_image(cloud.image.find_image("first").id)
    commands = commands_of(README, "First snapshot on a nova host")
    check = next(number for number, command in enumerate(commands) if command.endswith("novasnap check"))
    create, watch, show = commands[-3:]
    assert watch == "novasnap watch" and show.startswith("openstack image show"), commands
    for command in commands[:check]:
        env.run_installation(command)
    enable(env, commands[check:-3])
    print(f"# $ {watch}", flush=True)
    log = env.folder.file("watch")
    watching = spawn(env.wrapped(*shlex.split(watch)), log)
    env.callback(lambda: end(watching))
    time.sleep(2)  # it says nothing when it listens
    env.run(create)
    tap.wait_for("the end of the first snapshot", lambda: " done" in read(log), 120)
    watching.send_signal(signal.SIGINT)
    assert watching.wait(30) == 130
    assert "active" in env.run(show)
    env.server.wait_idle()
    disable(env, commands_of(PAGE, "And back"))


def test_start_and_stop(env):
    start, stop, reload = commands_of(OPERATING, "Start and stop")
    for command in (start, reload):
        env.run(command)
    tap.wait_for("the reload", lambda: "SIGHUP: the configuration was read again" in
                 read(env.folder.file("novasnapd.log")), 20)
    assert env.novasnapd.poll() is None
    env.run(stop)
    assert env.novasnapd is None


def test_in_its_place(env):
    """The drop-in, and the way back to nova-compute. test-documents.py runs the other command."""
    drop_in, back, _ = commands_of(OPERATING, "In nova-compute's place")
    install, reload = drop_in.split(" && ")
    env.run_installation(install)
    assert os.path.exists(os.path.join(env.root, "etc/systemd/system/novasnapd.service.d/exclusive.conf"))
    env.run(reload)
    env.compute.stop()
    env.run("systemctl start novasnapd")
    for command in back.split(" && "):
        env.run(command)
    env.compute.wait_up()
    env.run("openstack compute service set --enable HOST nova-compute")


if __name__ == "__main__":
    tap.main(Page, [test_there, test_and_back, test_the_readme, test_start_and_stop, test_in_its_place], ordered=True)
