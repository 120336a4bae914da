# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests of one's own in libvirt: a tiny Linux that writes numbered blocks or into a filesystem, with a
guest agent or without, or a blank one."""
import json
import os
import shutil
import struct
import subprocess
import tempfile
import time
import uuid

from services import BUILD, TOP

URI = "qemu:///system"  # of the libvirtd that is used, unless it is one of our own
WRITTEN = 16 * 1024 * 1024  # the head of the disk, where the guest may write
BLOCK, BLOCKS = 4096, 1024


def virsh(*args, check=True, seconds=120):
    uri = os.environ.get("NOVASNAP_TEST_LIBVIRT_URI", URI)
    done = subprocess.run(["virsh", "-q", "-c", uri, *args], capture_output=True, text=True,
                          timeout=seconds)
    if check and done.returncode != 0:
        raise RuntimeError(f"virsh {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout.strip()


def qemu_img(*args):
    return subprocess.run(["qemu-img", *args], check=True, capture_output=True, text=True,
                          timeout=300).stdout


def build_kernel():
    subprocess.run([os.path.join(TOP, "tests/guest/build.sh")], check=True, timeout=400)


class Domain:
    """A guest that libvirt has, whoever made it; `name` may be its uuid."""

    def __init__(self, name):
        self.name = name

    def state(self):
        return virsh("domstate", self.name)

    def is_persistent(self):
        return "yes" in virsh("dominfo", self.name).split("Persistent:")[1].split("\n")[0]

    def is_saved(self):
        return "yes" in virsh("dominfo", self.name).split("Managed save:")[1].split("\n")[0]

    def has_job(self):
        return ("<mirror" in virsh("dumpxml", self.name) or
                "<domainbackup" in virsh("backup-dumpxml", self.name, check=False))

    def definition(self):
        return virsh("dumpxml", "--inactive", self.name)


class Guest(Domain):
    """writer: boots the tiny Linux, which writes numbered blocks. fs: it writes into an ext4 on the disk
    instead. agent: it runs qemu-guest-agent, and has the channel for it."""

    def __init__(self, folder, name=None, writer=False, size_mib=512, data_mib=64, accel="tcg",
                 disk="qcow2", extra_disks="", base=True, agent=False, fs=False):
        self.uuid = str(uuid.uuid4())
        super().__init__(name or f"novasnap-{self.uuid[:8]}")
        self.folder = folder.make(self.name)
        self.writer = (writer or agent) and not fs
        self.has_fs, self.has_agent, self.boots = fs, agent, writer or agent or fs
        self.accel, self.extra = accel, extra_disks
        self.format = disk
        self.base = os.path.join(self.folder, "base.qcow2") if base else None
        self.disk = os.path.join(self.folder, f"disk.{disk}")
        self.serial = os.path.join(self.folder, "serial.log")
        self._make_disk(size_mib, data_mib)

    def _make_disk(self, size_mib, data_mib):
        """Data in the part that nobody writes (or in a file): half of it random, half text."""
        raw = os.path.join(self.folder, "raw")
        data = os.path.join(self.folder, "files", "data") if self.has_fs else raw
        if self.has_fs:
            os.mkdir(os.path.dirname(data))
        with open(data, "wb") as file:
            if not self.has_fs:
                file.truncate(size_mib << 20)
                file.seek(WRITTEN)
            for number in range(data_mib):
                random = number % 2 == 0
                file.write(os.urandom(1 << 20) if random else
                           (b"%08d a line of text\n" % number) * ((1 << 20) // 24))
        if self.has_fs:
            _run_e2fs("mkfs.ext4", "-q", "-d", os.path.dirname(data), raw, f"{size_mib}M")
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

    def xml(self):
        kind = "kvm" if self.accel == "kvm" else "qemu"
        boot = ""
        if self.boots:
            for name in ("vmlinuz", "initrd"):
                shutil.copy(os.path.join(BUILD, "guest", name), self.folder)
            boot = (f"<kernel>{self.folder}/vmlinuz</kernel><initrd>{self.folder}/initrd</initrd>"
                    f"<cmdline>console=ttyS0 quiet panic=1{' novasnap.fs' if self.has_fs else ''}"
                    "</cmdline>")
        channel = ("<controller type='virtio-serial' index='0'/><channel type='unix'>"
                   "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
                   if self.has_agent else "")
        return f"""<domain type='{kind}'><name>{self.name}</name><uuid>{self.uuid}</uuid>
