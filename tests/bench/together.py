# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots without nova, each next to what it is compared with: several at once, and compressed ones."""
import contextlib
import os
import signal
import subprocess
import time

from active import ActiveWatch, sqlite_status
from environment import Environment
from meter import Meter, wait_quiet
import quiet_agent
import tap

SLOW = 300  # seconds
FIVE = 5
# Rounds of what is slow and compared with nothing.
FEW = 3


class Bench(Environment):
    services = ("broker", "glance", "libvirt")

    def start_quiet_agent(self, name, **sections):
        self.wait_services()
        return self.enter(quiet_agent.scheduled(self.make_agent(name, {**sections, "DEFAULT": quiet_agent.DEFAULT})))

    def watch(self):
        return ActiveWatch(self.glance.images, sqlite_status(os.path.join(self.glance.folder, "glance.sqlite")))

    @contextlib.contextmanager
    def held(self, agent, guests):
        """Sends a cast for each guest to an agent that is held meanwhile, so that the time of the programs that send
        them is not measured. The agent goes on when the block begins. Yields the images."""
        agent.process.send_signal(signal.SIGSTOP)
        try:
            images = [agent.command("send", "snapshot_instance", "--domain", guest.name).stdout.split()[0]
                      for guest in guests]
        finally:
            agent.process.send_signal(signal.SIGCONT)
        yield images

    def snapshots(self, agent, guests):
        """Takes a snapshot of each guest at once. Returns the images, the seconds until the last is active, and the
        meter."""
        wait_quiet()
        with self.watch() as watch, Meter(agent.process.pid, pause=0.5) as meter, self.held(agent, guests) as images:
            began = time.monotonic()
            wall = max(watch.wait(images, SLOW).values()) - began
            tap.wait_for("end of the snapshots", lambda: all(f"{image} is active: " in agent.text() for image in images),
                         SLOW, 0.1)
        return images, wall, meter

    def curls(self, files):
        """Uploads each file into an image of its own at once. Returns the seconds until the last is active."""
        images = [self.glance.create("curl", disk_format="qcow2", container_format="bare") for _ in files]
        wait_quiet()
        with self.watch() as watch:
            began = time.monotonic()
            running = [subprocess.Popen(["curl", "-sSf", "-T", file, "-H", "Content-Type: application/octet-stream",
                                         f"{self.glance.url}/v2/images/{image}/file"])
                       for file, image in zip(files, images)]
            wall = max(watch.wait(images, SLOW).values()) - began
        for process in running:
            assert process.wait(SLOW) == 0, process.args
        self.delete(images)
        return wall

    def delete(self, images):
        for image in images:
            self.glance.delete(image)


def in_turn(number, first, second):
    """Calls both, in an order that changes with each round."""
    for call in (first, second) if number % 2 == 0 else (second, first):
        call()


def bench_five(folder, rounds, say):
    """Five snapshots at once, next to five `curl -T` of the finished images at once."""
    with contextlib.ExitStack() as stack:
        env = Bench(folder, stack)
        guests = [env.make_guest(size_mib=4096, data_mib=512) for _ in range(FIVE)]
        for guest in guests:
            guest.start()
        agent = env.start_quiet_agent("five")
        # Not counted: it reads the disks into the page cache, and leaves images for curl.
        images, _, _ = env.snapshots(agent, guests)
        files = [folder.file(f"five-{number}") for number in range(FIVE)]
        for image, file in zip(images, files):
            subprocess.run(["cp", env.glance.file(image), file], check=True)
        env.delete(images)
        results = []

        def novasnap():
            images, wall, meter = env.snapshots(agent, guests)
            results.append({"who": "stream", "pair": number, "wall": wall, "cpu": meter.cpu,
                            "size": sum(map(os.path.getsize, map(env.glance.file, images)))})
            env.delete(images)

        def limit():
            results.append({"who": "curl", "pair": number, "wall": env.curls(files)})

        for number in range(rounds):
            in_turn(number, novasnap, limit)
            say(f"five at once, round {number + 1}: " +
                ", ".join(f"{entry['who']} {entry['wall']:.2f} s" for entry in results[-2:]))
        return results


def bench_compress(folder, rounds, say):
    """Compression, next to the same disk's snapshot without it."""
    with contextlib.ExitStack() as stack:
        env = Bench(folder, stack)
        guest = env.make_guest(size_mib=4096, data_mib=1024)
        on = {"snapshot_compression": "true"}
        kinds = {"plain": ({}, {}),
                 "zstd": (on, {"compression_type": "zstd"}),
                 "zlib": (on, {}),
                 "zlib, staged (`qemu-img convert -c`)": (on, {"cold_method": "extract"})}
        agents = {name: env.start_quiet_agent(name[:4], libvirt=libvirt, novasnap=ours)
                  for name, (libvirt, ours) in kinds.items()}
        results = []

        def take(name):
            images, wall, meter = env.snapshots(agents[name], [guest])
            size = env.glance.get(images[0])["size"]
            env.delete(images)
            results.append({"who": name, "pair": number, "wall": wall, "cpu": meter.cpu, "size": size,
                            "written": meter.written, "anonymous": meter.peak_memory[0]})
            say(f"compression {name}: {wall:.1f} s, {size >> 20} MiB, CPU {meter.cpu:.1f} s")

        number = -1
        take("plain")  # not counted
        results.clear()
        for number in range(rounds):
            in_turn(number, lambda: take("plain"), lambda: take("zstd"))
            if number < FEW:
                for name in list(kinds)[2:]:
                    take(name)
        return results
