# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes, ports and temporary folders of the tests: how they are started, and how all of them are ended."""
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import namedtuple

PORTS = range(15000, 32768)  # below those that the kernel gives to outgoing connections
_reserved = []

Process = namedtuple("Process", "pid name state parent group session")


def processes():
    """Returns all processes of the machine."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{pid}/stat") as file:
                name, rest = file.read().split(" (", 1)[1].rsplit(") ", 1)
            state, *numbers = rest.split()[:4]
            yield Process(int(pid), name, state, *map(int, numbers))


def free_port():
    """Returns a free port of the loopback. Other tests do not get it until this process ends, because a socket of its
    name is bound in the abstract namespace."""
    while True:
        port = random.choice(PORTS)
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0novasnap-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        _reserved.append(reservation)
        return port


def wait_port(port, process, what, log, seconds=90):
    """Waits until a process accepts connections on a port. Raises RuntimeError with the end of its log if it does
    not."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as s:
            s.settimeout(1)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    with open(log, errors="replace") as file:
        raise RuntimeError(f"{what} did not come up:\n{file.read()[-3000:]}")


def spawn(argv, log, env=None, cwd=None):
    """Starts a process in a session and group of its own."""
    with open(log, "ab") as out:
        return subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True)


def end(process, seconds=20, number=signal.SIGTERM):
    """Ends a process of spawn() with its group, and waits for it. Returns its exit status."""
    if process is None:
        return None
    if process.poll() is None:
        process.send_signal(number)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def running_in(groups):
    """Returns the processes in these process groups: (pid, program) each."""
    return [(each.pid, each.name) for each in processes() if each.group in groups and each.state != "Z"]


def unmount_below(folder):
    """Unmounts everything that is mounted below a folder."""
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    for point in reversed(points):
        if point.startswith(folder + "/"):
            subprocess.run(["umount", "--lazy", point], check=False, timeout=60)


class Started:
    """A service that runs while its block does. It is also stopped when its start fails."""

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()


class Folder:
    """A temporary folder that QEMU's user can pass through. At its end everything that is mounted below it is
    unmounted."""

    def __init__(self, prefix="novasnap-test-"):
        self.path = tempfile.mkdtemp(prefix=prefix, dir="/var/tmp")
        os.chmod(self.path, 0o755)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        unmount_below(self.path)
        shutil.rmtree(self.path, ignore_errors=True)

    def make(self, name, mode=0o755):
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        return path

    def file(self, name):
        return os.path.join(self.path, name)
