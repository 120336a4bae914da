# SPDX-License-Identifier: LGPL-2.1-or-later
"""Private services for tests and the demo: each on free ports of the loopback, in its own folder, ended
with the `with` block. What somebody else runs on the machine is left alone."""
import contextlib
import ctypes
import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CAST = os.path.join(TOP, "conf/casts/snapshot_instance.json")
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
_libc = ctypes.CDLL(None)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, process, what, log, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as s:
            s.settimeout(1)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    with open(log, errors="replace") as file:
        raise RuntimeError(f"{what} did not come up:\n{file.read()[-3000:]}")


def _die_with_parent():
    os.setsid()
    _libc.prctl(1, signal.SIGKILL)


def spawn(argv, log, env=None, cwd=None):
    """A process in a group of its own, which dies with us."""
    with open(log, "ab") as out:
        return subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                env={**os.environ, **(env or {})}, cwd=cwd,
                                preexec_fn=_die_with_parent)


def end(process, seconds=20, number=signal.SIGTERM):
    """Ends a process of ours and its group, and waits for it. Returns its exit status."""
    if process is None:
        return None
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return process.wait()


def running_in(groups):
    """The processes in these process groups: (pid, program) each."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{pid}/stat") as file:
                name, rest = file.read().split(" (", 1)[1].rsplit(") ", 1)
            state, _parent, group = rest.split()[:3]
            if int(group) in groups and state != "Z":
                yield int(pid), name


class Folder:
    """A temporary folder that QEMU's user can pass through."""

    def __init__(self, prefix="novasnap-test-"):
        self.path = tempfile.mkdtemp(prefix=prefix, dir="/var/tmp")
        os.chmod(self.path, 0o755)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def make(self, name, mode=0o755):
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        return path

    def file(self, name):
        return os.path.join(self.path, name)


