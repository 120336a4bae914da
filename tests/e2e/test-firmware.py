#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Live snapshots of a guest as nova defines it when its image asks for UEFI and a TPM, and of the same guest with its
disk on an iothread. The guest writes meanwhile, and each test reports its rate before and during the snapshot."""
import os
import re
import sys
import time
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lib"), HERE]
import tap  # noqa: E402
from cloud import Cloud  # noqa: E402
from environment import Environment  # noqa: E402
from guest import Domain, build_kernel  # noqa: E402
from images import is_one_instant, qemu_img, rounds_in  # noqa: E402
from paths import BUILD  # noqa: E402
from server import Server  # noqa: E402

DATA_MIB = 256  # so that a snapshot takes some seconds
PROPERTIES = {"hw_firmware_type": "uefi", "hw_machine_type": "q35", "hw_tpm_model": "tpm-crb", "hw_tpm_version": "2.0",
              "os_secure_boot": "disabled",  # the kernel is not started by a signed loader
              "os_command_line": "console=ttyS0 quiet panic=1 no_timer_check"}


class Firmware(Environment):
    cloud = agent = None

    def set_up(self):
        build_kernel()
        self.secrets = self.folder.make("secrets")
        os.environ["NOVASNAP_SECRETS"] = self.secrets
        os.environ["PYTHONPATH"] = HERE
        self.cloud = cloud = self.enter(Cloud(self.folder))
        with open(self.folder.file("tpm.conf"), "w") as file:
            file.write("[key_manager]\nbackend = standin_key_manager.FileKeyManager\n"
                       "[libvirt]\nvirt_type = qemu\nswtpm_enabled = true\nswtpm_user = root\nswtpm_group = root\n")
        cloud.compute_start("--config-file", file.name)
        # Glance compares the content with the format since 2025.
        kernel, ramdisk = (cloud.upload(name, os.path.join(BUILD, "guest", name), disk_format)
                           for name, disk_format in (("vmlinuz", "aki"), ("initrd", "ari")))
        image = cloud.make_image("uefi", DATA_MIB, "512M", kernel_id=kernel, ramdisk_id=ramdisk, **PROPERTIES)
        uuid = cloud.boot(["uefi"], image, cloud.make_flavor(ram=256))["uefi"]
        self.server, self.domain = Server(cloud, uuid), Domain(cloud.libvirt, uuid)
        cloud.compute_stop()
        self.agent = self.make_agent(sections={"base": cloud.nova_conf})
        self.agent.start()
        self.callback(self.agent.stop)

    @property
    def logs(self):
        return [self.agent.log, self.console_log] if self.agent else [self.cloud.log("nova-compute")] if self.cloud else []

    @property
    def console_log(self):
        return os.path.join(self.cloud.instances, self.server.server, "console.log")

    def console(self):
        with open(self.console_log, errors="replace") as file:
            return file.read()

    def seconds(self):
        """Returns (writes, longest of them in microseconds) of each second in which the guest has run."""
        return [(int(count), int(worst)) for count, worst in
                re.findall(r"second: (\d+) writes, worst (\d+) us", self.console())]

    def wait_seconds(self, count):
        """Waits until the guest has reported this many more seconds of writing, and returns them."""
        before = len(self.seconds())
        tap.wait_for("a guest that writes", lambda: len(self.seconds()) >= before + count, 240, 0.2)
        return self.seconds()[before:]

    def wait_round(self):
        """Waits until the guest has written its whole disk since it started."""
        tap.wait_for("a whole round", lambda: "round 1" in self.console().rpartition("guest-is-up")[2], 240, 0.2)

    def state_files(self):
        """Returns path -> inode of the guest's UEFI variables and TPM state, none of which may get lost."""
        paths = [self.definition().findtext("os/nvram")]
        for folder, _, names in os.walk(os.path.join(self.cloud.libvirt.folders["lib"], "swtpm", self.server.server)):
            paths += [os.path.join(folder, name) for name in names if name.endswith("permall")]
        # As libvirtd names it, which has folders of its own.
        return {path: os.stat(path.replace("/var/lib/libvirt", self.cloud.libvirt.folders["lib"])).st_ino
                for path in paths}

    def definition(self):
        return ET.fromstring(self.domain.definition())

    def restart_with(self, definition):
        """Defines and starts the guest again, as an operator would. nova-compute gives libvirt the TPM's secret only
        while it starts a guest."""
        name = definition.find("devices/tpm/backend/encryption").get("secret")
        with open(self.folder.file("secret.xml"), "w") as file:
            file.write(f"<secret ephemeral='yes' private='yes'><uuid>{name}</uuid><usage type='vtpm'>"
                       f"<name>{self.server.server}</name></usage></secret>")
        ET.ElementTree(definition).write(self.folder.file("domain.xml"))
        virsh = self.cloud.libvirt.virsh
        if name not in virsh("secret-list"):
            virsh("secret-define", file.name)
        virsh("secret-set-value", name, "--file", os.path.join(self.secrets, name), "--plain")
        virsh("define", self.folder.file("domain.xml"))
        self.domain.virsh("destroy")
        self.domain.virsh("start")

    def snapshot(self, what):
        """Takes a snapshot of the running guest, and checks image and guest."""
        self.wait_round()
        before = self.wait_seconds(4)
        kept, definition = self.state_files(), self.domain.definition()
        assert len(kept) == 2, kept
        began, mark = time.monotonic(), len(self.seconds())
        image = self.server.ask("image", what)
        record = self.server.wait_idle()
        seconds = time.monotonic() - began
        self.wait_seconds(1)
        during = self.seconds()[mark:]
        assert record["status"] == "ACTIVE", record
        assert self.domain.state() == "running" and not self.domain.has_job()
        assert self.domain.definition() == definition and self.state_files() == kept
        stored = os.path.join(self.cloud.images, image)
        assert self.cloud.connection().image.get_image(image).status == "active"
        qemu_img("check", "-f", "qcow2", stored)
        rounds = rounds_in(stored, "qcow2")
        assert min(rounds) > 0 and is_one_instant(rounds), rounds
        print(f"# {what}: {rate(before)} before, {rate(during)} during a snapshot of {seconds:.1f} s", flush=True)


def rate(seconds):
    return (f"{sum(count for count, _ in seconds) / len(seconds):.0f} writes/s (the slowest "
            f"{max(worst for _, worst in seconds) / 1000:.0f} ms)")


def test_its_disk_is_served_by_the_main_thread(env):
    definition = env.definition()
    assert definition.find("os").get("firmware") or definition.find("os/loader").get("type") == "pflash"
    assert definition.find("devices/tpm/backend").get("version") == "2.0"
    assert definition.find("devices/disk/driver").get("iothread") is None
    env.snapshot("disk in the main thread")


def test_its_disk_is_on_an_iothread(env):
    definition = env.definition()
    if definition.find("iothreads") is None:  # nova defines one since 2026
        ET.SubElement(definition, "iothreads").text = "1"
    definition.find("devices/disk/driver").set("iothread", "1")
    env.restart_with(definition)
    assert "iothread" in env.domain.virsh("qemu-monitor-command", "--hmp", "info iothreads")
    env.snapshot("disk on an iothread")


if __name__ == "__main__":
    tap.main(Firmware, [test_its_disk_is_served_by_the_main_thread, test_its_disk_is_on_an_iothread], ordered=True)
