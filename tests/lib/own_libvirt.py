# SPDX-License-Identifier: LGPL-2.1-or-later
"""A libvirtd beside all others, with places and a configuration of its own, that lets the group libvirt in, sees what
was mounted before it, and may be killed and stopped."""
import os
import signal
import socket

import tap
from services import end, qemu_may_use_kvm, spawn

PLACES = {"run": "/run/libvirt", "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt",
          "log": "/var/log/libvirt", "etc": "/etc/libvirt/qemu"}


class OwnLibvirt:
    """While it runs, tests/lib/guest.py makes its guests there."""

    def __init__(self, folder):
        self.folder = folder.make("libvirt")
        self.log = os.path.join(self.folder, "libvirtd.log")
        self.places = {name: folder.make(f"libvirt/{name}") for name in PLACES}
        self.run, self.save = self.places["run"], os.path.join(self.places["lib"], "qemu/save")
        self.socket = os.path.join(self.run, "libvirt-sock")
        self.uri = f"qemu+unix:///system?socket={self.socket}"
        self.process = None

    def _write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            os.chmod(path, 0o600)
            file.write(text)
        return path

    def _answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.socket) == 0

    def start(self):
        conf = self._write("libvirtd.conf", 'unix_sock_group = "libvirt"\nunix_sock_rw_perms = "0770"\n'
                           'auth_unix_rw = "none"\n')
        binds = {self._write("qemu.conf", 'namespaces = []\nstdio_handler = "file"\nsecurity_driver = "none"\n'):
                 "/etc/libvirt/qemu.conf",
                 **{self.places[name]: path for name, path in PLACES.items()}}
        if os.path.exists("/dev/kvm") and not qemu_may_use_kvm():
            binds[self._write("no-kvm", "")] = "/dev/kvm"
        script = "".join(f"mount --bind {source} {target} && " for source, target in binds.items())
        self.process = spawn(["unshare", "--mount", "sh", "-c",
                              f"{script}exec /usr/sbin/libvirtd --config {conf} "
                              f"--pid-file {self.folder}/libvirtd.pid"], self.log)
        tap.wait_for(f"libvirtd; see {self.log}", self._answers, 30, 0.1)

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
        os.environ["NOVASNAP_TEST_LIBVIRT_URI"] = self.uri
        return self

    def __exit__(self, *_):
        self.signal(signal.SIGCONT)
        end(self.process)
        del os.environ["NOVASNAP_TEST_LIBVIRT_URI"]
