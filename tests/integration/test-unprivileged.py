#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnapd works as conf/novasnapd.service runs it: as a user other than root, without capabilities, with only the
system calls that the unit allows, in the folders that conf/novasnap.tmpfiles makes. Refusals name what is missing. All
methods are tested, with the real RabbitMQ, libvirt and QEMU. The user is nobody, in nova's groups."""
import json
import os
import pwd
import shutil
import subprocess
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from block import BlockGuest  # noqa: E402
from environment import Environment  # noqa: E402
from images import same_content  # noqa: E402
from paths import BUILD, CAST, TOP  # noqa: E402
from sandbox import write_calls  # noqa: E402

USER, GROUP = "nobody", "nogroup"
RUN_AS = ["setpriv", "--reuid", USER, "--regid", GROUP, "--groups", "libvirt,libvirt-qemu", "--no-new-privs",
          "--bounding-set", "-all", "--inh-caps", "-all"]


class Unprivileged(Environment):
    services = ("broker", "libvirt")

    def set_up(self):
        self.programs = self.folder.make("bin")
        for name in ("novasnapd", "novasnap", "novasnap-thaw"):
            shutil.copy(os.path.join(BUILD, name), self.programs)
        shutil.copy(os.path.join(TOP, "tests/lib/sandbox.py"), self.programs)
        calls = self.folder.file("calls.json")
        write_calls(os.path.join(TOP, "conf/novasnapd.service"), calls)
        # A sanitizer needs more of the kernel.
        sandbox = [] if "address" in BUILD else [os.path.join(self.programs, "sandbox.py"), calls]
        self.run_as = [*RUN_AS, *sandbox]
        self.images = self.folder.make("images")
        shutil.chown(self.images, USER)
        self.state, self.run = self.folder.file("state"), self.folder.file("run")
        self.instances = self.folder.make("instances")
        self.make_folders()
        self.wait_services()
        tap.wait_for("libvirtd", lambda: subprocess.run(
            [*RUN_AS, "virsh", "-q", "-c", self.libvirt.uri, "list"], capture_output=True,
            check=False).returncode == 0, 30)

    def make_folders(self):
        """Makes the folders of conf/novasnap.tmpfiles in another place and for our user."""
        with open(os.path.join(TOP, "conf/novasnap.tmpfiles")) as file:
            text = file.read().replace("/var/lib/novasnap", self.state).replace("/run/novasnap", self.run)
            text = text.replace("/var/lib/nova/instances", self.instances)
        path = self.folder.file("novasnap.conf")
        with open(path, "w") as file:
            file.write(text.replace("nova libvirt-qemu", f"{USER} libvirt-qemu").replace(
                "nova nova", f"{USER} {GROUP}"))
        subprocess.run(["systemd-tmpfiles", "--create", path], check=True, timeout=20)

    def before_test(self):
        self.share_run_dir()

    def share_run_dir(self):
        shutil.chown(self.run, USER, "libvirt-qemu")
        os.chmod(self.run, 0o2770)

    def agent(self, live=True, **novasnap):
        scratch = os.path.join(self.instances, "novasnap-scratch")
        agent = self.make_agent(sections={"images": self.images, "novasnap": {"scratch_dir": scratch},
                                          **({} if live else NO_LIVE_SNAPSHOT)},
                                state_dir=self.state, run_dir=self.run, **novasnap)
        agent.scratch = scratch
        # If only stream is configured, no other method has a folder.
        if novasnap or not live:
            shutil.chown(agent.snapshots, USER)
        agent.state, agent.run_dir, agent.programs, agent.run_as = self.state, self.run, self.programs, self.run_as
        return agent

    def is_taken(self, agent, guest, method):
        done = agent.command("snapshot", guest.name, check=False)
        assert done.returncode == 0 and f"method: {method}" in done.stdout, done
        image = os.path.join(self.images, done.stdout.split("\n")[0])
        with open(image + ".json") as file:
            assert same_content(image, json.load(file)["disk_format"], guest.disk, guest.format)
        assert agent.left() == [], agent.left()


def is_refused(agent, guest, *words):
    done = agent.command("snapshot", guest.name, check=False)
    assert done.returncode == 1 and all(word in done.stdout for word in words), done
    assert agent.left() == [], agent.left()
    return done.stdout


def checked(agent):
    """Returns the lines of novasnap check by their subject."""
    return {line.split()[1].strip(":"): line for line in
            agent.command("check", check=False).stdout.splitlines() if "  " in line}


def test_every_method(env):
    for disk in ("qcow2", "raw"):
        guest = env.make_guest(disk=disk, base=disk == "qcow2", size_mib=32, data_mib=4)
        env.is_taken(env.agent(), guest, "stream")
        env.is_taken(env.agent(cold_method="extract"), guest, "extract")
        guest.start()
        env.is_taken(env.agent(), guest, "stream")
        env.is_taken(env.agent(live_method="rebase"), guest, "rebase")
        env.is_taken(env.agent(live=False, cold_method="extract"), guest, "extract")
        assert guest.state() == "running" and not guest.is_saved()
        # The method internal writes into the disk, which this user may not.
        if disk == "qcow2":
            is_refused(env.agent(live=False, cold_method="internal"), guest, "Permission denied")
            assert guest.state() == "running" and not guest.is_saved()


