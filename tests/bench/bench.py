#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures novasnap and nova-compute in turn, on one machine in one run, and what Glance can receive at most. Real
Nova, Keystone, Glance, RabbitMQ, libvirt and QEMU (the control plane of the end-to-end tests).
  bench.py [--rounds N] [--parts casts,upload,compress,memory,guest,slow,ceph] [--json FILE]"""
import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), part) for part in ("lib", "e2e")] + [HERE]
import supervisor  # noqa: E402
import tap  # noqa: E402
from agent import Agent  # noqa: E402
from broker import broker_for_tests  # noqa: E402
import ceph_disks  # noqa: E402
from cast_rates import CastRates  # noqa: E402
from cloud import Cloud  # noqa: E402
from environment import Environment  # noqa: E402
from guest import build_kernel  # noqa: E402
from images import qemu_img  # noqa: E402
from meter import Meter, memory, wait_quiet  # noqa: E402
from process import Folder  # noqa: E402
from slow_disk import SlowDisk  # noqa: E402

GIB = 1 << 30
SLOW = 300  # seconds


def say(text):
    print(f"# {time.strftime('%H:%M:%S')} {text}", flush=True)


class Uploads:
    def __init__(self, cloud, folder, rounds):
        self.cloud, self.folder, self.rounds = cloud, folder, rounds
        self.glance = cloud.connection().image
        self.results = []
        self.master = None  # a finished image, for curl

    def boot(self):
        cloud = self.cloud
        compute = cloud.connection().compute
        say("a base image of 2 GiB, half random and half text")
        large = self.make_base("large", 2048, "10G")
        small = self.make_base("small", 20, "100G")
        flavors = [compute.create_flavor(name=f"{disk}", ram=64, vcpus=1, disk=disk).id
                   for disk in (10, 100)]
        cloud.compute_start()
        say("servers: 10 GiB live and cold, 100 GiB live")
        servers = {**cloud.boot(["live", "cold"], large, flavors[0]),
                   **cloud.boot(["wide"], small, flavors[1])}
        cloud.act(servers["cold"], {"os-stop": None})
        tap.wait_for("stopped server", lambda: compute.get_server(servers["cold"]).status ==
                     "SHUTOFF", 60)
        cloud.compute_stop()
        return servers

    def make_base(self, name, mebibytes, virtual):
        raw, path = self.folder.file("base.raw"), self.folder.file("base.qcow2")
        with open(raw, "wb") as file:
            for number in range(mebibytes):
                file.write(os.urandom(1 << 20) if number % 2 == 0 else
                           (b"%08d a line of text\n" % number) * ((1 << 20) // 24))
        qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, path)
        qemu_img("resize", "-q", "-f", "qcow2", path, virtual)
        os.remove(raw)
        image = self.glance.create_image(name=name, filename=path, disk_format="qcow2",
                                         container_format="bare", wait=True)
        os.remove(path)
        return image.id

    def curl(self):
        """Measures the limit: Glance receives a finished image."""
        image = self.glance.post("/images", json={"name": "curl", "disk_format": "qcow2",
                                                  "container_format": "bare"}).json()["id"]
        wait_quiet()
        began = time.monotonic()
        subprocess.run(["curl", "-sSf", "-T", self.master, "-H", "Content-Type: application/octet-stream",
                        "-H", f"X-Auth-Token: {self.cloud.connection().auth_token}",
                        f"{self.cloud.url('glance')}/v2/images/{image}/file"], check=True,
                       timeout=SLOW)
        wall = time.monotonic() - began
        self.glance.delete_image(image)
        return wall

    def qemu_of(self, server):
        listed = subprocess.run(["pgrep", "-f", f"qemu-system.*{server}"], capture_output=True,
                                text=True, check=False).stdout.split()
        return [int(pid) for pid in listed]

    def snapshot(self, who, kind, server, pid, folders):
        wait_quiet()
        with Meter(pid, self.qemu_of(server), folders) as meter:
            began = time.monotonic()
            image = self.cloud.act(server, {"createImage": {"name": who, "metadata": {}}}).json()[
                "image_id"]
            record = self.wait_active(image)
            wall = time.monotonic() - began
            # What happens after the image is active is measured too, except for the time.
            tap.wait_for("end of the snapshot", lambda: self.cloud.get(f"/servers/{server}")[
                "server"]["OS-EXT-STS:task_state"] is None, SLOW, 0.1)
        path = os.path.join(self.cloud.images, image)
        qemu_img("check", "-f", "qcow2", path)
        if not self.master and kind == "live":
            self.master = self.folder.file("master.qcow2")
            subprocess.run(["cp", path, self.master], check=True)
        self.glance.delete_image(image)
        anonymous, pss, rss = meter.peak_memory
        self.results.append({
            "who": who, "kind": kind, "wall": wall, "size": record["size"], "cpu": meter.cpu,
            "written": meter.written, "peak_disk": meter.peak_used, "anonymous": anonymous,
            "pss": pss, "rss": rss})
        say(f"{who} {kind}: {wall:.2f} s, CPU {meter.cpu:.2f} s, written "
            f"{meter.written / record['size']:.3f} of {record['size'] >> 20} MiB, peak disk "
            f"{meter.peak_used >> 20} MiB, anonymous {anonymous:.1f} MiB")

    def wait_active(self, image):
        """Asks Glance only when the image's file has stopped growing, since each answer takes Glance ten milliseconds,
        which the upload would lack."""
        path = os.path.join(self.cloud.images, image)
        deadline = time.monotonic() + SLOW
        before, still = -1, 0
        while time.monotonic() < deadline:
            size = os.path.getsize(path) if os.path.exists(path) else -1
            still = still + 1 if size == before and size > 0 else 0
            before = size
            if still > 2:
                record = self.glance.get(f"/images/{image}").json()
                if record.get("status") == "active":
                    return record
                if record.get("status") not in ("queued", "saving"):
                    break
            time.sleep(0.03)
        raise RuntimeError(f"image {image} did not become active")

    def run(self):
        cloud, servers = self.cloud, self.boot()
        kinds = ("live", "cold", "wide")
        agents = {
            "stream": Agent(self.folder, base=cloud.nova_conf, name="stream", DEFAULT={"debug": "false"}),
            "rebase": Agent(self.folder, base=cloud.nova_conf, name="rebase", DEFAULT={"debug": "false"},
                            novasnap={"live_method": "rebase", "cold_method": "extract"}),
        }
        theirs = [os.path.join(cloud.instances, "snapshots")]
        ours = [*theirs, *(self.folder.file(name) for name in agents)]

        def measure(who, process, folders):
            """The first snapshot is not counted, because a program that has just started waits a second for its
            token."""
            counted = len(self.results)
            self.snapshot(who, "wide", servers["wide"], process.pid, folders)
            del self.results[counted:]
            for kind in kinds:
                self.snapshot(who, kind, servers[kind], process.pid, folders)

        # Not counted: the first to read a disk reads it into the page cache.
        agents["stream"].start()
        measure("stream", agents["stream"].process, ours)
        agents["stream"].stop()
        self.results.clear()
        for number in range(self.rounds):
            say(f"round {number + 1} of {self.rounds}")
            for name, agent in agents.items():
                agent.start()
                measure(name, agent.process, ours)
                agent.stop()
                if name == "stream":
                    wall = self.curl()
                    self.results.append({"who": "curl", "kind": "live", "wall": wall,
                                         "size": os.path.getsize(self.master)})
                    say(f"curl -T: {wall:.2f} s")
            cloud.compute_start()
            measure("nova-compute", cloud.compute, theirs)
            cloud.compute_stop()
        return self.results


def bench_upload(folder, rounds):
    with contextlib.ExitStack() as stack:
        cloud = stack.enter_context(Cloud(folder))
        return Uploads(cloud, folder, rounds).run()


class Bench(Environment):
    services = ("broker", "glance", "libvirt")

    def start_quiet_agent(self, name, **sections):
        """An agent without debug messages."""
        self.wait_services()
        return self.start_agent(name, {**sections, "DEFAULT": {"debug": "false"}})


def bench_memory(folder, _rounds):
    """Measures anonymous, PSS and RSS in MiB: idle, after 100 snapshots, and with five of 1 TiB under way."""
    with contextlib.ExitStack() as stack:
        env = Bench(folder, stack)
        guests = [env.make_guest(size_mib=1 << 20, data_mib=64, base=False) for _ in range(5)]
        small = env.make_guest(size_mib=64, data_mib=2)
        for guest in guests:
            guest.start()
        quick = env.start_quiet_agent("quick", novasnap={"scratch_percent": "1"})
        found = {"idle": memory(quick.process.pid)}
        for number in range(100):
            image, shown, status = quick.snapshot(small.uuid)
            assert status == 0, shown
            env.glance.delete(image)
        found["after 100"] = memory(quick.process.pid)
        say(f"memory {found}")
        with Meter(quick.process.pid) as meter:
            images = []
            for guest in guests:
                images.append(quick.command("send", "snapshot_instance", "--domain",
                                            guest.name).stdout.split()[0])
            tap.wait_for("end of all five", lambda: quick.text().count(" is active: ") == 105, SLOW,
                         0.5)
        found["five of 1 TiB"] = meter.peak_memory
        found["after all"] = memory(quick.process.pid)
        say(f"memory {found}")
        return found


def seconds_of(guest, offset):
    """Returns (writes, worst us) of each second that the guest has reported since."""
    with open(guest.serial, "rb") as file:
        lines = file.read()[offset:].decode(errors="replace").splitlines()
    found = [line.split() for line in lines if line.startswith("second:") and line.endswith("us")]
    return [(int(words[1]), int(words[4])) for words in found]


def bench_guest(folder, rounds):
    """Measures the rate and the worst stall of a guest that writes one block after the other: idle, and while a
    snapshot of its disk of 1 GiB is taken."""
    with contextlib.ExitStack() as stack:
        env = Bench(folder, stack)
        build_kernel()
        guest = env.make_guest(writer=True, size_mib=2048, data_mib=1024, base=False)
        methods = {"stream": {}, "rebase": {"live_method": "rebase"}}
        agents = {name: env.start_quiet_agent(name, novasnap=keys) for name, keys in methods.items()}
        guest.start()
        guest.wait_writing()
        results, finished = [], None
        for _ in range(rounds):
            for name in ("idle", *agents, *(["curl"] if finished else [])):
                wait_quiet()
                offset = os.path.getsize(guest.serial)
                began = time.monotonic()
                if name == "idle":
                    time.sleep(8)
                elif name == "curl":
                    # What it costs the guest to share two cores with Glance, whichever program uploads.
                    image = env.glance.create("x", disk_format="qcow2", container_format="bare")
                    subprocess.run(["curl", "-sSf", "-T", finished, "-H",
                                    "Content-Type: application/octet-stream",
                                    f"{env.glance.url}/v2/images/{image}/file"], check=True, timeout=SLOW)
                    env.glance.delete(image)
                else:
                    image, shown, status = agents[name].snapshot(guest.uuid)
                    assert status == 0, shown
                    if not finished:
                        finished = folder.file("finished.qcow2")
                        subprocess.run(["cp", env.glance.file(image), finished], check=True)
                    env.glance.delete(image)
                wall = time.monotonic() - began
                told = seconds_of(guest, offset)
                # What QEMU does for the method before the upload counts too.
                results.append({"who": name, "wall": wall, "seconds": told,
                                "rate": statistics.mean(count for count, _ in told) if told else 0,
                                "worst": max((worst for _, worst in told), default=0) / 1e6})
                say(f"guest, {name}: {results[-1]['rate']:.0f} writes a second, worst "
                    f"{results[-1]['worst']:.3f} s, in {wall:.1f} s")
        return results


def bench_compress(folder, rounds):
    with contextlib.ExitStack() as stack:
        env = Bench(folder, stack)
        guest = env.make_guest(size_mib=4096, data_mib=1024)
        kinds = {"plain": ({}, {}),
                 "zlib": ({"snapshot_compression": "true"}, {}),
                 "zstd": ({"snapshot_compression": "true"}, {"compression_type": "zstd"}),
                 "zlib, staged (`qemu-img convert -c`)": ({"snapshot_compression": "true"},
                                                          {"cold_method": "extract"})}
        agents = {name: env.start_quiet_agent(name[:4], libvirt=libvirt, novasnap=ours)
                  for name, (libvirt, ours) in kinds.items()}
        results = []
        for _ in range(min(rounds, 3)):
            for name, agent in agents.items():
                wait_quiet()
                with Meter(agent.process.pid) as meter:
                    began = time.monotonic()
                    image, shown, status = agent.snapshot(guest.uuid)
                    wall = time.monotonic() - began
                assert status == 0, shown
                size = env.glance.get(image)["size"]
                env.glance.delete(image)
                results.append({"who": name, "wall": wall, "cpu": meter.cpu, "size": size,
                                "written": meter.written, "anonymous": meter.peak_memory[0]})
                say(f"compression {name}: {wall:.1f} s, {size >> 20} MiB, CPU {meter.cpu:.1f} s")
        return results


class GlanceOnly(Environment):
    services = ("glance",)


def bench_slow(folder, rounds):
    """A disk on storage with a high latency."""
    with contextlib.ExitStack() as stack:
        env = GlanceOnly(folder, stack)
        env.wait_services()
        return SlowDisk(folder, env.glance).run(rounds, say)


def bench_ceph(folder, rounds):
    return ceph_disks.bench_ceph(folder, rounds, say)


def bench_casts(folder, rounds):
    """Measures casts per second of novasnap and oslo.messaging, without a broker and with one."""
    os.environ.pop("G_MESSAGES_DEBUG", None)
    with broker_for_tests(folder) as broker:
        return CastRates(folder, broker).all(rounds)


PARTS = {"casts": bench_casts, "upload": bench_upload, "compress": bench_compress, "memory": bench_memory,
         "guest": bench_guest, "slow": bench_slow, "ceph": bench_ceph}


def hash_cost():
    """Returns the CPU seconds that SHA-512 takes for a GiB, as OpenSSL measures it."""
    done = subprocess.run(["openssl", "speed", "-seconds", "2", "-bytes", "65536", "-mr", "-evp",
                           "sha512"], capture_output=True, text=True, check=True, timeout=60)
    speed = [float(line.split(":")[-1]) for line in done.stdout.splitlines()
             if line.startswith("+F")]
    return GIB / speed[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--json", default="build/bench.json")
    options = parser.parse_args()
    sys.exit(supervisor.run(lambda folder: measure(folder, options), "novasnap-bench-"))


def measure(_folder, options):
    found = {"rounds": options.rounds, "cores": os.cpu_count()}
    if os.path.exists(options.json):
        with open(options.json) as file:
            found = {**json.load(file), **found}
    found["sha512_s_per_gib"] = hash_cost()
    for part in options.parts.split(","):
        with Folder(f"novasnap-bench-{part}-") as folder:
            found[part] = PARTS[part](folder, options.rounds)
        os.makedirs(os.path.dirname(os.path.abspath(options.json)), exist_ok=True)
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)
    return 0


if __name__ == "__main__":
    main()
