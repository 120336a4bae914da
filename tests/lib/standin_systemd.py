# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stand-ins for systemd, which does not run where the tests do: the socket of its journal, and the socket to which a
service writes how it is."""
import array
import os
import socket
import struct
import threading
import time

# Puts the stand-in's folder where libsystemd looks for the journal, for one program.
IN_NAMESPACE = ["unshare", "-m", "sh", "-c", 'mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && '
                'mkdir /run/systemd/journal && mount --bind "$0" /run/systemd/journal && exec "$@"']


class _Datagrams:
    """A socket, and a thread that keeps what arrives."""

    def __init__(self, path):
        self.path = path
        self.received = []  # (time, what)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        os.chmod(path, 0o666)
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self):
        while True:
            data, more, _flags, _address = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
            for _level, _kind, fds in more:
                fd = array.array("i", fds)[0]
                with os.fdopen(fd, "rb") as file:  # what is too large for a datagram
                    file.seek(0)
                    data = file.read()
            self.received.append((time.monotonic(), self.parse(data)))

    def all(self):
        return [what for _time, what in self.received]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.unlink(self.path)


class JournalStandIn(_Datagrams):
    """The journal. Each entry is a dict of its fields."""

    def __init__(self, folder):
        self.folder = folder
        super().__init__(os.path.join(folder, "socket"))

    def run_as(self):
        return [*IN_NAMESPACE, self.folder]

    @staticmethod
    def parse(data):
        fields = {}
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                length = struct.unpack("<Q", data[:8])[0]
                value, data = data[8:8 + length], data[9 + length:]
            assert name.decode() not in fields, fields
            fields[name.decode()] = value.decode()
        return fields

    def entries(self, text):
        return [entry for entry in self.all() if text in entry["MESSAGE"]]


class NotifyStandIn(_Datagrams):
    """The socket of sd_notify. Each message is a dict of its assignments."""

    def environment(self, watchdog_s=None):
        return {"NOTIFY_SOCKET": self.path, **({"WATCHDOG_USEC": str(int(watchdog_s * 1e6))} if watchdog_s else {})}

    @staticmethod
    def parse(data):
        return dict(line.split("=", 1) for line in data.decode().split("\n") if line)

    def values(self, name):
        return [what[name] for what in self.all() if name in what]

    def times(self, name):
        return [at for at, what in self.received if name in what]