def test_check_finds_nothing_wrong(env):
    agent = env.agent(live_method="stream")
    shown = checked(agent)
    for name in ("state_dir", "run_dir", "scratch_dir", "snapshots_directory", "libvirt", "RabbitMQ", "images"):
        assert shown[name].startswith("ok "), shown[name]
    assert "QEMU runs as libvirt-qemu" in shown["libvirt"]
    assert agent.command("check", check=False).returncode == 0


def test_a_cast_and_what_other_users_see_of_it(env):
    guest, agent, image = env.make_guest(size_mib=32, data_mib=4), env.enter(env.agent()), str(uuid.uuid4())
    done = agent.command("send", "snapshot_instance", "--file", CAST, "--instance", guest.uuid, "--image", image,
                         "--watch", "--timeout", "60", check=False)
    assert done.returncode == 0, (done, agent.text())
    assert same_content(os.path.join(env.images, image), "qcow2", guest.disk, "qcow2")
    assert f"{image}" in agent.command("jobs").stdout
    # Its own user may not read it either: the process is not dumpable.
    assert os.stat(f"/proc/{agent.process.pid}/environ").st_uid != pwd.getpwnam(USER).pw_uid
    assert os.stat(f"{env.state}/journal").st_mode & 0o777 == 0o700


def test_a_run_dir_that_is_not_shared(env):
    guest = env.make_guest(size_mib=32, data_mib=4)
    guest.start()
    os.chmod(env.run, 0o770)
    said = is_refused(env.agent(), guest, "does not run as root", "setgid", "tmpfiles")
    assert env.run in said
    assert "setgid" in checked(env.agent())["run_dir"]
    shutil.chown(env.run, USER, GROUP)
    os.chmod(env.run, 0o2771)
    is_refused(env.agent(), guest, f"QEMU's user is not in its group {GROUP}")
    env.share_run_dir()
    agent = env.agent()
    agent.run_as = [arg.replace(",libvirt-qemu", "") for arg in env.run_as]
    is_refused(agent, guest, "novasnapd's user is not in its group libvirt-qemu")
    # The other methods need no socket.
    os.chmod(env.run, 0o700)
    env.is_taken(env.agent(live_method="rebase"), guest, "rebase")
    env.share_run_dir()
    env.is_taken(env.agent(), guest, "stream")
    assert guest.state() == "running"


def test_a_disk_that_the_user_cannot_read(env):
    guest = env.make_guest(size_mib=32, data_mib=4)
    os.chmod(guest.disk, 0o600)
    for method in ("stream", "extract", "internal"):
        is_refused(env.agent(cold_method=method), guest, guest.disk, "Permission denied", "does not run as root")
    guest.start()
    # QEMU reads it.
    done = env.agent().command("snapshot", guest.name, check=False)
    assert done.returncode == 0 and "method: stream" in done.stdout, done


def test_a_block_device(env):
    """A logical volume belongs to root and the group disk. libvirt gives a running guest's QEMU access to it; a rule of
    udev gives it to novasnapd (conf/docs/operating.md)."""
    guest = env.enter(BlockGuest(env.libvirt, env.folder, size_mib=32, data_mib=4))
    shutil.chown(guest.disk, "root", "disk")
    os.chmod(guest.disk, 0o660)
    for method in ("stream", "extract"):
        is_refused(env.agent(cold_method=method), guest, guest.disk, "Permission denied", "does not run as root")
    assert f"would be refused: reading the disk's file {guest.disk}" in env.agent().command("check", check=False).stdout
    guest.start()
    env.is_taken(env.agent(), guest, "stream")
    env.is_taken(env.agent(live_method="rebase"), guest, "rebase")
    assert guest.state() == "running" and not guest.is_saved()
    guest.virsh("destroy")
    shutil.chown(guest.disk, "root", GROUP)
    os.chmod(guest.disk, 0o640)
    env.is_taken(env.agent(), guest, "stream")
    env.is_taken(env.agent(cold_method="extract"), guest, "extract")
    assert "would be refused: " not in env.agent().command("check", check=False).stdout


def test_the_unit_and_the_profile(env):
    subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=18",
                    os.path.join(TOP, "conf/novasnapd.service")], check=True, capture_output=True, timeout=60)
    path = env.folder.file("profile")
    with open(os.path.join(TOP, "conf/apparmor-libvirt-qemu")) as file, open(path, "w") as profile:
        profile.write(f"profile novasnap-test {{\n{file.read()}}}\n")
    subprocess.run(["apparmor_parser", "--skip-kernel-load", "--skip-cache", path], check=True,
                   capture_output=True, timeout=20)


if __name__ == "__main__":
    tap.main(Unprivileged)
