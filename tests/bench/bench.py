#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures novasnap and nova-compute in turn, on one machine in one run, and what Glance can receive at most. Real
Nova, Keystone, Glance, RabbitMQ, libvirt and QEMU (the control plane of the end-to-end tests).
  bench.py [--rounds N] [--parts casts,upload,others,five,compress,memory,guest,slow,ceph] [--json FILE] [--more]
The parts upload, five and compress pair each snapshot with its limit. The machine must do nothing else meanwhile."""
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
from broker import broker_for_tests  # noqa: E402
import ceph_disks  # noqa: E402
from cast_rates import CastRates  # noqa: E402
from cloud import Cloud  # noqa: E402
from environment import Environment  # noqa: E402
from guest import build_kernel  # noqa: E402
from meter import Meter, memory, wait_quiet  # noqa: E402
from process import Folder  # noqa: E402
from slow_disk import SlowDisk  # noqa: E402
import together  # noqa: E402
from together import Bench  # noqa: E402
from uploads import FEW, Uploads  # noqa: E402

GIB = 1 << 30
SLOW = 300  # seconds


def say(text):
    print(f"# {time.strftime('%H:%M:%S')} {text}", flush=True)


def bench_upload(folder, rounds):
    with Cloud(folder) as cloud:
        return Uploads(cloud, folder, rounds, say).stream()


def bench_others(folder, rounds):
    with Cloud(folder) as cloud:
        return Uploads(cloud, folder, rounds, say).others()


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


def bench_five(folder, rounds):
    return together.bench_five(folder, rounds, say)


def bench_compress(folder, rounds):
    return together.bench_compress(folder, rounds, say)


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


PARTS = {"casts": bench_casts, "upload": bench_upload, "others": bench_others, "five": bench_five,
         "compress": bench_compress, "memory": bench_memory,
         "guest": bench_guest, "slow": bench_slow, "ceph": bench_ceph}

# The parts in which each snapshot is compared with its limit. The others take fewer rounds.
PAIRED = ("upload", "five", "compress")


def hash_cost():
    """Returns the CPU seconds that SHA-512 takes for a GiB, as OpenSSL measures it."""
    done = subprocess.run(["openssl", "speed", "-seconds", "2", "-bytes", "65536", "-mr", "-evp",
                           "sha512"], capture_output=True, text=True, check=True, timeout=60)
    speed = [float(line.split(":")[-1]) for line in done.stdout.splitlines()
             if line.startswith("+F")]
    return GIB / speed[-1]


def machine():
    with open("/proc/cpuinfo") as file:
        processor = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    return {"measured": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "processor": processor,
            "kernel": os.uname().release, "ram_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
            "sha512_s_per_gib": hash_cost()}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--json", default="build/bench.json")
    parser.add_argument("--more", action="store_true", help="add the rounds to those that the file has")
    options = parser.parse_args()
    sys.exit(supervisor.run(lambda folder: measure(folder, options), "novasnap-bench-"))


def measure(_folder, options):
    found = {}
    if os.path.exists(options.json):
        with open(options.json) as file:
            found = json.load(file)
    found["machine"] = machine()
    for part in options.parts.split(","):
        with Folder(f"novasnap-bench-{part}-") as folder:
            results = PARTS[part](folder, options.rounds if part in PAIRED else min(options.rounds, FEW))
        if part in PAIRED:
            # Rounds of several runs stay pairs of their own.
            run = time.strftime("%Y%m%d-%H%M%S")
            results = [{**entry, "pair": f"{run} {entry['pair']}"} for entry in results]
            results = (found.get(part, []) if options.more else []) + results
        found[part] = results
        os.makedirs(os.path.dirname(os.path.abspath(options.json)), exist_ok=True)
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)
    return 0


if __name__ == "__main__":
    main()
