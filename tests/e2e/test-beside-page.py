#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs each command of conf/docs/beside.md, from the installation to the first snapshot and back, with the files that
`make install` makes, as the user of the units, beside a real nova-compute. The files are where the page says, in a
mount namespace. systemctl is a stand-in: it runs what the installed units say. How long it took is printed."""
import os
import re
import shlex
import shutil
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
from environment import Environment  # noqa: E402
from paths import TOP  # noqa: E402
from process import end, spawn  # noqa: E402
from server import Server  # noqa: E402

PAGE = os.path.join(TOP, "conf/docs/beside.md")
PROGRAMS = ("systemctl", "novasnap", "runuser", "openstack")
GUARD_S = 15  # as conf/novasnap-beside-guard.timer


def commands_of(title):
    """Returns the commands of a section of the page: its indented lines, but for those of a configuration file."""
    with open(PAGE) as file:
        section = re.search(rf"^## {title}\n(.*?)^## ", file.read(), re.M | re.S).group(1)
    lines = [line.strip() for line in section.split("\n") if re.match(r"( {4}| {7})\S", line)]
    lines = [line for line in lines if not re.match(r"\[DEFAULT\]|control_exchange = ", line)]
    unknown = [line for line in lines if line.split()[0] not in PROGRAMS]
    assert lines and not unknown, unknown
    return lines


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
                  self.folder.make("state"): "/var/lib/novasnap", self.folder.make("run"): "/run/novasnap"}
        for place in places.values():
            if not os.path.isdir(place):
                os.makedirs(place)
                self.callback(lambda place=place: os.rmdir(place))
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
        self.novasnapd = spawn(self.unit("novasnapd"), log)

        def is_ready():
            assert self.novasnapd.poll() is None, "novasnapd has ended"
            with open(log) as file:
                return " ready after " in file.read()
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
            self.guard = threading.Thread(target=self.guard_main)
            self.guard.start()
        elif verb == "disable" and units[0] == "--now":
            self.disable(*units[1:])
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
        words = shlex.split(command.replace("SERVER", self.server.server))
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

    def run_until_restart(self, command, restart, line):
        """Runs a command that waits for the restart of nova-compute, and does what it asks for meanwhile."""
        print(f"# $ {command}", flush=True)
        path = self.folder.file("waiting")
        waiting = spawn(self.wrapped(*shlex.split(command)), path)
        self.callback(lambda: end(waiting))

        def output():
            with open(path) as file:
                return file.read()

        def has_asked():
            assert waiting.poll() is None or line in output(), output()
            return line in output()
        tap.wait_for("the line for nova-compute", has_asked, 60, 0.1)
        restart()
        assert waiting.wait(300) == 0, output()
        return output()


def test_there(env):
    commands = commands_of("From the package to the first snapshot")
    env.before = declared(env.cloud.broker)
    began = time.monotonic()
    line = f"control_exchange = nova.{env.cloud.host}"

    def restart():
        env.compute.configure(DEFAULT={"control_exchange": f"nova.{env.cloud.host}"})
        env.run(commands[commands.index("novasnap beside --enable") + 1])
    outputs = {}
    for command in commands:
        if command == "novasnap beside --enable":
            outputs[command] = env.run_until_restart(command, restart, line)
        elif command != "systemctl restart nova-compute":
            outputs[command] = env.run(command)
    assert "nova-compute follows" in outputs["novasnap beside --enable"], outputs
    assert "succeeded" in outputs["novasnap jobs"] or "done" in outputs["novasnap jobs"], outputs["novasnap jobs"]
    image = env.cloud.connection().image.find_image("first")
    assert image and image.status == "active" and image.id in outputs["novasnap jobs"], (image, outputs)
    print(f"# from the installation to the first snapshot: {time.monotonic() - began:.0f} s", flush=True)


def test_and_back(env):
    began = time.monotonic()
    commands = commands_of("And back")

    def restart():
        env.compute.configure()
        env.systemctl("restart", "nova-compute")
    for command in commands:
        if command == "novasnap beside --disable":
            env.run_until_restart(command, restart, "control_exchange")
        else:
            env.run(command)
    env.compute.wait_up()
    assert env.novasnapd is None and env.guard is None
    check_unchanged(env.cloud.broker, env.before)
    assert env.compute.answers(env.server.server)
    image = env.server.ask("image", "afterwards")
    env.server.wait_idle()
    assert env.cloud.connection().image.get_image(image).status == "active"
    print(f"# and back: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    tap.main(Page, [test_there, test_and_back], ordered=True)