<memory unit='MiB'>{128 if self.boots else 32}</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type>{boot}</os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='{self.format}' cache='none'/>
<source file='{self.disk}'/><target dev='vda' bus='virtio'/></disk>{self.extra}
<serial type='file'><source path='{self.serial}'/><target port='0'/></serial>
{channel}<memballoon model='none'/></devices></domain>"""

    def __enter__(self):
        path = os.path.join(self.folder, "domain.xml")
        with open(path, "w") as file:
            file.write(self.xml())
        try:
            virsh("define", path)
        except Exception:
            self.__exit__()  # it may be done late
            raise
        return self

    def __exit__(self, *_):
        virsh("destroy", self.name, check=False)
        virsh("undefine", self.name, "--managed-save", "--nvram", check=False)

    def start(self):
        virsh("start", self.name)

    def agent(self, command, seconds=10, **arguments):
        """What the guest agent answers to a command; RuntimeError where it does not."""
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        return json.loads(virsh("qemu-agent-command", self.name, "--timeout", str(seconds),
                                json.dumps(request)))["return"]

    def wait_agent(self, seconds=90):
        """Until the guest agent answers."""
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
        """Whether the guest agent answers just now."""
        try:
            self.agent("guest-ping", 1)
        except RuntimeError:
            return False
        return True

    def frozen(self):
        """Whether the guest's filesystems are frozen, as its agent says."""
        return self.agent("guest-fsfreeze-status") == "frozen"

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

    def condition(self):
        """Its state, or "saved"."""
        return "saved" if self.is_saved() else self.state()

    def set_condition(self, wanted):
        """Running, paused, saved or shut off, whatever it is now."""
        now = self.condition()
        if wanted == "shut off" and now != wanted:
            virsh(*(("managedsave-remove",) if now == "saved" else ("destroy",)), self.name)
        elif wanted != now and now in ("shut off", "saved"):
            self.start()
        elif wanted != now and now == "paused":
            virsh("resume", self.name)
        if wanted in ("saved", "paused") and self.condition() != wanted:
            virsh("managedsave" if wanted == "saved" else "suspend", self.name)

    def pid(self):
        """Of its QEMU; None: there is none."""
        try:
            with open(f"/run/libvirt/qemu/{self.name}.pid") as file:
                return int(file.read())
        except (FileNotFoundError, ValueError):
            return None

    def has_block_job(self, disk):
        """Also one that shows nowhere else, such as a merge."""
        return self.state() != "shut off" and virsh("blockjob", self.name, disk, "--raw") != ""


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


def _run_e2fs(program, *args, allowed=(0,)):
    """One of the programs of e2fsprogs, which may not be on the path of who is not root."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run([program, *args], env={**os.environ, "PATH": path, "LC_ALL": "C"},
                          capture_output=True, text=True, timeout=300)
    if done.returncode not in allowed:
        raise RuntimeError(f"{program} {' '.join(args)}: {done.returncode}: "
                           f"{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done


def filesystem_state(image, image_format):
    """Of the ext4 that is the whole of an image: (whether its journal needs to be replayed, whether it
    is clean then). The image is not changed."""
    with tempfile.TemporaryDirectory(prefix="novasnap-fs-", dir="/var/tmp") as folder:
        raw = os.path.join(folder, "raw")
        qemu_img("convert", "-U", "-f", image_format, "-O", "raw", image, raw)
        features = [line for line in _run_e2fs("dumpe2fs", "-h", raw).stdout.splitlines()
                    if line.startswith("Filesystem features:")]
        needs_replay = "needs_recovery" in features[0].split()
        # Without -f, what a mount does: it replays the journal and frees orphaned inodes. With -f it would
        # also mend what is broken, and a bad copy would be clean afterwards.
        mounted = _run_e2fs("e2fsck", "-p", raw, allowed=range(16))
        checked = _run_e2fs("e2fsck", "-fn", raw, allowed=range(16))
        return needs_replay, ": clean, " in mounted.stdout and checked.returncode == 0


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
