# SPDX-License-Identifier: LGPL-2.1-or-later
"""A libvirtd beside all others, with places and a configuration of its own, that lets the group libvirt in."""
import os

from services import end, qemu_may_use_kvm, spawn

PLACES = {"run": "/run/libvirt", "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt",
          "log": "/var/log/libvirt", "etc": "/etc/libvirt/qemu"}


class OwnLibvirt:
    def __init__(self, folder):
        self.folder = folder.make("libvirt")
        self.log = os.path.join(self.folder, "libvirtd.log")
        self.places = {name: folder.make(f"libvirt/{name}") for name in PLACES}
        self.process = None

    @property
    def uri(self):
        return f"qemu+unix:///system?socket={self.places['run']}/libvirt-sock"

    def _write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            os.chmod(path, 0o600)
            file.write(text)
        return path

    def __enter__(self):
        conf = self._write("libvirtd.conf", 'unix_sock_group = "libvirt"\nunix_sock_rw_perms = "0770"\n'
                           'auth_unix_rw = "none"\n')
        binds = {self._write("qemu.conf", 'namespaces = []\nstdio_handler = "file"\n'):
                 "/etc/libvirt/qemu.conf",
                 **{self.places[name]: path for name, path in PLACES.items()}}
        if os.path.exists("/dev/kvm") and not qemu_may_use_kvm():
            binds[self._write("no-kvm", "")] = "/dev/kvm"
        script = "".join(f"mount --bind {source} {target} && " for source, target in binds.items())
        self.process = spawn(["unshare", "--mount", "sh", "-c",
                              f"{script}exec /usr/sbin/libvirtd --config {conf} "
                              f"--pid-file {self.folder}/libvirtd.pid"], self.log)
        os.environ["NOVASNAP_TEST_LIBVIRT_URI"] = self.uri
        return self

    def __exit__(self, *_):
        end(self.process)
        del os.environ["NOVASNAP_TEST_LIBVIRT_URI"]
