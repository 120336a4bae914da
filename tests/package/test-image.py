#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The container image: podman runs it as Kolla runs nova-compute, with the host's network, /run/libvirt and
/var/lib/nova. QEMU's user is the container's user nova, as in Kolla. It takes a snapshot into the real Glance. Needs root.
tests/package/test-image.sh has made the image, and runs this file."""
import contextlib
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
import tap  # noqa: E402
from agent import write_sections  # noqa: E402
from case import Case, CaseEnvironment  # noqa: E402
from libvirtd import qemu_user  # noqa: E402
from paths import BUILD  # noqa: E402
from process import end, spawn  # noqa: E402

IMAGE = "localhost/novasnap:test"
# crun refuses cgroups of both versions at once, which this hides. "$@": podman with its arguments.
ALONE = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'


class Image(CaseEnvironment):
    def set_up(self):
        self.storage = os.environ["NOVASNAP_IMAGE_STORAGE"].split()
        self.nova = self.folder.make("nova")
        super().set_up()

    def podman(self, *args):
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", ALONE, "sh", "podman", *self.storage,
                "--cgroup-manager", "cgroupfs", "--runtime", "crun", *args]

    def make_agent(self, *args, **more):
        agent = super().make_agent(*args, **{"shutdown_grace": "3", **more})
        # The socket is where the container expects it.
        agent.configure("libvirt", connection_uri="qemu:///system")
        agent.configure("novasnap", state_dir="/var/lib/novasnap")
        for folder in (agent.snapshots, agent.scratch, agent.run_dir):
            os.makedirs(folder, exist_ok=True)
            os.chown(folder, qemu_user(), qemu_user())
        agent.programs = ""
        return agent


class Container:
    """The container with an agent's configuration. /var/lib/novasnap is a folder that outlives it."""

    def __init__(self, env, agent):
        self.env, self.agent = env, agent
        self.name = f"novasnap-{os.getpid()}-{env._count}"
        self.state = env.folder.make(f"{self.name}-state")
        self.log = env.folder.file(f"{self.name}.log")
        env._test_logs.append(self.log)
        self.process = None
        # As Kolla writes it: for root only.
        self.etc = env.folder.make(f"{self.name}-etc", 0o700)
        shutil.copy(agent.conf, os.path.join(self.etc, "nova.conf"))
        os.chmod(os.path.join(self.etc, "nova.conf"), 0o600)
        self.more = env.folder.make(f"{self.name}-more", 0o700)
        write_sections(os.path.join(self.more, "ansible.conf"), {"novasnap": {"journal_days": "77"}})
        os.chmod(os.path.join(self.more, "ansible.conf"), 0o600)

    def volumes(self):
        env = self.env
        pairs = {self.etc: "/var/lib/kolla/config_files", self.more: "/var/lib/kolla/novasnap", self.state: "/var/lib/novasnap",
                 env.libvirt.run: "/run/libvirt", env.nova: "/var/lib/nova",
                 # QEMU knows the guests' disks and the sockets by these names.
                 env.folder.path: env.folder.path}
        return [f"--volume={source}:{target}:rw" for source, target in pairs.items()]

    def argv(self, *command):
        # The limits are this machine's, since the default ones may be higher.
        return self.env.podman("run", "--rm", "--name", self.name, "--network", "host", "--privileged",
                               "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", *self.volumes(), IMAGE,
                               *command)

    def text(self):
        with contextlib.suppress(FileNotFoundError), open(self.log, errors="replace") as file:
            return file.read()
        return ""

    def __enter__(self):
        before = len(self.text())
        self.process = spawn(self.argv("novasnapd"), self.log)

        def is_ready():
            assert self.process.poll() is None, self.text()[-3000:]
            return " ready after " in self.text()[before:]
        tap.wait_for("the container", is_ready, 120)
        return self

    def pids(self, program):
        """Returns the processes of that program in the container, by their numbers on the host."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as file, \
                    open(f"/proc/{pid}/cgroup") as groups:
                if file.read().strip() == program and "libpod" in groups.read() and os.path.samefile(
                        f"/proc/{pid}/root/var/lib/novasnap", self.state):
                    found.append(int(pid))
        return found

    def ask(self, *command):
        """Runs a command of novasnap in the container."""
        return subprocess.run(self.env.podman("exec", self.name, "novasnap-container", "novasnap", *command),
                              check=False, capture_output=True, text=True, timeout=120)

    def __exit__(self, *_):
        """SIGTERM, as by the container's engine."""
        assert end(self.process, 90) == 0, self.text()[-3000:]


def ended(container, image):
    lines = [line for line in container.ask("jobs").stdout.split("\n") if image in line]
    return lines and " open " not in lines[0]


def snapshot(env, container):
    case = Case(env, container.agent)
    # `novasnap send` of this machine only publishes.
    container.agent.programs = BUILD
    case.send()
    return case


def test_a_snapshot(env):
    with Container(env, env.make_agent()) as container:
        pids = container.pids("novasnapd")
        assert len(pids) == 1, pids
        with open(f"/proc/{pids[0]}/status") as file:
            status = file.read()
        assert f"Uid:\t{qemu_user()}\t" in status and "CapEff:\t0000000000000000" in status, status
        case = snapshot(env, container)
        tap.wait_for("end of the job", lambda: ended(container, case.image), 90, 1)
        assert case.check_image() == "whole"
        case.check_guest()


def test_a_new_container_continues(env):
    """The state is in a volume: the next container takes up what the first one has left."""
    env.front.reset("hold", "hold")
    with Container(env, env.make_agent()) as container:
        case = snapshot(env, container)
        env.wait_held(1)
    assert env.glance.get(case.image)["status"] != "active"
    env.front.release.set()
    with container:
        tap.wait_for("end of the job", lambda: ended(container, case.image), 90, 1)
    assert case.check_image() == "whole"
    case.check_guest()


def test_check_in_the_container(env):
    with Container(env, env.make_agent()) as container:
        done = container.ask("check")
        print(f"# {done.stdout}".replace("\n", "\n# "))
        assert re.search(r"^ok +libvirt at qemu:///system: .* QEMU runs as nova$", done.stdout, re.M), done.stdout
        assert done.returncode == 0, done.stdout


if __name__ == "__main__":
    tap.main(Image)
