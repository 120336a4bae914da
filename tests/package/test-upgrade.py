#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian package is installed, upgraded and removed by dpkg, with its own maintainer scripts, around a novasnapd that
has a snapshot under way. systemctl and deb-systemd-invoke are stand-ins, which stop and start as the units would. All
of it happens on a copy of this machine's files, which an overlay in a mount namespace makes; novasnapd runs there, too.
Needs root, and build/deb with the package that `make deb` builds."""
import glob
import os
import re
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
import tap  # noqa: E402
from beside_command import WAIT, CommandSite  # noqa: E402
from broker import Broker  # noqa: E402
from case import CaseEnvironment  # noqa: E402
from layouts import LAYOUTS  # noqa: E402
from paths import TOP  # noqa: E402
from process import end, spawn  # noqa: E402
from standin_systemctl import SystemdStandIn, Unit  # noqa: E402

SERVICE, TIMER, GUARD = "novasnapd.service", "novasnap-beside-guard.timer", "novasnap-beside-guard.service"
# $1: the folder for the copy; $2: the folder of the test.
COPY = """set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for name in proc dev sys; do mount --rbind "/$name" "$1/root/$name"; done
mount -t tmpfs tmpfs "$1/root/run"
mkdir -p "$1/root/run/systemd/system" "$1/root$2"
mount --rbind "$2" "$1/root$2"
touch "$1/root/run/ready"
exec sleep infinity
"""


class Upgrade(CaseEnvironment):
    own_broker = True

    def make_broker(self):
        return Broker(self.folder, management=True)

    def set_up(self):
        self.old = self.package()
        self.new = self.newer(self.old)
        super().set_up()
        # On another disk than the folder of the test, which the copy shows in its own place.
        self.copy = self.folder.make("copy")
        self.namespace = spawn(["unshare", "--mount", "--propagation", "private", "sh", "-c", COPY, "sh", self.copy,
                                self.folder.path], self.folder.file("copy.log"))
        self.callback(lambda: end(self.namespace))
        tap.wait_for("the copy", lambda: self.inside("test", "-e", "/run/ready").returncode == 0, 20)

    @staticmethod
    def package():
        """Returns the newest package that make deb has built."""
        folder = os.path.join(TOP, os.environ.get("NOVASNAP_BUILD", "build"), "deb")
        found = sorted(glob.glob(os.path.join(folder, "novasnap_*.deb")), key=os.path.getmtime)
        assert found, f"there is no package in {folder}: run make deb"
        return found[-1]

    def newer(self, package):
        """Makes the same package with a higher version."""
        folder, path = self.folder.file("newer"), self.folder.file("newer.deb")
        subprocess.run(["dpkg-deb", "--raw-extract", package, folder], check=True, timeout=60)
        control = os.path.join(folder, "DEBIAN/control")
        with open(control) as file:
            text = file.read()
        with open(control, "w") as file:
            file.write(re.sub(r"^(Version: .*)$", r"\1+1", text, flags=re.M))
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", folder, path], check=True, timeout=120,
                       stdout=subprocess.DEVNULL)
        return path

    def wrapped(self, *argv):
        return ["nsenter", "-t", str(self.namespace.pid), "-m", "chroot", f"{self.copy}/root", *argv]

    def inside(self, *argv, timeout=300, path=""):
        return subprocess.run(self.wrapped("env", f"PATH={path}:{os.environ['PATH']}", *argv), check=False, text=True,
                              capture_output=True, timeout=timeout)

    def before_test(self):
        super().before_test()
        self.inside("dpkg", "--purge", "--force-all", "novasnap")
        self.agent, self.timer = None, False
        units = {SERVICE: Unit(lambda: self.agent.start(), self.stop_service,
                               lambda: self.agent is not None and self.agent.is_running()),
                 TIMER: Unit(lambda: self.set_timer(True), lambda: self.set_timer(False), lambda: self.timer),
                 GUARD: Unit(lambda: None, lambda: None, lambda: False)}
        self.systemd = self.enter(SystemdStandIn(self.folder, units))
        self.dpkg("--install", self.old)

    def make_agent(self, *args, **more):
        """An agent that runs the installed program."""
        agent = super().make_agent(*args, **{"shutdown_grace": "3", **more})
        agent.programs, agent.run_as = "/usr/bin", self.wrapped()
        self.agent = agent
        return agent

    def set_timer(self, runs):
        self.timer = runs

    def stop_service(self):
        """As the unit says: SIGTERM for the main process, and a SIGKILL for it when its time is over."""
        with open(os.path.join(TOP, "conf/novasnapd.service")) as file:
            limit = int(re.search(r"^TimeoutStopSec=(\d+)$", file.read(), re.M).group(1))
        self.agent.process.send_signal(signal.SIGTERM)
        try:
            assert self.agent.process.wait(limit) == 0, "novasnapd has not stopped cleanly"
        finally:
            self.agent.process.kill()

    def dpkg(self, *args, status=0):
        """Returns what dpkg says."""
        self.systemd.calls.clear()
        done = self.inside("dpkg", "--force-confold", *args, path=self.systemd.bin)
        assert done.returncode == status, (args, done.returncode, done.stdout, done.stderr)
        assert not self.systemd.errors, self.systemd.errors
        return done.stdout + done.stderr

    def version(self):
        return self.inside("dpkg-query", "-W", "-f", "${Version}", "novasnap").stdout

    def starting_calls(self):
        """What dpkg's scripts have called that might start or stop something."""
        return [call for call in self.systemd.calls
                if not re.match(r"systemctl (--quiet is-active|show|--system daemon-reload)", call)]

    def enabled(self):
        return self.inside("find", "/etc/systemd", "-name", "novasnap*").stdout


