# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests of a private libvirtd: a tiny Linux that writes numbered blocks or into a filesystem, with a guest agent or
without, or one that boots nothing."""
import json
import os
import shutil
import subprocess
import time
import uuid

from images import MIB, WRITTEN, qemu_img, run_e2fs
from paths import BUILD, TOP


def build_kernel():
    subprocess.run([os.path.join(TOP, "tests/guest/build.sh")], check=True, timeout=400)


class Domain:
    """A guest of a libvirtd, made by a test or by nova. `name` may be its uuid."""

    def __init__(self, libvirt, name):
        self.libvirt, self.name = libvirt, name

    def virsh(self, command, *args, **how):
        """Runs a command of virsh on this guest."""
        return self.libvirt.virsh(command, self.name, *args, **how)

    def state(self):
        return self.virsh("domstate")

    def _says(self, key):
        return "yes" in self.virsh("dominfo").split(f"{key}:")[1].split("\n")[0]

    def is_persistent(self):
        return self._says("Persistent")

    def is_saved(self):
        return self._says("Managed save")

    def has_job(self):
        return "<mirror" in self.virsh("dumpxml") or "<domainbackup" in self.virsh("backup-dumpxml", check=False)

    def has_block_job(self, disk):
        """Returns whether it has a block job, also one that is visible nowhere else, such as a merge."""
        return self.state() != "shut off" and self.virsh("blockjob", disk, "--raw") != ""

    def definition(self):
        return self.virsh("dumpxml", "--inactive")


class Guest(Domain):
    """writer: it boots the tiny Linux, which writes numbered blocks. fs: it writes into an ext4 on the disk instead.
    agent: it runs qemu-guest-agent, and has the channel for it. idle: it boots, and writes nothing. iothread: an
    iothread serves its disk ("disk"), or the virtio-scsi controller of its disk ("scsi"), or nothing ("unused")."""

    def __init__(self, libvirt, folder, name=None, writer=False, size_mib=512, data_mib=64, accel="tcg",
                 disk="qcow2", extra_disks="", base=True, agent=False, fs=False, idle=False, iothread=None):
        self.uuid = str(uuid.uuid4())
        super().__init__(libvirt, name or f"novasnap-{self.uuid[:8]}")
        self.folder = folder.make(self.name)
        self.writer = (writer or agent) and not fs and not idle
        self.has_fs, self.has_agent, self.boots = fs, agent, writer or agent or fs or idle
        self.idle, self.iothread = idle, iothread
        self.target = "sda" if iothread == "scsi" else "vda"
        self.accel, self.extra = accel, extra_disks
        self.format = disk
        self.base = os.path.join(self.folder, "base.qcow2") if base else None
        self.disk = os.path.join(self.folder, f"disk.{disk}")
        self.serial = os.path.join(self.folder, "serial.log")
        self._make_disk(size_mib, data_mib)

    def _make_disk(self, size_mib, data_mib):
        """Writes data into the part that the guest does not write (or into a file): half of it random, half text."""
        raw = os.path.join(self.folder, "raw")
        data = os.path.join(self.folder, "files", "data") if self.has_fs else raw
        if self.has_fs:
            os.mkdir(os.path.dirname(data))
        with open(data, "wb") as file:
            if not self.has_fs:
                file.truncate(size_mib * MIB)
                file.seek(WRITTEN)
            for number in range(data_mib):
                random = number % 2 == 0
                file.write(os.urandom(MIB) if random else (b"%08d a line of text\n" % number) * (MIB // 24))
        if self.has_fs:
            run_e2fs("mkfs.ext4", "-q", "-d", os.path.dirname(data), raw, f"{size_mib}M")
            shutil.rmtree(os.path.dirname(data))
        if self.base and self.format == "qcow2":
            qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, self.base)
            qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self.base, self.disk)
            os.remove(raw)
        elif self.format == "qcow2":
            qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, self.disk)
            os.remove(raw)
        else:
            os.rename(raw, self.disk)

    def disk_xml(self):
        iothread = "iothread='1'"
        controller = f"<controller type='scsi' model='virtio-scsi'><driver {iothread}/></controller>"
        return f"""<disk type='file' device='disk'>
