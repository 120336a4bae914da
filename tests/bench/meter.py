# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures what a process and its descendants use: CPU, memory, bytes written, and disk space in folders."""
import os
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except (OSError, ProcessLookupError):
        return ""


def children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task") if os.path.exists(f"/proc/{pid}/task") else []:
        found += [int(child) for child in read(f"/proc/{pid}/task/{task}/children").split()]
    return found + [deeper for child in found for deeper in children(child)]


def cpu(pid):
    """Returns the CPU seconds of a process, and of its children that have ended."""
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS if fields else 0


def written(pid):
    """Returns the bytes that a process, and its children that have ended, made dirty in the page cache or wrote
    directly. Shared memory counts too."""
    for line in read(f"/proc/{pid}/io").splitlines():
        if line.startswith("write_bytes"):
            return int(line.split()[1])
    return 0


def memory(pid):
    """Returns anonymous, PSS and RSS in MiB."""
    sizes = {}
    for line in read(f"/proc/{pid}/smaps_rollup").splitlines()[1:]:
        name, _, value = line.partition(":")
        sizes[name] = int(value.split()[0]) / 1024
    return tuple(sizes.get(name, 0) for name in ("Anonymous", "Pss", "Rss"))


def used(folders):
    """Returns the bytes of disk that the files in these folders take."""
    total = 0
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                try:
                    total += os.stat(os.path.join(place, name)).st_blocks * 512
                except OSError:
                    pass
    return total


class Meter(threading.Thread):
    """Watches a process with its children, other processes (QEMU's) and folders, while the block runs."""

    def __init__(self, pid, others=(), folders=(), pause=0.1):
        super().__init__(daemon=True)
        self.pause = pause
        self.pid, self.others, self.folders = pid, others, folders
        self.ended = threading.Event()
        self.first_cpu = cpu(pid)
        self.child_first = {process: cpu(process) for process in children(pid)}
        self.first = {process: written(process) for process in (pid, *others, *self.child_first)}
        self.last, self.child_cpu = dict(self.first), {}
        self.first_used, self.peak_used = used(folders), 0
        self.peak_memory = (0, 0, 0)

    def look(self):
        alive = children(self.pid)
        for process in (self.pid, *self.others, *alive):
            # A process that has ended by now has no figures.
            self.last[process] = max(written(process), self.last.get(process, 0))
        for process in alive:
            self.child_cpu[process] = max(cpu(process), self.child_cpu.get(process, 0))
            self.first.setdefault(process, 0)
        self.peak_used = max(self.peak_used, used(self.folders) - self.first_used)
        sizes = [memory(process) for process in (self.pid, *alive)]
        self.peak_memory = tuple(max(old, sum(column)) for old, column in
                                 zip(self.peak_memory, zip(*sizes)))

    def run(self):
        while not self.ended.wait(self.pause):
            self.look()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.look()
        self.ended.set()
        self.join(10)
        # The sum of a process has only those children that have ended.
        alive = set(children(self.pid))
        self.cpu = cpu(self.pid) - self.first_cpu + sum(
            seconds - self.child_first.get(process, 0)
            for process, seconds in self.child_cpu.items() if process in alive)
        self.written = sum(count - self.first[process] for process, count in self.last.items()
                           if process in (self.pid, *self.others) or process in alive)


def wait_quiet(seconds=2):
    """Waits until everything written before is on the disk, so that it does not slow the next measurement."""
    os.sync()
    time.sleep(seconds)
