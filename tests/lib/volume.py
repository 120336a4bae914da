# SPDX-License-Identifier: LGPL-2.1-or-later
"""A volume that Cinder keeps in files, as a guest's second disk: the files that its drivers make, and their data."""
import contextlib
import json
import os
import re
import shutil
import uuid

from images import MIB, qemu_img

# The files and the backing file of each; base and middle have data of their own. "fresh" is as Cinder makes it for a
# new snapshot of a volume that has only its base.
FILES = {"base": None, "middle": "base", "last": "middle", "fresh": "base"}
DATA_AT = {"base": 0, "middle": 4 * MIB}
DATA, SIZE = 2 * MIB, 16 * MIB


class Volume:
    def __init__(self, folder):
        self.id = str(uuid.uuid4())
        self.share, self.kept = folder.make("share", 0o777), folder.make("volume")
        self.renew()
        for name in ("base", "last"):
            qemu_img("convert", "-f", "qcow2", "-O", "qcow2", self.file(name), self.reference(name))

    def file(self, name):
        return os.path.join(self.share, name)

    def reference(self, name):
        """Returns a copy of the content of the volume with this file as the uppermost; base or last."""
        return os.path.join(self.kept, f"{name}.whole")

    def disk(self, name="base"):
        """Returns the element of a guest's definition with this file."""
        return (f"<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file="
                f"'{self.file(name)}'/><target dev='vdb' bus='virtio'/><serial>{self.id}</serial></disk>")

    def renew(self):
        """Makes all files as they were at first, and removes all others."""
        for name in set(os.listdir(self.share)) - set(FILES):
            os.remove(self.file(name))
        for name, below in FILES.items():
            kept = os.path.join(self.kept, name)
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.file(name))
            if not os.path.exists(kept):
                over = ("-F", "qcow2", "-b", self.file(below)) if below else ()
                qemu_img("create", "-q", "-f", "qcow2", *over, self.file(name), str(SIZE))
                if name in DATA_AT:
                    _write(self.file(name), DATA_AT[name])
                shutil.copy(self.file(name), kept)
            shutil.copy(kept, self.file(name))
            os.chmod(self.file(name), 0o666)

    def overlay(self, name, below):
        """Makes one more file over another, as Cinder's driver does."""
        qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self.file(below), self.file(name))
        os.chmod(self.file(name), 0o666)

    def define(self, guest, name):
        """Shuts the guest off and defines it with this file; all files are as they were at first."""
        guest.set_condition("shut off")
        self.renew()
        guest.define(guest.xml().replace(self.disk(), self.disk(name)))

    def chain(self, guest):
        """Returns the names of its files, the uppermost first. Both of the guest's definitions must have the same name
        there."""
        first = [re.search(rf"<source file='{self.share}/([^']*)'", guest.virsh("dumpxml", *more))[1]
                 for more in ((), ("--inactive",))]
        assert first[0] == first[1], first
        infos = json.loads(qemu_img("info", "-U", "-f", "qcow2", "--backing-chain", "--output=json",
                                    self.file(first[0])))
        return [os.path.basename(info["filename"]) for info in infos]


def without_volume(definition):
    return re.sub(r"<disk (?:(?!</disk>).)*<serial>.*?</disk>", "", definition, flags=re.S)


def _write(path, at):
    """Writes random data at an offset."""
    raw = path + ".raw"
    try:
        with open(raw, "wb") as file:
            file.truncate(SIZE)
            file.seek(at)
            file.write(os.urandom(DATA))
        qemu_img("convert", "-n", "--target-is-zero", "-f", "raw", "-O", "qcow2", raw, path)
    finally:
        os.remove(raw)
