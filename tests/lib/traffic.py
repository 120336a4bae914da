# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts the bytes that the network passes to and from processes and all that they start: exactly, also of short
connections and of those of the loopback. A program of the kernel (eBPF) on a control group of their own counts each
packet, with its IP header. Needs root."""
import contextlib
import ctypes
import os
import struct
import subprocess
from collections import namedtuple

MAP_CREATE, MAP_LOOKUP, PROG_LOAD, PROG_ATTACH = 0, 1, 5, 8
MAP_ARRAY, PROG_CGROUP_SKB, ALLOW_MULTI = 2, 8, 2
INCOMING, OUTGOING = 0, 1
_SYSCALL = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_libc = ctypes.CDLL(None, use_errno=True)

Bytes = namedtuple("Bytes", "received sent")


def _bpf(command, attributes):
    result = _libc.syscall(_SYSCALL, command, attributes, len(attributes))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"bpf() command {command}: {os.strerror(number)}")
    return result


def _instruction(code, destination=0, source=0, offset=0, value=0):
    return struct.pack("=BBhi", code, source << 4 | destination, offset, value)


def _program(counters, direction):
    """Adds the length of the packet to the counter of that direction, and lets the packet pass."""
    return b"".join((
        _instruction(0xbf, 6, 1),  # r6 = the packet
        _instruction(0x62, 10, offset=-4, value=direction),
        _instruction(0xbf, 2, 10), _instruction(0x07, 2, value=-4),  # r2 = the address of the key
        _instruction(0x18, 1, 1, value=counters), _instruction(0),  # r1 = the map
        _instruction(0x85, value=1),  # r0 = the address of the counter
        _instruction(0x15, offset=2),  # none: over the next two
        _instruction(0x61, 1, 6),  # r1 = the packet's length
        _instruction(0xdb, 0, 1),  # atomically: *r0 += r1
        _instruction(0xb7, value=1), _instruction(0x95)))  # return 1


class Traffic:
    def __init__(self, folder, name="traffic"):
        self.mount, self.group = folder.make(name), None
        self.files = []

    def __enter__(self):
        subprocess.run(["mount", "-t", "cgroup2", "none", self.mount], check=True, timeout=60)
        self.group = os.path.join(self.mount, f"novasnap-test-{os.getpid()}")
        os.mkdir(self.group)
        self.counters = self._keep(_bpf(MAP_CREATE, struct.pack("=4I", MAP_ARRAY, 4, 8, 2)))
        place = self._keep(os.open(self.group, os.O_RDONLY))
        for direction in (INCOMING, OUTGOING):
            code = ctypes.create_string_buffer(_program(self.counters, direction))
            terms = ctypes.create_string_buffer(b"GPL")
            program = self._keep(_bpf(PROG_LOAD, struct.pack(
                "=IIQQIIQII16sII", PROG_CGROUP_SKB, (len(code) - 1) // 8, ctypes.addressof(code),
                ctypes.addressof(terms), 0, 0, 0, 0, 0, b"", 0, direction)))
            _bpf(PROG_ATTACH, struct.pack("=4I", place, program, direction, ALLOW_MULTI))
        return self

    def _keep(self, file):
        self.files.append(file)
        return file

    def add(self, pid):
        """Counts a process from now on, with what it starts from now on. The connections that it has are not counted."""
        with open(os.path.join(self.group, "cgroup.procs"), "w") as file:
            file.write(str(pid))

    def read(self):
        """Returns the Bytes that were counted so far."""
        counts = []
        for direction in Bytes._fields:
            key = ctypes.c_uint32(Bytes._fields.index(direction))
            value = ctypes.c_uint64()
            _bpf(MAP_LOOKUP, struct.pack("=IIQQQ", self.counters, 0, ctypes.addressof(key), ctypes.addressof(value), 0))
            counts.append(value.value)
        return Bytes(*counts)

    def __exit__(self, *_):
        # A group that has processes cannot be removed.
        with open(os.path.join(self.group, "cgroup.procs")) as file:
            for pid in file.read().split():
                with contextlib.suppress(OSError), open(os.path.join(self.mount, "cgroup.procs"), "w") as out:
                    out.write(pid)
        os.rmdir(self.group)
        for file in self.files:
            os.close(file)
        subprocess.run(["umount", self.mount], check=True, timeout=60)
