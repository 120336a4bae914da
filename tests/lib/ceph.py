# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private Ceph with cephx, of one monitor, one manager and one OSD on a sparse file: Ceph 16 on Debian 12, 18 on 13 and
20 on sid. It has the pools `vms` and `images`. Several of them run side by side."""
import contextlib
import functools
import glob
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import threading
import uuid

import tap
from process import PORTS, Started, end, free_port, spawn

POOLS = ("vms", "images")
_reserved = []
RANGE = 40  # ports for the OSD and the manager, which take 12, and others after a restart
# Of nova's and Glance's users, as Ceph's documentation for OpenStack has them.
NOVA_CAPS = {"mon": "profile rbd", "osd": "profile rbd pool=vms, profile rbd pool=images", "mgr": "profile rbd"}
GLANCE_CAPS = {"mon": "profile rbd", "osd": "profile rbd pool=images", "mgr": "profile rbd pool=images"}
# Nova's user as many deployments have it: it may not write to Glance's pool.
READ_ONLY_CAPS = {"mon": "profile rbd", "osd": "profile rbd pool=vms, profile rbd-read-only pool=images"}


@functools.cache
def has_tasks():
    """Returns whether the manager can load its module rbd_support. That of Debian 13, Ceph 18 with Python 3.13, cannot:
    the module imports bcrypt, which refuses to be imported in a subinterpreter."""
    done = subprocess.run(["ceph-mgr", "--version"], check=True, capture_output=True, text=True, timeout=60)
    return "ceph version 18." not in done.stdout


def free_range(count):
    """Returns the first of that many ports of the loopback that nobody listens on. Other tests do not get them."""
    while True:
        first = random.randrange(PORTS.start, PORTS.stop - count)
        with contextlib.ExitStack() as reserved:
            try:
                for port in range(first, first + count):
                    reserved.enter_context(socket.socket(socket.AF_UNIX)).bind(f"\0novasnap-test-port-{port}")
                    with socket.socket() as probe:
                        probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _reserved.append(reserved.pop_all())
            return first


def class_folder():
    """Returns where the OSD finds its classes. By default that is a relative path in Debian's Ceph 20."""
    return os.path.dirname(glob.glob("/usr/lib/*/rados-classes/libcls_rbd.so")[0])


class User:
    """A user of a cluster, with a keyring and a ceph.conf of its own."""

    def __init__(self, ceph, name, key):
        self.ceph, self.name, self.key = ceph, name, key
        self.secret = str(uuid.uuid4())  # in libvirt
        self.keyring = ceph.write(f"ceph.client.{name}.keyring", f"[client.{name}]\nkey = {key}\n", 0o600)
        self.conf = ceph.write(f"{name}.conf", ceph.client_conf() + f"[client.{name}]\nkeyring = {self.keyring}\n")

    def rbd(self, *args, check=True, seconds=60):
        return self.ceph.run("rbd", "-c", self.conf, "--id", self.name, *args, check=check, seconds=seconds)

    def define_secret(self, libvirt):
        """Gives the key to a libvirtd, as its secret `secret`."""
        path = self.ceph.write(f"secret-{self.secret}.xml",
                               f"<secret ephemeral='no' private='no'><uuid>{self.secret}</uuid><usage type='ceph'>"
                               f"<name>client.{self.name} {self.secret}</name></usage></secret>")
        libvirt.virsh("secret-define", path)
        libvirt.virsh("secret-set-value", self.secret, self.key)


