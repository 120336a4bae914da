# SPDX-License-Identifier: LGPL-2.1-or-later
"""A libvirtd of one's own, which may be killed and stopped: its folders are its own, others' guests are not its."""
import os
import signal
import socket
import time

import guest
from services import end, spawn

QEMU_CONF = 'namespaces = []\nstdio_handler = "file"\nsecurity_driver = "none"\n'
LIBVIRTD_CONF = 'auth_unix_rw = "none"\n'


class PrivateLibvirt:
    """While it runs, tests/lib/guest.py makes its guests there."""

    def __init__(self, folder):
        self.run, self.lib, self.definitions = (folder.make(f"libvirt/{name}") for name in ("run", "lib", "etc"))
        self.save = os.path.join(self.lib, "qemu/save")
        self.log, self.conf = folder.file("private-libvirtd.log"), folder.file("libvirtd.conf")
        self.qemu_conf = folder.file("private-qemu.conf")
        self.socket = os.path.join(self.run, "libvirt-sock")
        self.uri = f"qemu+unix:///system?socket={self.socket}"
        self.process = self.uri_before = None
        for path, text in ((self.conf, LIBVIRTD_CONF), (self.qemu_conf, QEMU_CONF)):
            with open(path, "w") as file:
                file.write(text)

    def start(self):
        self.process = spawn(
            ["unshare", "--mount", "sh", "-c",
             'mount --bind "$0" /etc/libvirt/qemu.conf && mount --bind "$1" /run/libvirt && '
             'mount --bind "$2" /var/lib/libvirt && mount --bind "$3" /etc/libvirt/qemu && '
             'exec /usr/sbin/libvirtd --config "$4" --pid-file "$1/private.pid"',
             self.qemu_conf, self.run, self.lib, self.definitions, self.conf], self.log)
        for _ in range(300):
            with socket.socket(socket.AF_UNIX) as s:
                if s.connect_ex(self.socket) == 0:
                    return
            time.sleep(0.1)
        with open(self.log, errors="replace") as file:
            raise RuntimeError(f"libvirtd did not come up:\n{file.read()[-2000:]}")

    def kill(self):
        """Its guests live on."""
        self.process.kill()
        self.process.wait(20)

    def signal(self, number):
        self.process.send_signal(number)

    def pid_of(self, one):
        with open(os.path.join(self.run, f"qemu/{one.name}.pid")) as file:
            return int(file.read())

    def __enter__(self):
        self.start()
        self.uri_before, guest.URI = guest.URI, self.uri
        return self

    def __exit__(self, *_):
        self.signal(signal.SIGCONT)
        end(self.process)
        guest.URI = self.uri_before