def test_an_upgrade_ends_no_snapshot(env):
    agent = env.start_agent()
    case = env.hold(agent, times=2)
    before, version = agent.process.pid, env.version()
    env.dpkg("--install", env.new)
    assert env.version() == f"{version}+1"
    assert agent.is_running() and agent.process.pid != before
    assert "(deleted)" not in os.readlink(f"/proc/{agent.process.pid}/exe"), "the old program runs"
    assert case.shown() and " open " in case.shown(), case.shown()
    env.front.release.set()
    case.is_whole()
    assert env.starting_calls() == [f"deb-systemd-invoke try-restart {GUARD} {TIMER} {SERVICE}"], env.systemd.calls
    assert not env.enabled() and not env.timer


def test_an_upgrade_starts_nothing_that_did_not_run(env):
    env.make_agent()
    env.dpkg("--install", env.new)
    assert not env.agent.is_running() and not env.timer
    env.timer = True
    env.dpkg("--install", env.old)  # a downgrade, too
    assert not env.agent.is_running() and env.timer
    assert not env.enabled()


def test_the_installation_starts_nothing(env):
    env.dpkg("--purge", "novasnap")
    env.make_agent()
    env.dpkg("--install", env.new)
    assert not env.starting_calls(), env.systemd.calls
    assert not env.agent.is_running() and not env.enabled()


def test_a_removal_stops_what_runs_and_names_the_open_job(env):
    agent = env.start_agent()
    case = env.hold(agent)
    # Where the scripts look for the state, and with the configuration of the agent.
    env.inside("rm", "-rf", "/var/lib/novasnap")
    env.inside("ln", "-s", agent.state, "/var/lib/novasnap")
    env.inside("cp", agent.conf, "/etc/novasnap/novasnap.conf")
    said = env.dpkg("--remove", "novasnap")
    assert not agent.is_running() and case.guest.uuid in said, said
    assert env.starting_calls() == [f"deb-systemd-invoke stop {TIMER} {GUARD} {SERVICE}"], env.systemd.calls
    assert not env.guest.has_job()
    # What the operator is told to do: install it again, and start it.
    env.dpkg("--install", env.new)
    assert not agent.is_running()
    agent.start()
    env.front.release.set()
    case.is_whole()


def test_a_removal_stops_a_service_that_has_not_started_yet(env):
    agent = env.start_agent()
    env.systemd.units[SERVICE].activating = True
    env.dpkg("--remove", "novasnap")
    assert not agent.is_running(), env.systemd.calls


def test_a_removal_is_refused_while_the_service_runs(env):
    """As when policy-rc.d forbids to stop it."""
    agent = env.start_agent()
    unit = env.systemd.units[SERVICE]
    unit.stop = lambda: None
    for unit.activating in (False, True):
        said = env.dpkg("--remove", "novasnap", status=1)
        assert f"{SERVICE} still runs" in said and agent.is_running(), said
    agent.stop()
    env.dpkg("--remove", "novasnap")


def test_a_removal_is_refused_while_nova_compute_depends_on_it(env):
    site = CommandSite(env, LAYOUTS["defaults"]).start()
    agent = site.agent
    env.inside("rm", "-rf", "/var/lib/novasnap")
    env.inside("ln", "-s", agent.state, "/var/lib/novasnap")
    env.inside("cp", agent.conf, "/etc/novasnap/novasnap.conf")
    site.enable()
    before = agent.process.pid
    said = env.dpkg("--remove", "novasnap", status=1)
    assert "novasnap beside --disable" in said, said
    assert agent.process.pid == before and agent.is_running() and not env.starting_calls(), env.systemd.calls
    site.reaches()
    # An upgrade is not refused.
    env.dpkg("--install", env.new)
    assert agent.is_running() and agent.process.pid != before
    site.reaches()
    site.restart_nova()
    site.beside("--disable", *WAIT)
    env.dpkg("--remove", "novasnap")
    assert not agent.is_running()
    site.reaches()


if __name__ == "__main__":
    tap.main(Upgrade)