class Ceph(Started):
    def __init__(self, folder, name="ceph", gigabytes=16):
        """`gigabytes`: of the OSD, in a sparse file."""
        self.folder, self.name = folder.make(name), name
        self.bytes = gigabytes << 30
        self.log = os.path.join(self.folder, "ceph.log")
        self.fsid = str(uuid.uuid4())
        self.mon_v2, self.mon_v1 = free_port(), free_port()
        self.first_port = free_range(RANGE)
        self.mon = self.mgr = self.osd = self.thread = self.failure = None
        self.users, self._caps = {}, {}
        for each in ("run", "mon", "mgr", "osd"):
            os.makedirs(os.path.join(self.folder, each), exist_ok=True)
        self.keys = {name: self._new_key() for name in ("mon.", "mgr.x", "osd.0", "client.admin")}
        self.daemon_conf = self.write("daemons.conf", self._daemon_conf())
        self.admin = User(self, "admin", self.keys["client.admin"])
        self.conf = self.admin.conf

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            os.chmod(path, mode)
            file.write(text)
        return path

    def _file(self, name):
        return os.path.join(self.folder, name)

    @property
    def ports(self):
        """Returns all ports that this cluster listens on: those of the monitor, and the range of the others."""
        return [self.mon_v1, self.mon_v2, *range(self.first_port, self.first_port + RANGE)]

    @property
    def osd_folder(self):
        """Returns where the OSD keeps all data."""
        return self._file("osd")

    def client_conf(self):
        """Returns what each ceph.conf has."""
        return f"""[global]
fsid = {self.fsid}
mon host = [v2:127.0.0.1:{self.mon_v2},v1:127.0.0.1:{self.mon_v1}]
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
"""

    def _daemon_conf(self):
        return self.client_conf() + f"""mon initial members = a
run dir = {self.folder}/run
admin socket = {self.folder}/run/$name.asok
log file = {self.folder}/$name.log
mon cluster log file = {self.folder}/cluster.log
mon data avail warn = 1
mon data avail crit = 0
crash dir = {self.folder}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind port min = {self.first_port}
ms bind port max = {self.first_port + RANGE - 1}
mon allow pool size one = true
mon allow pool delete = true
auth allow insecure global id reclaim = false
osd class dir = {class_folder()}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd memory target = 939524096
bluestore cache autotune = false
bluestore cache size = 67108864
bluestore block size = {self.bytes}
mgr stats period = 1
mgr initial modules =
[mon.a]
mon data = {self.folder}/mon
[mgr.x]
mgr data = {self.folder}/mgr
keyring = {self.folder}/mgr/keyring
[osd.0]
osd data = {self.folder}/osd
keyring = {self.folder}/osd/keyring
"""

    @staticmethod
    def _new_key():
        return subprocess.run(["ceph-authtool", "--gen-print-key"], check=True, capture_output=True, text=True,
                              timeout=60).stdout.strip()

    def _write_keyring(self, path, **caps_of):
        """Makes a keyring with these users, each with its capabilities."""
        self.run("ceph-authtool", "--create-keyring", self._file(path))
        for name, caps in caps_of.items():
            options = [word for service, cap in caps.items() for word in ("--cap", service, cap)]
            self.run("ceph-authtool", self._file(path), "--name", name, "--add-key", self.keys[name], *options)

    def run(self, *argv, check=True, seconds=60, text=True, data=None):
        """Returns the output of a command; or its CompletedProcess, if it may fail."""
        done = subprocess.run(argv, capture_output=True, check=False, timeout=seconds, text=text, input=data)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)} ended with status {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout if check else done

    def ceph(self, *args, check=True, seconds=60, data=None):
        return self.run("ceph", "-c", self.conf, "--connect-timeout", str(seconds), *args, check=check,
                        seconds=seconds + 10, data=data)

    def rbd(self, *args, check=True, seconds=120):
        """Runs the command rbd as the administrator. Returns its output; or a CompletedProcess, if it may fail."""
        return self.admin.rbd(*args, check=check, seconds=seconds)

    def _daemon(self, name):
        kind, number = name.split(".")
        return spawn([f"ceph-{kind}", "-f", "-i", number, "-c", self.daemon_conf], self.log)

    def _bring_up(self):
        """Makes the cluster, and starts its processes."""
        try:
            everything = {"mon": "allow *", "osd": "allow *", "mgr": "allow *", "mds": "allow *"}
            self._write_keyring("mgr/keyring", **{"mgr.x": {}})
            self._write_keyring("osd/keyring", **{"osd.0": {}})
            # The monitor takes over all users of this keyring.
            self._write_keyring("mon.keyring", **{
                "mon.": {"mon": "allow *"}, "client.admin": everything,
                **self._caps, "mgr.x": {"mon": "allow profile mgr", "osd": "allow *", "mds": "allow *"},
                "osd.0": {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"}})
            addresses = f"[v2:127.0.0.1:{self.mon_v2},v1:127.0.0.1:{self.mon_v1}]"
            self.run("monmaptool", "--create", "--addv", "a", addresses, "--fsid", self.fsid, self._file("monmap"))
            self.run("ceph-mon", "--mkfs", "-i", "a", "-c", self.daemon_conf, "--monmap", self._file("monmap"),
                     "--keyring", self._file("mon.keyring"))
            self.mon = self._daemon("mon.a")
            osd = str(uuid.uuid4())
            number = self.ceph("osd", "new", osd).strip()
            assert number == "0", number
            self.mgr = self._daemon("mgr.x")
            self.run("ceph-osd", "--mkfs", "-i", "0", "-c", self.daemon_conf, "--osd-uuid", osd)
            self.osd = self._daemon("osd.0")
            for pool in POOLS:
                self.ceph("osd", "pool", "create", pool, "8")
                self.rbd("pool", "init", pool)
        except Exception as error:  # for the thread that waits
            self.failure = error

    def start(self, wait=True):
        self.thread = threading.Thread(target=self._bring_up, daemon=True)
        self.thread.start()
        if wait:
            self.wait()

    def wait(self):
        """Waits until the pools can be used and the manager takes commands."""
        self.thread.join(180)
        if self.thread.is_alive() or self.failure:
            for name in ("mon.a", "mgr.x", "osd.0"):
                tap.show_tail(self._file(f"{name}.log"))
            with open(self.log, errors="replace") as file:
                raise RuntimeError(f"Ceph did not come up:\n{file.read()[-3000:]}") from self.failure
        self.wait_manager()

    def wait_manager(self):
        if has_tasks():
            tap.wait_for("Ceph's manager", lambda: self.ceph("rbd", "task", "list", check=False).returncode == 0, 240)
        else:
            tap.wait_for("Ceph's manager", lambda: self.ceph("pg", "stat", check=False).returncode == 0, 240)

    def stop(self):
        if self.thread:
            self.thread.join(180)
        # The OSD tells the monitor that it goes.
        for process in (self.osd, self.mgr, self.mon):
            end(process, 20)
        self.osd = self.mgr = self.mon = None

    def stop_osd(self):
        """Stops the OSD. Reads and writes wait from now on."""
        end(self.osd, 30)
        self.osd = None

    def start_osd(self):
        self.osd = self._daemon("osd.0")
        tap.wait_for("the OSD", lambda: json.loads(self.ceph("osd", "stat", "--format", "json"))["num_up_osds"] == 1, 60)

    def pause_osd(self):
        """Lets the OSD hang: it holds its connections, and answers nobody."""
        self.osd.send_signal(signal.SIGSTOP)

    def resume_osd(self):
        """Ends the pause with a new process: an OSD that was marked down meanwhile, or one group of its objects, may take
        minutes to come back by itself."""
        self.osd.send_signal(signal.SIGCONT)
        end(self.osd, 5)
        self.start_osd()

    def stop_manager(self):
        end(self.mgr, 20)
        self.mgr = None

    def start_manager(self):
        self.mgr = self._daemon("mgr.x")
        self.wait_manager()

    def user(self, name, caps):
        """Makes a user `client.NAME` with these capabilities: service -> capability. Returns a User. Before the start, the
        cluster will have it."""
        if self.thread:
            words = [word for pair in caps.items() for word in pair]
            key = json.loads(self.ceph("auth", "get-or-create", f"client.{name}", *words, "--format", "json"))[0]["key"]
        else:
            key = self.keys[f"client.{name}"] = self._new_key()
            self._caps[f"client.{name}"] = caps
        self.users[name] = User(self, name, key)
        return self.users[name]

    def set_caps(self, name, caps):
        self.ceph("auth", "caps", f"client.{name}", *(word for pair in caps.items() for word in pair))

    # Images.

    def create(self, pool, image, megabytes, *options):
        self.rbd("create", "--size", f"{megabytes}M", *options, f"{pool}/{image}")

    def images(self, pool):
        return json.loads(self.rbd("ls", "--format", "json", pool))

    def info(self, pool, image):
        """Returns what `rbd info` says about an image, or about a snapshot with IMAGE@SNAPSHOT."""
        return json.loads(self.rbd("info", "--format", "json", f"{pool}/{image}"))

    def snapshots(self, pool, image):
        """Returns the snapshots of an image, also those that wait in the trash for the end of their clones: name -> whether
        it is protected."""
        listed = json.loads(self.rbd("snap", "ls", "--all", "--format", "json", f"{pool}/{image}"))
        return {each["name"]: each.get("protected") in (True, "true") for each in listed}

    def children(self, pool, image):
        """Returns the clones of an image's snapshots, as POOL/IMAGE."""
        return [f"{each['pool']}/{each['image']}"
                for each in json.loads(self.rbd("children", "--all", "--format", "json", f"{pool}/{image}"))]

    def trash(self, pool):
        """Returns the names of the images in a pool's trash."""
        return [each["name"] for each in json.loads(self.rbd("trash", "ls", "--all", "--format", "json", pool))]

    def tasks(self):
        """Returns the tasks of the manager that have not ended."""
        return json.loads(self.ceph("rbd", "task", "list", "--format", "json")) if has_tasks() else []

    def write_image(self, pool, image, data, offset=0):
        """Writes into an image that exists."""
        path = self._file(f"data-{uuid.uuid4()}")
        with open(path, "wb") as file:
            file.write(data)
        try:
            self.run("qemu-io", "-f", "raw", "-c", f"write -q -s {path} {offset} {len(data)}", "-c", "flush",
                     f"rbd:{pool}/{image}:id=admin:conf={self.conf}")
        finally:
            os.remove(path)

    def discard_image(self, pool, image, offset, size):
        self.run("qemu-io", "-f", "raw", "-d", "unmap", "-c", f"discard -q {offset} {size}",
                 f"rbd:{pool}/{image}:id=admin:conf={self.conf}")

    def import_file(self, path, pool, image):
        self.rbd("import", "--no-progress", path, f"{pool}/{image}", seconds=600)

    def export_file(self, pool, image, path):
        self.rbd("export", "--no-progress", f"{pool}/{image}", path, seconds=600)

    @contextlib.contextmanager
    def _exporting(self, pool, image):
        argv = ["rbd", "-c", self.conf, "export", "--no-progress", f"{pool}/{image}", "-"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            yield process.stdout
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)} ended with status {process.returncode}")

    def read_image(self, pool, image):
        """Returns all data of an image, or of IMAGE@SNAPSHOT."""
        with self._exporting(pool, image) as stream:
            return stream.read()

    def hash_image(self, pool, image):
        """Returns the SHA-256 of all data of an image, or of IMAGE@SNAPSHOT, in hexadecimal."""
        digest = hashlib.sha256()
        with self._exporting(pool, image) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    # Faults and kinds of clusters.

    def set_quota(self, pool, size):
        """Limits the bytes of a pool; 0: no limit. Waits until a limit that is exceeded already is in force."""
        self.ceph("osd", "pool", "set-quota", pool, "max_bytes", str(size))
        used = self.used(pool)
        tap.wait_for(f"the quota of {pool}", lambda: self.is_full(pool) == (0 < size <= used), 60)

    def used(self, pool):
        """Returns the bytes that are stored in a pool, as the manager has counted them."""
        pools = json.loads(self.ceph("df", "--format", "json"))["pools"]
        return next(each["stats"]["bytes_used"] for each in pools if each["name"] == pool)

    def is_full(self, pool):
        pools = json.loads(self.ceph("osd", "dump", "--format", "json"))["pools"]
        return any(each["pool_name"] == pool and "full" in each["flags_names"] for each in pools)

    def min_compat_client(self, release):
        """Requires clients of that release or later: from "mimic" on, images are cloned without a protected snapshot."""
        self.ceph("osd", "set-require-min-compat-client", release, "--yes-i-really-mean-it")

    def location(self, pool, image, snap="snap"):
        """Returns the URL by which Glance knows an image."""
        return f"rbd://{self.fsid}/{pool}/{image}/{snap}"
