#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Ansible role enables novasnap on a host with containers, and rolls back: podman runs novasnapd and the guard, of the
image that tests/package/test-image.sh has made before it runs this file. nova-compute is the real oslo.messaging; a
stand-in restarts its container. The host is a mount namespace with its own /run and its own containers. Needs root."""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
import tap  # noqa: E402
from agent import write_sections  # noqa: E402
from beside_command import CommandEnvironment, CommandSite  # noqa: E402
from layouts import LAYOUTS  # noqa: E402
from libvirtd import qemu_user  # noqa: E402
from playbook import changes, play  # noqa: E402
from process import end, spawn  # noqa: E402
from standin_conductor import ConductorStandIn  # noqa: E402
from standin_systemctl import SystemdStandIn, Unit  # noqa: E402

NAMES = {"novasnap_guard", "novasnapd"}
# $1: libvirt's folder. crun refuses cgroups of both versions at once.
HOST = """set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/libvirt
mount --bind "$1" /run/libvirt
mount --make-rshared /run
umount /sys/fs/cgroup/unified 2>/dev/null || true
touch /run/ready
exec sleep infinity
"""
# The limits are this machine's, since the default ones may be higher.
ENGINE_CONF = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
runtime = "crun"
events_logger = "file"
"""


class Host(CommandEnvironment):
    services = ("broker", "libvirt")

    def before_test(self):
        self.site = CommandSite(self, LAYOUTS["defaults"], novasnap={"control": "conductor"})
        self.enter(ConductorStandIn(self.site.url))
        self.namespace = spawn(["unshare", "--mount", "--propagation", "private", "sh", "-c", HOST, "sh",
                                self.libvirt.run], self.folder.file("namespace.log"))
        self.callback(lambda: end(self.namespace))
        tap.wait_for("the namespace", lambda: os.path.exists(f"/proc/{self.namespace.pid}/root/run/ready"), 20)
        self.engine = self.write_engine()
        self.callback(lambda: self.podman("rm", "--all", "--force"))
        # What Kolla gives nova_compute: its configuration, and a volume.
        self.compute_conf = os.path.join(self.folder.make("kolla/nova-compute", 0o700), "nova.conf")
        self.write_compute_conf()
        self.folder.make("kolla/novasnap")
        self.start_compute()
        self.before = self.site.objects()

    def write_engine(self):
        """Writes the program in the place of podman, which restarts nova-compute, and runs podman on the host."""
        conf, engine = self.folder.file("engine.conf"), self.folder.file("engine")
        compute = Unit(self.start_compute, self.stop_compute, lambda: self.site.nova is not None)
        self.systemd = self.enter(SystemdStandIn(self.folder, {"nova-compute.service": compute}))
        with open(conf, "w") as file:
            file.write(ENGINE_CONF)
        with open(engine, "w") as file:
            file.write('#!/bin/sh\nif [ "$*" = "restart nova_compute" ]; then\n'
                       f"\texec {self.systemd.bin}/systemctl restart nova-compute\nfi\n"
                       f"exec nsenter -t {self.namespace.pid} -m env CONTAINERS_CONF={conf} "
                       f'podman {os.environ["NOVASNAP_IMAGE_STORAGE"]} "$@"\n')
        os.chmod(engine, 0o755)
        return engine

    def podman(self, *args):
        done = subprocess.run([self.engine, *args], check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return done.stdout

    def write_compute_conf(self):
        """nova.conf of nova-compute, which novasnapd in its container reads, too."""
        with open(self.site.agent.conf) as source, open(self.compute_conf, "w") as file:
            file.write(source.read())
        write_sections(self.compute_conf, {
            "libvirt": {"connection_uri": "qemu:///system", "snapshots_directory": "/var/lib/nova/instances/snapshots"},
            "novasnap": {"state_dir": "/var/lib/novasnap", "run_dir": "/run/novasnap", "images_dir": "/var/lib/nova/images"}},
            "a")
        volume = self.podman("volume", "create", "nova_compute").strip()
        place = self.podman("volume", "inspect", "--format", "{{.Mountpoint}}", volume).strip()
        self.callback(lambda: self.podman("volume", "rm", "--all", "--force"))
        for name in ("", "images", "instances", "instances/snapshots"):
            path = os.path.join(place, name)
            os.makedirs(path, exist_ok=True)
            os.chown(path, qemu_user(), qemu_user())

    def exchange(self):
        """The exchange in the file of nova-compute, or None."""
        with open(self.compute_conf) as file:
            found = re.search(r"^control_exchange *= *(\S+)$", file.read(), re.M)
        return found and found.group(1)

    def start_compute(self):
        self.site.restart_nova(self.exchange())

    def stop_compute(self):
        self.site.nova.close()
        self.site.nova = None

    def play(self, name, status=0, **variables):
        text = play(self.folder, name, {"host1": "/usr/bin/python3"}, {
            "novasnap_deployment": "kolla", "novasnap_engine": self.engine, "novasnap_image": "localhost/novasnap:test",
            "novasnap_nova_compute_conf": self.compute_conf,
            "novasnap_config_file": self.folder.file("kolla/novasnap/ansible.conf"), **variables}, status)
        assert not self.systemd.errors, self.systemd.errors
        return text

    def running(self):
        return set(self.podman("ps", "--format", "{{.Names}}").split())

    def is_enabled(self):
        assert self.running() == NAMES, self.running()
        assert self.exchange() == self.site.exchange, self.exchange()
        assert self.site.bound() == [self.site.queue], self.site.bound()
        self.podman("exec", "novasnapd", "novasnap-container", "novasnap", "beside", "--status")
        self.site.reaches()

    def is_as_before(self):
        assert not self.podman("ps", "--all", "--quiet"), self.podman("ps", "--all")
        assert self.exchange() is None, self.exchange()
        assert self.site.objects() == self.before, self.site.objects()
        self.site.reaches()


def test_there_and_back(env):
    env.play("enable")
    env.is_enabled()
    env.systemd.calls.clear()
    text = env.play("enable")
    assert changes(text) == {"host1": 0} and not env.systemd.calls, text[-3000:]
    env.play("enable", novasnap_config={"novasnap": {"journal_days": "77"}})
    env.is_enabled()
    assert "journal_days = 77" in env.podman("exec", "novasnapd", "cat", "/etc/novasnap/novasnap.conf.d/ansible.conf")
    env.play("disable")
    env.is_as_before()
    text = env.play("disable")
    assert changes(text) == {"host1": 0}, text[-3000:]


def test_a_new_image_and_a_wrong_key(env):
    env.play("enable")
    image = "localhost/novasnap:new"
    env.podman("commit", "--quiet", "--pause=false", "novasnapd", image)
    env.callback(lambda: env.podman("rmi", "--force", image))
    before = set(env.podman("ps", "--quiet").split())
    env.systemd.calls.clear()
    env.play("enable", novasnap_image=image)
    env.is_enabled()
    after = set(env.podman("ps", "--quiet").split())
    assert not before & after and not env.systemd.calls, (before, after, env.systemd.calls)
    text = env.play("enable", status=2, novasnap_image=image, novasnap_config={"novasnap": {"no_such_key": "1"}})
    assert "[novasnap] has no key" in text and set(env.podman("ps", "--quiet").split()) == after, text[-3000:]
    env.is_enabled()
    text = env.play("enable", novasnap_image=image)
    assert changes(text) == {"host1": 0}, text[-3000:]
    env.play("disable", novasnap_image=image)
    env.is_as_before()


def test_containers_that_are_gone(env):
    """Without novasnapd the host is still enabled. A container for the command gives its requests back."""
    env.play("enable")
    env.podman("kill", "--signal", "KILL", "novasnap_guard", "novasnapd")
    env.podman("rm", "--force", "novasnap_guard", "novasnapd")
    env.play("disable")
    env.is_as_before()


def test_a_container_that_does_not_come_up_is_rolled_back(env):
    with open(env.compute_conf, "a") as file:
        file.write("[DEFAULT]\ntransport_url = none://\n")
    text = env.play("enable", status=2)
    assert "was not enabled on host1" in text, text[-3000:]
    with open(env.compute_conf) as file:
        lines = file.read().replace("[DEFAULT]\ntransport_url = none://\n", "")
    with open(env.compute_conf, "w") as file:
        file.write(lines)
    env.is_as_before()


if __name__ == "__main__":
    tap.main(Host)