class Broker:
    """A RabbitMQ of one's own, with an epmd of its own."""

    own = True

    def __init__(self, folder, tls=None):
        """`tls`: (CA, certificate, key): a second port speaks TLS, and wants a client's certificate."""
        self.folder = folder.make("rabbit")
        self.log = os.path.join(self.folder, "rabbit.log")
        self.port, self.dist, self.epmd = free_port(), free_port(), free_port()
        self.node = f"t{uuid.uuid4().hex[:8]}@localhost"
        self.process = None
        self.tls_port = free_port() if tls else None
        if tls:
            with open(os.path.join(self.folder, "rabbitmq.conf"), "w") as file:
                file.write(f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
                           "ssl_options.verify = verify_peer\n"
                           "ssl_options.fail_if_no_peer_cert = true\n")
                for key, path in zip(("cacertfile", "certfile", "keyfile"), tls):
                    file.write(f"ssl_options.{key} = {path}\n")
        shutil.chown(self.folder, "rabbitmq", "rabbitmq")
        self.env = {
            "HOME": self.folder,
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist),
            "RABBITMQ_MNESIA_BASE": self.folder,
            "RABBITMQ_LOG_BASE": self.folder,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": os.path.join(self.folder, "plugins"),
            "RABBITMQ_CONFIG_FILE": os.path.join(self.folder, "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": os.path.join(self.folder, "none"),
            "RABBITMQ_PID_FILE": os.path.join(self.folder, "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    @property
    def url(self):
        return f"rabbit://guest:guest@127.0.0.1:{self.port}/"

    def start(self, wait=True):
        # The server's script starts an epmd when there is none; this one ends with us.
        self.epmd_process = spawn(["epmd", "-port", str(self.epmd), "-address", "127.0.0.1"],
                                  self.log)
        self.process = spawn(["/usr/lib/rabbitmq/bin/rabbitmq-server"], self.log, self.env)
        if wait:
            self.wait()

    def wait(self):
        wait_port(self.port, self.process, "RabbitMQ", self.log)

    def stop(self):
        end(self.process, 30)
        end(self.epmd_process)
        self.process = None

    def kill(self):
        """As a host that loses its power; it may be started again."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)
        end(self.epmd_process)

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def ctl(self, *args):
        return subprocess.run(["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "-n", self.node, *args],
                              env={**os.environ, **self.env}, check=True, timeout=60,
                              capture_output=True, text=True).stdout

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()


class GivenBroker:
    """A RabbitMQ that somebody else runs: it is used, and neither started nor ended."""

    own = False
    log = os.devnull

    def __init__(self, url):
        self.url = url

    def start(self, wait=True):
        pass

    def wait(self):
        pass

    def stop(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def broker_for_tests(folder):
    """For tests that merely need a broker: the one of NOVASNAP_TEST_AMQP_URL, else one of our own."""
    url = os.environ.get("NOVASNAP_TEST_AMQP_URL")
    return GivenBroker(url) if url else Broker(folder)


def begin(stack, *services):
    """Starts them side by side, each to be stopped with the stack; their wait() is the caller's."""
    for service in services:
        stack.callback(service.stop)
    for service in services:
        service.start(wait=False)


class Glance:
    """A Glance of one's own, on SQLite, without Keystone."""

    def __init__(self, folder, port=None, size_cap=None):
        self.folder = folder.make("glance")
        self.images = os.path.join(self.folder, "images")
        self.log = os.path.join(self.folder, "glance.log")
        self.conf = os.path.join(self.folder, "glance-api.conf")
        self.port = port or free_port()
        self.process = None
        os.makedirs(self.images, exist_ok=True)
        cap = f"image_size_cap = {size_cap}\n" if size_cap else ""
        with open(self.conf, "w") as file:
            file.write(f"""[DEFAULT]
bind_host = 127.0.0.1
bind_port = {self.port}
workers = 0
enabled_backends = file:file
{cap}[database]
connection = sqlite:///{self.folder}/glance.sqlite?timeout=60
[glance_store]
default_backend = file
[file]
filesystem_store_datadir = {self.images}
[paste_deploy]
config_file = /etc/glance/glance-api-paste.ini
[oslo_concurrency]
lock_path = {self.folder}
""")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, wait=True):
        self.process = spawn(["/bin/sh", "-c",
                              f"glance-manage --config-file {self.conf} db_sync && "
                              f"exec glance-api --config-file {self.conf}"], self.log)
        if wait:
            self.wait()

    def wait(self):
        wait_port(self.port, self.process, "Glance", self.log)

    def stop(self):
        end(self.process, 10)
        self.process = None

    def request(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(f"{self.url}{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode())
        request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def create(self, name="test image"):
        return self.request("POST", "/v2/images", {"name": name})["id"]

    def get(self, image):
        """The record, None where there is no such image."""
        try:
            return self.request("GET", f"/v2/images/{image}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def put(self, image, data):
        request = urllib.request.Request(f"{self.url}/v2/images/{image}/file", method="PUT",
                                         data=data)
        request.add_header("Content-Type", "application/octet-stream")
        urllib.request.urlopen(request, timeout=60).close()

    def file(self, image):
        return os.path.join(self.images, image)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()


class Libvirt:
    """libvirtd and virtlogd: somebody else's where they run, else those of our test runs: the first starts them,
    and the last one that uses them ends them."""
    LOCK = "/run/lock/novasnap-tests-libvirt"
    SOCKETS = {"virtlogd": "/run/libvirt/virtlogd-sock", "libvirtd": "/run/libvirt/libvirt-sock"}

    def __init__(self, folder):
        self.users = None
        self.log = folder.file("libvirtd.log")
        self.no_kvm = folder.file("no-kvm")
        self.qemu_conf = folder.file("qemu.conf")

    def _command(self, program):
        """Guests get no /dev of their own, which a changed root or a hidden device would upset. And libvirtd
        finds KVM when it probes QEMU, but then that QEMU's own user may not use it: it probes anew at each
        question, for seconds. There it is not to find it."""
        if program != "libvirtd":
            return [f"/usr/sbin/{program}"]
        for path, text in ((self.no_kvm, ""), (self.qemu_conf, "namespaces = []\n")):
            with open(path, "w") as file:
                os.chmod(file.fileno(), 0o600)
                file.write(text)
        hide = os.path.exists("/dev/kvm") and not qemu_may_use_kvm()
        return ["unshare", "--mount", "--propagation", "slave", "sh", "-c",
                'mount --bind "$0" /etc/libvirt/qemu.conf && ' +
                ('mount --bind "$1" /dev/kvm && ' if hide else "") + "exec /usr/sbin/libvirtd",
                self.qemu_conf, self.no_kvm]

    @contextlib.contextmanager
    def _alone(self):
        """While they are started or ended. The file has the pids of those that we started."""
        with open(f"{self.LOCK}-pids", "a+") as pids:
            fcntl.flock(pids, fcntl.LOCK_EX)
            yield pids

    def __enter__(self):
        self.users = open(self.LOCK, "a")
        with self._alone() as pids:
            for program, path in self.SOCKETS.items():
                self._start(program, path, pids)
            fcntl.flock(self.users, fcntl.LOCK_SH)
        return self

    @staticmethod
    def _answers(path):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(path) == 0

    def _start(self, program, path, pids):
        if self._answers(path):
            return
        with open(self.log, "ab") as out:
            process = subprocess.Popen(self._command(program), stdout=out, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, start_new_session=True)
        pids.write(f"{program} {process.pid}\n")
        pids.flush()
        for _ in range(300):
            if self._answers(path):
                return
            time.sleep(0.1)
        raise RuntimeError(f"{program} did not come up; see {self.log}")

    def __exit__(self, *_):
        with self._alone() as pids:
            fcntl.flock(self.users, fcntl.LOCK_UN)
            try:
                fcntl.flock(self.users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            finally:
                self.users.close()
            pids.seek(0)
            for line in reversed(pids.read().splitlines()):
                _end_program(*line.split())
            pids.truncate(0)


def _end_program(program, pid, seconds=20):
    """Of another run perhaps, so that it is not ours to wait for."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(int(pid), os.WNOHANG)
        try:
            with open(f"/proc/{pid}/stat") as file:
                name, state = file.read().split("(")[1].split(") ")
        except FileNotFoundError:
            return
        if name != program or state[0] == "Z":
            return
        os.kill(int(pid), signal.SIGTERM)
        time.sleep(0.2)
    os.kill(int(pid), signal.SIGKILL)


class Agent:
    """novasnapd with a configuration of its own, and novasnap with the same. `base`: a configuration that is
    read before it, and says all but what is in `sections`."""

    def __init__(self, folder, broker_url=None, glance=None, images=None, name="agent", host=None,
                 retries=3, base=None,
                 **sections):
        self.folder = folder.make(name)
        self.host = host or f"h{uuid.uuid4().hex[:8]}"
        self.log = os.path.join(self.folder, "novasnapd.log")
        self.conf = os.path.join(self.folder, "novasnap.conf")
        self.snapshots = os.path.join(self.folder, "snapshots")
        self.state = os.path.join(self.folder, "state")
        self.images = images
        self.process, self.lives = None, set()
        self.programs, self.run_as = BUILD, []
        os.makedirs(self.snapshots, mode=0o755, exist_ok=True)
        config = {
            "DEFAULT": {"transport_url": broker_url, "host": self.host, "debug": "true"},
            "oslo_messaging_notifications": {"driver": "messagingv2"},
            "notifications": {"notification_format": "both"},
            "libvirt": {"snapshots_directory": self.snapshots},
            "novasnap": {"state_dir": self.state, "run_dir": os.path.join(self.folder, "run"),
                         "control": "none"},
        }
        if base:
            del config["novasnap"]["control"]
            config = {"DEFAULT": {"debug": "true"}, "novasnap": config["novasnap"]}
        elif glance:
            config["glance"] = {"api_servers": glance, "num_retries": str(retries)}
        else:
            config["novasnap"].update(images="directory", images_dir=images)
        for section, keys in sections.items():
            config.setdefault(section, {}).update(keys)
        self.files = [*(["--config-file", base] if base else []), "--config-file", self.conf]
        with open(self.conf, "w") as file:
            for section, keys in config.items():
                file.write(f"[{section}]\n")
                file.writelines(f"{key} = {value}\n" for key, value in keys.items())

    def start(self, env=None):
        self.process = spawn([*self.run_as, os.path.join(self.programs, "novasnapd"), *self.files],
                             self.log, env)
        self.lives.add(self.process.pid)
        end_at = time.monotonic() + 60
        while " ready after " not in self.text():
            if self.process.poll() is not None or time.monotonic() > end_at:
                raise RuntimeError(f"novasnapd did not come up:\n{self.text()[-3000:]}")
            time.sleep(0.02)

    def text(self):
        try:
            with open(self.log, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def stop(self):
        status = end(self.process, 90)
        self.process = None
        return status

    def left(self):
        """What is in the folders that are empty when nothing is under way, and the programs that its lives started."""
        files = [os.path.join(folder, name)
                 for folder in (self.snapshots, os.path.join(self.folder, "run"), os.path.join(self.state, "scratch"))
                 if os.path.isdir(folder) for name in os.listdir(folder)]
        if self.images and os.path.isdir(self.images):
            files += [os.path.join(self.images, name) for name in os.listdir(self.images) if name.endswith(".part")]
        return files + [f"{name}, process {pid}" for pid, name in running_in(self.lives) if pid not in self.lives]

    def command(self, *args, check=True, seconds=180, text=None):
        return subprocess.run([*self.run_as, os.path.join(self.programs, "novasnap"), *self.files, *args],
                              check=check, capture_output=True, text=True, timeout=seconds,
                              input=text)

    def shown(self, what):
        """The journal's line on the cast of an image (or of an instance, of which there is one), "" where there is
        none."""
        return "".join(line for line in self.command("jobs", check=False).stdout.split("\n") if what in line)

    def has_ended(self, what):
        """The job of an image or an instance; also whatever it left."""
        shown = self.shown(what)
        return shown and " open " not in shown and "rolled back" not in shown

    def snapshot(self, instance, *more):
        """Sends the recorded cast for an instance, and waits for the end of its snapshot. Returns (image
        id, what was shown, exit status)."""
        done = self.command("send", "snapshot_instance", "--file", CAST, "--instance", instance,
                            "--watch", "--timeout", "120", *more, check=False)
        return done.stdout.split("\n")[0], done.stdout, done.returncode

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        end(self.process, 90)


def qemu_may_use_kvm():
    """Whether guests may run under KVM here."""
    if not os.path.exists("/dev/kvm"):
        return False
    user = pwd.getpwuid(qemu_user()).pw_name
    return subprocess.run(["runuser", "-u", user, "--", "test", "-w", "/dev/kvm"], check=False,
                          capture_output=True, timeout=20).returncode == 0


def qemu_user():
    try:
        return pwd.getpwnam("libvirt-qemu").pw_uid
    except KeyError:
        return 0
