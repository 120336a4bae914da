# SPDX-License-Identifier: LGPL-2.1-or-later
"""When an image becomes active, to a few milliseconds, and without a request to Glance, whose answer would take time that
the upload lacks: the kernel tells when Glance closes the image's file, and then Glance's database is asked."""
import ctypes
import os
import select
import sqlite3
import struct
import time

IN_CLOSE_WRITE = 0x8
PAUSE = 0.002  # seconds
EVENT = struct.Struct("iIII")

libc = ctypes.CDLL(None, use_errno=True)


def sqlite_status(path):
    """Returns a function that tells an image's status, for a Glance on SQLite."""
    def status(image):
        # A connection for each question holds no lock between two of them.
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        try:
            row = connection.execute("select status from images where id = ?", (image,)).fetchone()
        finally:
            connection.close()
        return row and row[0]
    return status


def mysql_status(port, password):
    """Returns a function that tells an image's status, for a Glance on MariaDB."""
    import pymysql  # only the control plane has it
    connection = pymysql.connect(host="127.0.0.1", port=port, user="e2e", password=password, database="glance",
                                 autocommit=True)

    def status(image):
        with connection.cursor() as cursor:
            cursor.execute("select status from images where id = %s", (image,))
            row = cursor.fetchone()
        return row and row[0]
    return status


class ActiveWatch:
    """Watches a folder in which Glance keeps images, from now until the end of the block."""

    def __init__(self, folder, status):
        self.folder, self.status = folder, status
        self.closed = set()
        self.fd = -1

    def __enter__(self):
        self.fd = libc.inotify_init1(os.O_CLOEXEC)
        if self.fd < 0 or libc.inotify_add_watch(self.fd, self.folder.encode(), IN_CLOSE_WRITE) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), self.folder)
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def _read(self, until):
        ready, _, _ = select.select([self.fd], [], [], max(0, until - time.monotonic()))
        data = os.read(self.fd, 65536) if ready else b""
        while data:
            length = EVENT.unpack_from(data)[3]
            self.closed.add(data[EVENT.size:EVENT.size + length].rstrip(b"\0").decode())
            data = data[EVENT.size + length:]

    def wait(self, images, seconds):
        """Waits until all the images are active. Returns the moment of each one, of time.monotonic()."""
        until = time.monotonic() + seconds
        left, moments = set(images), {}
        while left:
            if time.monotonic() >= until:
                raise RuntimeError(f"after {seconds} s not active: {', '.join(sorted(left))}")
            # While one that is closed is not active yet, no more than a short pause.
            asked = self.closed & left
            self._read(min(until, time.monotonic() + PAUSE) if asked else until)
            for image in self.closed & left:
                status = self.status(image)
                if status == "active":
                    moments[image] = time.monotonic()
                    left.discard(image)
                elif status not in ("queued", "saving"):
                    raise RuntimeError(f"image {image} is {status}")
        return moments
