# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests whose root disk is a block device, as with nova's images_type = lvm: a logical volume where the kernel has the
device mapper and LVM is installed, and otherwise a loop device. A loop device is no less a block device for libvirt,
QEMU and the kernel's counts of writes. What it lacks is lvremove, which fails while a volume is open: in its place the
kernel must detach the loop device, which it does when nobody has it open."""
import contextlib
import os
import shutil
import subprocess

import tap
from guest import Guest
from images import MIB

REMOVE_SECONDS = 5  # for so long lvremove waits for a volume that is open


def has_lvm():
    return bool(shutil.which("lvcreate")) and subprocess.run(
        ["dmsetup", "version"], capture_output=True, check=False, timeout=20).returncode == 0


def run(*argv, check=True):
    return subprocess.run(argv, check=check, capture_output=True, text=True, timeout=120).stdout.strip()


class LoopDevice:
    """The file as a block device. The kernel detaches it when the last user has closed it, so also when this process
    is killed."""

    def __init__(self, file):
        self.file, self.path, self._open = file, None, None

    def __enter__(self):
        self.path = run("losetup", "--find", "--show", self.file)
        self._open = os.open(self.path, os.O_RDONLY)
        run("losetup", "--detach", self.path)
        return self

    def is_attached(self):
        with contextlib.suppress(FileNotFoundError):
            with open(f"/sys/block/{os.path.basename(self.path)}/loop/backing_file") as file:
                return file.read().strip() == self.file
        return False

    def remove(self):
        """As lvremove: fails if it is open for longer than that waits."""
        self._close()
        tap.wait_for(f"detached {self.path}: somebody has it open", lambda: not self.is_attached(), REMOVE_SECONDS)

    def _close(self):
        if self._open is not None:
            os.close(self._open)
        self._open = None

    def __exit__(self, *_):
        self._close()


class LogicalVolume:
    """A logical volume with the file's data, in a volume group of its own on a loop device."""

    def __init__(self, file, name):
        self.file, self.group = file, f"novasnap-{name[:8]}"
        self.path = f"/dev/{self.group}/{name}_disk"
        self._physical = LoopDevice(f"{file}.pv")

    def __enter__(self):
        size = os.path.getsize(self.file)
        with open(self._physical.file, "wb") as file:
            file.truncate(size + 8 * MIB)
        self._physical.__enter__()
        try:
            run("vgcreate", "--yes", self.group, self._physical.path)
            run("lvcreate", "--yes", "--size", f"{size}b", "--name", os.path.basename(self.path), self.group)
            run("dd", f"if={self.file}", f"of={self.path}", "bs=1M", "conv=fsync", "status=none")
        except Exception:
            self.__exit__()
            raise
        return self

    def remove(self):
        run("lvremove", "-f", self.path)

    def __exit__(self, *_):
        run("vgremove", "--force", "--yes", self.group, check=False)
        self._physical.__exit__()


class BlockGuest(Guest):
    """A guest (see Guest) whose disk is a block device. `disk` is its path."""

    def __init__(self, libvirt, folder, **kind):
        super().__init__(libvirt, folder, disk="raw", base=False, **kind)
        self.volume = LogicalVolume(self.disk, self.uuid) if has_lvm() else LoopDevice(self.disk)

    def xml(self):
        return super().xml().replace("type='file' device='disk'", "type='block' device='disk'").replace(
            f"file='{self.disk}'", f"dev='{self.disk}'")

    def __enter__(self):
        self.volume.__enter__()
        self.disk = self.volume.path
        return super().__enter__()

    def __exit__(self, *what):
        super().__exit__(*what)
        self.volume.__exit__(*what)

    def users(self):
        """Returns the names of the programs that have the disk open, besides this one."""
        device, names = os.stat(self.disk).st_rdev, []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if int(pid) != os.getpid() and any(
                        os.stat(f"/proc/{pid}/fd/{number}").st_rdev == device
                        for number in os.listdir(f"/proc/{pid}/fd")):
                    with open(f"/proc/{pid}/comm") as file:
                        names.append(file.read().strip())
        return names

    def write(self, *how, megabyte=40, size="4096", source="/dev/urandom"):
        """Writes to the device, as another program than the guest. `how`: flags of dd's output."""
        run("dd", f"if={source}", f"of={self.disk}", f"bs={size}", "count=1", f"seek={megabyte * MIB}",
            f"oflag={','.join(['seek_bytes', *how])}", "conv=notrunc,nocreat", "status=none")

    def clear(self):
        """Overwrites the whole device with zeros, as nova does (nova.privsep.fs.clear)."""
        run("shred", "-n0", "-z", f"-s{os.path.getsize(self.volume.file)}", self.disk)
