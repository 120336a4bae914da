# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests of one's own in libvirt: one that writes numbered blocks (a tiny Linux), or a blank one."""
import os
import shutil
import struct
import subprocess
import time
import uuid

from services import BUILD, TOP

WRITTEN = 16 * 1024 * 1024  # the head of the disk, where the guest may write
BLOCK, BLOCKS = 4096, 1024


def virsh(*args, check=True, seconds=120):
    done = subprocess.run(["virsh", "-q", "-c", "qemu:///system", *args], capture_output=True,
                          text=True, timeout=seconds)
    if check and done.returncode != 0:
        raise RuntimeError(f"virsh {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout.strip()


def qemu_img(*args):
    return subprocess.run(["qemu-img", *args], check=True, capture_output=True, text=True,
                          timeout=300).stdout


def build_kernel():
    subprocess.run([os.path.join(TOP, "tests/guest/build.sh")], check=True, timeout=400)


class Guest:
    def __init__(self, folder, name=None, writer=False, size_mib=512, data_mib=64, accel="tcg",
                 disk="qcow2", extra_disks="", base=True):
        self.uuid = str(uuid.uuid4())
        self.name = name or f"novasnap-{self.uuid[:8]}"
        self.folder = folder.make(self.name)
        self.writer, self.accel, self.extra = writer, accel, extra_disks
        self.format = disk
        self.base = os.path.join(self.folder, "base.qcow2") if base else None
        self.disk = os.path.join(self.folder, f"disk.{disk}")
        self.serial = os.path.join(self.folder, "serial.log")
        self._make_disk(size_mib, data_mib)

    def _make_disk(self, size_mib, data_mib):
        """Data in the part that nobody writes: half of it random, half text."""
        raw = os.path.join(self.folder, "raw")
        with open(raw, "wb") as file:
            file.truncate(size_mib << 20)
            file.seek(WRITTEN)
            for number in range(data_mib):
                random = number % 2 == 0
                file.write(os.urandom(1 << 20) if random else
                           (b"%08d a line of text\n" % number) * ((1 << 20) // 24))
        if self.base and self.format == "qcow2":
            qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, self.base)
            qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self.base, self.disk)
            os.remove(raw)
        elif self.format == "qcow2":
            qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, self.disk)
            os.remove(raw)
        else:
            os.rename(raw, self.disk)

    def xml(self):
        kind = "kvm" if self.accel == "kvm" else "qemu"
        boot = ""
        if self.writer:
            for name in ("vmlinuz", "initrd"):
                shutil.copy(os.path.join(BUILD, "guest", name), self.folder)
            boot = (f"<kernel>{self.folder}/vmlinuz</kernel><initrd>{self.folder}/initrd</initrd>"
                    "<cmdline>console=ttyS0 quiet panic=1</cmdline>")
        return f"""<domain type='{kind}'><name>{self.name}</name><uuid>{self.uuid}</uuid>
<memory unit='MiB'>{128 if self.writer else 32}</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type>{boot}</os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='{self.format}' cache='none'/>
<source file='{self.disk}'/><target dev='vda' bus='virtio'/></disk>{self.extra}
<serial type='file'><source path='{self.serial}'/><target port='0'/></serial>
<memballoon model='none'/></devices></domain>"""

    def __enter__(self):
        path = os.path.join(self.folder, "domain.xml")
        with open(path, "w") as file:
            file.write(self.xml())
        virsh("define", path)
        return self

    def __exit__(self, *_):
        virsh("destroy", self.name, check=False)
        virsh("undefine", self.name, "--managed-save", "--nvram", check=False)

    def start(self):
        virsh("start", self.name)

    def wait_writing(self, rounds=2, seconds=90):
        """Until the writer has finished so many more rounds."""
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

    def state(self):
        return virsh("domstate", self.name)

    def is_saved(self):
        return "yes" in virsh("dominfo", self.name).split("Managed save:")[1].split("\n")[0]

    def has_job(self):
        return "<mirror" in virsh("dumpxml", self.name)

    def definition(self):
        return virsh("dumpxml", "--inactive", self.name)


def same_content(one, one_format, other, other_format, offset=0):
    """Whether two images hold the same bytes, from an offset on."""
    if not offset:
        done = subprocess.run(["qemu-img", "compare", "-U", "-f", one_format, "-F", other_format,
                               one, other], capture_output=True, text=True, timeout=300)
        if done.returncode > 1:
            raise RuntimeError(done.stderr)
        return done.returncode == 0
    raws = [one + ".one", one + ".other"]
    try:
        for path, image_format, raw in ((one, one_format, raws[0]), (other, other_format, raws[1])):
            qemu_img("convert", "-U", "-f", image_format, "-O", "raw", path, raw)
        return subprocess.run(["cmp", "-s", "-i", str(offset), *raws], timeout=300).returncode == 0
    finally:
        for raw in raws:
            if os.path.exists(raw):
                os.remove(raw)


def rounds_in(path, image_format):
    """The round that each numbered block of an image is of; 0 where it was never written."""
    raw = path + ".head"
    subprocess.run(["qemu-img", "dd", "-f", image_format, "-O", "raw", f"bs={BLOCK}",
                    f"count={BLOCKS}", f"if={path}", f"of={raw}"], check=True,
                   capture_output=True, timeout=120)
    found = []
    with open(raw, "rb") as file:
        for index in range(BLOCKS):
            magic, number, at = struct.unpack("<8sQQ", file.read(BLOCK)[:24])
            assert number == 0 or (magic == b"NUMBERED" and at == index), f"block {index} is torn"
            found.append(number)
    os.remove(raw)
    return found


def is_one_instant(rounds):
    """In an image of one instant the rounds go down once at most, by one."""
    edges = [(a, b) for a, b in zip(rounds, rounds[1:]) if a != b]
    return not edges or (len(edges) == 1 and edges[0][0] == edges[0][1] + 1)
