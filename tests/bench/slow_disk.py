# SPDX-License-Identifier: LGPL-2.1-or-later
"""Uploads a fragmented disk whose storage takes 5 ms for each request, and for comparison the finished image with curl.
The disk is read directly from nbdkit, and through qemu-nbd, which works on 16 requests at a time as QEMU does."""
import contextlib
import os
import subprocess
import time

from meter import Meter, wait_quiet
from paths import BUILD
from process import end, spawn

READ_NBD = os.path.join(BUILD, "tests/bench/read-nbd")
FRAGMENT = 64 << 10
DATA = 1 << 30
DELAY_MS = 5
LIMIT_S = 300


def make_disk(path):
    """Random data and holes alternate."""
    with open(path, "wb") as file:
        for offset in range(0, 2 * DATA, 2 * FRAGMENT):
            file.seek(offset)
            file.write(os.urandom(FRAGMENT))
        file.truncate(2 * DATA)


@contextlib.contextmanager
def serve(argv, socket, log):
    process = spawn(argv, log)
    try:
        deadline = time.monotonic() + 20
        while not os.path.exists(socket):
            assert process.poll() is None and time.monotonic() < deadline, f"{argv[0]} does not serve; see {log}"
            time.sleep(0.05)
        yield process
    finally:
        end(process, 10)


class SlowDisk:
    def __init__(self, folder, glance):
        self.folder, self.glance = folder, glance
        self.disk, self.finished = folder.file("fragmented.raw"), folder.file("finished.qcow2")

    def upload(self, socket):
        image = self.glance.create("slow disk", disk_format="qcow2", container_format="bare")
        wait_quiet()
        process = subprocess.Popen([READ_NBD, socket, "qcow2", self.glance.url, image], stdout=subprocess.PIPE,
                                   text=True)
        with Meter(process.pid) as meter:
            shown, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, shown
        if not os.path.exists(self.finished):
            subprocess.run(["cp", self.glance.file(image), self.finished], check=True)
            subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", self.disk, self.finished], check=True,
                           stdout=subprocess.DEVNULL, timeout=LIMIT_S)
        self.glance.delete(image)
        return {"wall": float(shown.split()[0]), "anonymous": meter.peak_memory[0]}

    def curl(self):
        image = self.glance.create("curl", disk_format="qcow2", container_format="bare")
        wait_quiet()
        began = time.monotonic()
        subprocess.run(["curl", "-sSf", "-T", self.finished, "-H", "Content-Type: application/octet-stream",
                        f"{self.glance.url}/v2/images/{image}/file"], check=True, timeout=LIMIT_S)
        wall = time.monotonic() - began
        self.glance.delete(image)
        return {"wall": wall}

    def run(self, rounds, say):
        make_disk(self.disk)
        slow, relayed, log = (self.folder.file(name) for name in ("slow", "relayed", "servers.log"))
        nbdkit = ["nbdkit", "--foreground", "--readonly", "--unix", slow, "--threads", "64", "--filter", "delay",
                  "file", self.disk, f"rdelay={DELAY_MS}ms"]
        qemu_nbd = ["qemu-nbd", "--read-only", "--persistent", "--socket", relayed, "--image-opts",
                    f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={slow}"]
        results = []
        with serve(nbdkit, slow, log), serve(qemu_nbd, relayed, log):
            self.upload(slow)  # not counted: it makes the finished image
            for _ in range(rounds):
                for who, measure in (("curl", self.curl), ("nbdkit", lambda: self.upload(slow)),
                                     ("qemu-nbd", lambda: self.upload(relayed))):
                    results.append({"who": who, **measure()})
                    say(f"slow disk, {who}: {results[-1]['wall']:.2f} s")
        return results