<driver name='qemu' type='{self.format}' cache='none' {iothread if self.iothread == "disk" else ""}/>
<source file='{self.disk}'/><target dev='{self.target}' bus='{"scsi" if self.iothread == "scsi" else "virtio"}'/></disk>
{controller if self.iothread == "scsi" else ""}"""

    def xml(self):
        kind = "kvm" if self.accel == "kvm" else "qemu"
        boot = ""
        if self.boots:
            for name in ("vmlinuz", "initrd"):
                shutil.copy(os.path.join(BUILD, "guest", name), self.folder)
            # On a busy host the emulated timer looks broken to the kernel, which would then not start.
            boot = (f"<kernel>{self.folder}/vmlinuz</kernel><initrd>{self.folder}/initrd</initrd>"
                    f"<cmdline>console=ttyS0 quiet panic=1 no_timer_check{' novasnap.fs' if self.has_fs else ''}"
                    f"{' novasnap.idle' if self.idle else ''}</cmdline>")
        channel = ("<controller type='virtio-serial' index='0'/><channel type='unix'>"
                   "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
                   if self.has_agent else "")
        iothreads = "<iothreads>1</iothreads>" if self.iothread else ""
        return f"""<domain type='{kind}'><name>{self.name}</name><uuid>{self.uuid}</uuid>
<memory unit='MiB'>{128 if self.boots else 32}</memory><vcpu>1</vcpu>{iothreads}
<os><type arch='x86_64' machine='pc'>hvm</type>{boot}</os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
{self.disk_xml()}
{self.extra}
<serial type='file'><source path='{self.serial}'/><target port='0'/></serial>
{channel}<memballoon model='none'/></devices></domain>"""

    def define(self, xml=None):
        """Defines it, also when it is defined already."""
        path = os.path.join(self.folder, "domain.xml")
        with open(path, "w") as file:
            file.write(xml or self.xml())
        self.libvirt.virsh("define", path)

    def __enter__(self):
        try:
            self.define()
        except Exception:
            self.__exit__()  # libvirt may have defined it after all
            raise
        return self

    def __exit__(self, *_):
        self.virsh("destroy", check=False)
        self.virsh("undefine", "--managed-save", "--nvram", check=False)

    def start(self):
        self.virsh("start")

    def pid(self):
        """Returns the pid of its QEMU, or None."""
        return self.libvirt.pid_of(self)

    # What a test does to it, and how it is brought back.

    def condition(self):
        """Returns its state, or "saved"."""
        return "saved" if self.is_saved() else self.state()

    def set_condition(self, wanted):
        """Makes it running, paused, saved or shut off, from any state."""
        now = self.condition()
        if wanted == "shut off" and now != wanted:
            self.virsh("managedsave-remove" if now == "saved" else "destroy")
        elif wanted != now and now in ("shut off", "saved"):
            self.start()
        elif wanted != now and now == "paused":
            self.virsh("resume")
        if wanted in ("saved", "paused") and self.condition() != wanted:
            self.virsh("managedsave" if wanted == "saved" else "suspend")

    def reset(self, wanted="running"):
        """Brings it into a condition, and ends the jobs that a failed test may have left."""
        if self.has_job():
            self.virsh("blockjob", self.target, "--abort", check=False)
            self.virsh("domjobabort", check=False)
        self.set_condition(wanted)

    # What its agent and its writer report.

    def agent(self, command, seconds=10, **arguments):
        """Returns the guest agent's answer to a command. Raises RuntimeError if there is none."""
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        return json.loads(self.virsh("qemu-agent-command", "--timeout", str(seconds),
                                     json.dumps(request)))["return"]

    def wait_agent(self, seconds=90):
        """Waits until the guest agent answers."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.agent("guest-ping", 5)
                return
            except RuntimeError as error:
                if time.monotonic() > end:
                    raise RuntimeError(f"{error}: {self._console()[-1500:]}") from error
            time.sleep(0.2)

    def answers(self):
        """Returns whether the guest agent answers now."""
        try:
            self.agent("guest-ping", 1)
        except RuntimeError:
            return False
        return True

    def frozen(self):
        """Returns whether the guest's filesystems are frozen, as its agent says."""
        return self.agent("guest-fsfreeze-status") == "frozen"

    def wait_writing(self, rounds=2, seconds=90):
        """Waits until the writer has finished this many more rounds."""
        before = self.rounds()
        end = time.monotonic() + seconds
        while self.rounds() < before + rounds:
            if time.monotonic() > end:
                raise RuntimeError(f"the guest does not write: {self._console()[-1500:]}")
            time.sleep(0.1)

    def _console(self):
        try:
            with open(self.serial, errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def rounds(self):
        return self._console().count("round ")
