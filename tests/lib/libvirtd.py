# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private libvirtd with folders and a configuration of its own, beside a libvirtd that the machine may run. It lets
the group libvirt in, sees what was mounted before it, and may be killed and stopped."""
import contextlib
import glob
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import tap
from paths import BUILD
from process import end, spawn

# What it has of its own, and where it is bound in its mount namespace.
FOLDERS = {"run": "/run/libvirt", "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt",
           "log": "/var/log/libvirt", "etc": "/etc/libvirt/qemu", "secrets": "/etc/libvirt/secrets",
           "tpm-log": "/var/log/swtpm/libvirt"}
# What a libvirtd found out about this machine's QEMU, which takes seconds. libvirt checks whether it is out of date.
CAPABILITIES = os.path.join(BUILD, "libvirt-capabilities")


def qemu_user():
    try:
        return pwd.getpwnam("libvirt-qemu").pw_uid
    except KeyError:
        return 0


def qemu_may_use_kvm():
    """Returns whether guests may run under KVM here."""
    if not os.path.exists("/dev/kvm"):
        return False
    user = pwd.getpwuid(qemu_user()).pw_name
    return subprocess.run(["runuser", "-u", user, "--", "test", "-w", "/dev/kvm"], check=False,
                          capture_output=True, timeout=20).returncode == 0


def confidential_firmware():
    """Returns the descriptions of firmware for guests with encrypted memory. libvirt 12 chooses it also for other
    guests, which do not boot with it, and it keeps no variables."""
    for path in glob.glob("/usr/share/qemu/firmware/*.json"):
        with open(path) as file:
            if json.load(file)["mapping"]["device"] == "memory":
                yield path


class Libvirtd:
    def __init__(self, folder, name="libvirt", hostname=None):
        """`hostname`: what it takes for the machine's name."""
        self.folder, self.hostname = folder.make(name), hostname
        self.log = os.path.join(self.folder, "libvirtd.log")
        self.folders = {each: folder.make(f"{name}/{each}") for each in FOLDERS}
        self.run, self.save = self.folders["run"], os.path.join(self.folders["lib"], "qemu/save")
        self.socket = os.path.join(self.run, "libvirt-sock")
        self.uri = self.uri_of("qemu:///system")
        self.process = self.probe = None
        self.limits = ""  # lines of libvirtd.conf

    def uri_of(self, uri):
        """Returns the URI of one of its drivers, by its socket."""
        driver, path = uri.split("://")
        return f"{driver}+unix://{path}?socket={self.socket}"

    def virsh(self, *args, check=True, seconds=120, uri=None):
        done = subprocess.run(["virsh", "-q", "-c", uri or self.uri, *args], capture_output=True, text=True,
                              timeout=seconds, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"virsh {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def _write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            os.chmod(path, 0o600)
            file.write(text)
        return path

    def _answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.socket) == 0

    def start(self, wait=True):
        conf = self._write("libvirtd.conf", 'unix_sock_group = "libvirt"\nunix_sock_rw_perms = "0770"\n'
                           f'auth_unix_rw = "none"\n{self.limits}')
        # Guests get no /dev of their own, which a changed root or a hidden device would upset.
        # The control groups are the machine's, where another libvirtd may have a guest of the same name.
        binds = {self._write("qemu.conf", 'namespaces = []\nstdio_handler = "file"\nsecurity_driver = "none"\n'
                             'cgroup_controllers = []\nswtpm_user = "root"\nswtpm_group = "root"\n'):
                 "/etc/libvirt/qemu.conf",
                 **{self.folders[name]: path for name, path in FOLDERS.items()}}
        # A KVM that QEMU's own user may not use is probed again at each question, for seconds.
        if os.path.exists("/dev/kvm") and not qemu_may_use_kvm():
            binds[self._write("no-kvm", "")] = "/dev/kvm"
        # libvirt takes an empty description for none.
        binds.update({self._write(os.path.basename(path), ""): path for path in confidential_firmware()})
        for path in FOLDERS.values():
            os.makedirs(path, exist_ok=True)
        self._load_capabilities()
        script = "".join(f"mount --bind {source} {target} && " for source, target in binds.items())
        if self.hostname:
            script += f"hostname {self.hostname} && "
        self.process = spawn(["unshare", "--mount", *(["--uts"] if self.hostname else []), "sh", "-c",
                              f"{script}exec /usr/sbin/libvirtd --config {conf} "
                              f"--pid-file {self.folder}/libvirtd.pid"], self.log)
        self.probe = threading.Thread(target=self._probe, daemon=True)
        self.probe.start()
        if wait:
            self.wait()

    def _probe(self):
        """Asks the first question, on which libvirtd probes QEMU. Other services may start meanwhile."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self._wait_socket()
            self.virsh("capabilities", check=False)
            self._save_capabilities()

    def _wait_socket(self):
        tap.wait_for(f"libvirtd; see {self.log}", self._answers, 30)

    def wait(self):
        self._wait_socket()
        self.probe.join(60)

    def _load_capabilities(self):
        os.makedirs(self.capabilities, exist_ok=True)
        for path in glob.glob(f"{CAPABILITIES}/*.xml"):
            shutil.copy2(path, self.capabilities)

    @property
    def capabilities(self):
        return os.path.join(self.folders["cache"], "qemu/capabilities")

    def _save_capabilities(self):
        """Replaces each file in one step, since other tests read them meanwhile."""
        os.makedirs(CAPABILITIES, exist_ok=True)
        for path in glob.glob(f"{self.capabilities}/*.xml"):
            kept = os.path.join(CAPABILITIES, os.path.basename(path))
            if not os.path.exists(kept) or os.path.getmtime(kept) < os.path.getmtime(path):
                with tempfile.NamedTemporaryFile(dir=CAPABILITIES, suffix=".new", delete=False) as new:
                    shutil.copy2(path, new.name)
                os.rename(new.name, kept)

    def kill(self):
        """Kills libvirtd. Its guests keep running."""
        self.process.kill()
        self.process.wait(20)

    def signal(self, number):
        self.process.send_signal(number)

    def pid_of(self, guest):
        """Returns the pid of a guest's QEMU, or None."""
        try:
            with open(os.path.join(self.run, f"qemu/{guest.name}.pid")) as file:
                return int(file.read())
        except (FileNotFoundError, ValueError):
            return None

    def stop(self):
        if self.process:
            self.signal(signal.SIGCONT)
        end(self.process)
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
