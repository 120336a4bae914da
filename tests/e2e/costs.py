# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a snapshot costs the host and the guest: seconds, bytes of the network through the agent and its children, bytes
written locally, and for how long the guest did not run."""
import threading
import time

import libvirt

from meter import used, written

RUNNING = 1  # libvirt's
MIB = 1 << 20


class _Watch(threading.Thread):
    """Watches a guest's state and the largest size of folders."""

    def __init__(self, cloud, server):
        super().__init__(daemon=True)
        self.cloud, self.server = cloud, server
        self.folders = [cloud.libvirt.save]
        self.down = self.peak = 0
        self.ended = threading.Event()

    def run(self):
        libvirt.registerErrorHandler(lambda *_: None, None)
        connection = libvirt.openReadOnly(self.cloud.libvirt.uri)
        last = time.monotonic()
        while not self.ended.wait(0.01):
            now = time.monotonic()
            if not self._runs(connection):
                self.down += now - last
            last = now
            self.peak = max(self.peak, used(self.folders))
        connection.close()

    def _runs(self, connection):
        try:
            return connection.lookupByUUIDString(self.server).state()[0] == RUNNING
        except libvirt.libvirtError:
            return False


class Costs:
    """Measures from the start of the block to its end, and prints it. `pid`: of the agent, which `traffic` counts."""

    def __init__(self, what, cloud, traffic, pid, server):
        self.what, self.traffic, self.pid = what, traffic, pid
        self.watch = _Watch(cloud, server)

    def __enter__(self):
        self.watch.start()
        self.bytes, self.written = self.traffic.read(), written(self.pid)
        self.began = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.began
        self.watch.ended.set()
        self.watch.join(30)
        now = self.traffic.read()
        self.received, self.sent = now.received - self.bytes.received, now.sent - self.bytes.sent
        # libvirt and QEMU write the file of a saved guest.
        self.local = written(self.pid) - self.written + self.watch.peak
        self.down = self.watch.down
        print(f"# {self.what}: {self.seconds:.1f} s, network {self.received / MIB:.1f} MiB received and "
              f"{self.sent / MIB:.1f} MiB sent, local {self.local / MIB:.1f} MiB, guest not running for "
              f"{self.down:.2f} s", flush=True)
