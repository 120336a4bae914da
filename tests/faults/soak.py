#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A thousand snapshots, live and cold, of eight small guests at a time, with iothreads and some with a guest agent, and
with a fault every few seconds: novasnapd is killed, stopped or held up, the broker restarted or held up, Glance
restarted, the conductor late, a snapshot cancelled, an image deleted. At the end every image is whole, deleted, or kept
because Glance was restarted meanwhile; every guest is as it was, nothing is left, and memory and descriptors are flat.
Broker, Glance, libvirt and QEMU are real; the conductor is a stand-in.
  soak.py [--snapshots N] [--seed N] [--json FILE] [--svg FILE]"""
import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.error

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import supervisor  # noqa: E402
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from images import qemu_img, same_content  # noqa: E402
from paths import CAST  # noqa: E402

# The guests, each running and shut off. Those with an agent boot, and are frozen for their snapshots.
KINDS = ({"iothread": "disk"}, {"iothread": "scsi"}, {"iothread": "unused", "agent": True, "idle": True},
         {"iothread": "disk", "agent": True, "idle": True})
GUESTS = 2 * len(KINDS)
EVENT = "compute_snapshot_instance"
# Seconds that a snapshot may take, with all that happens to it. After a restart of Glance an image stays "saving". It
# is asked for until finishing_timeout, in a later process for at least eight times saving_timeout, counted from the
# start.
LIMIT = 300
# NOVASNAP_SOAK_FAULTS overrides the list.
FAULTS = os.environ.get("NOVASNAP_SOAK_FAULTS", "kill,kill,restart,hold agent,restart broker,hold broker,"
                        "restart glance,late conductor,cancel,delete image").split(",")


class Soak(Environment):
    services = ("broker", "glance", "libvirt", "conductor", "kernel")
    own_broker = True

    def __init__(self, folder, stack, options):
        super().__init__(folder, stack)
        self.chance = random.Random(options.seed)
        self.guests = [self.make_guest(size_mib=32, data_mib=8, **kind) for kind in KINDS for _ in range(2)]
        self.casts = {guest.uuid: self.make_cast(guest) for guest in self.guests}
        self.wait_services()
        self.conductor.late_seconds = 3
        self.agent = self.make_agent(
            sections={"DEFAULT": {"rpc_response_timeout": "2", "max_concurrent_snapshots": str(GUESTS)}},
            saving_timeout="2", finishing_timeout="15", shutdown_grace="1", image_poll_interval="2")
        self.conductor.host = self.agent.host
        self.callback(self.agent.stop)
        self.lock = threading.Lock()  # over the agent: one restarts it at a time
        self.wanted, self.ended = options.snapshots, threading.Event()
        self.done, self.images = 0, {}  # image -> what became of it
        self.glance_restarts = 0
        self.under_way, self.failures = {}, []
        self.faults, self.samples = [], []
        self.hashes = {}
        self.began = time.monotonic()

    def make_cast(self, guest):
        """Writes the cast for a guest to a file. Returns its path."""
        with open(CAST) as file:
            cast = json.load(file)
        metadata = {"image_hw_qemu_guest_agent": "yes"} if guest.has_agent else {}
        cast["args"]["instance"]["nova_object.data"]["system_metadata"].update(metadata)
        path = self.folder.file(f"cast-{guest.uuid}.json")
        with open(path, "w") as file:
            json.dump(cast, file)
        return path

    def ask(self, call, *args):
        """Calls a function of Glance, which may be away for a while."""
        until = time.monotonic() + 60
        while True:
            try:
                return call(*args)
            except urllib.error.HTTPError:
                raise
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.3)

    def job(self, image):
        """Returns what `novasnap show` prints of its job, or ""."""
        done = self.agent.command("show", image, check=False)
        return done.stdout if done.returncode == 0 else ""

    def send(self, guest, image):
        """Sends the cast as nova-api does. A broker that goes down loses what novasnapd has not acked, so the cast is
        then sent again."""
        until = time.monotonic() + LIMIT
        while not self.job(image) and time.monotonic() < until:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.agent.command("send", "snapshot_instance", "--file", self.casts[guest.uuid],
                                   "--instance", guest.uuid, "--image", image, check=False, seconds=60)
            for _ in range(40):
                if self.job(image):
                    return
                time.sleep(0.1)

    def take(self, guest):
        uuid, restarts = guest.uuid, self.glance_restarts
        image = self.ask(lambda: self.glance.create(
            "soak", container_format="bare", disk_format="qcow2", instance_uuid=uuid))
        self.conductor.task_states[uuid] = "image_snapshot_pending"
        self.conductor.events.pop((uuid, EVENT), None)
        self.under_way[uuid] = image
        self.send(guest, image)
        tap.wait_for(f"end of {image}", lambda: "outcome   open" not in self.job(image) and
                     "outcome" in self.job(image), LIMIT, 0.2)
        del self.under_way[uuid]
        record = self.ask(self.glance.get, image)
        # While the fault "delete image" is executed, Glance shows the record of a deleted image.
        if record is None or record["status"] == "deleted":
            self.images[image] = "deleted"
        elif record["status"] == "saving" and self.glance_restarts > restarts:
            # It may be complete, so novasnapd keeps it. Glance itself never ends what it did before its restart.
            self.images[image] = "kept"
            self.ask(self.glance.delete, image)
        else:
            assert record["status"] == "active", (image, record["status"])
            # An image of the same disk by the same method has the same layout and hash, so only the first is compared
            # in full.
            known = self.hashes.setdefault(uuid, set())
            if record["os_hash_value"] not in known:
                assert same_content(self.glance.file(image), "qcow2", guest.disk, "qcow2"), f"image {image} differs"
                known.add(record["os_hash_value"])
            self.images[image] = "whole"
            # A fault may have deleted it by now.
            with contextlib.suppress(urllib.error.HTTPError):
                self.ask(self.glance.delete, image)
        assert self.conductor.task_states[uuid] is None, self.conductor.task_states[uuid]
        self.done += 1

    def work(self, guest):
        try:
            while self.done + len(self.under_way) < self.wanted and not self.ended.is_set():
                self.take(guest)
        except Exception as error:
            image = self.under_way.get(guest.uuid)
            self.failures.append(f"guest {guest.uuid}: {error}: {image and self.job(image)}")
            self.ended.set()

    def hold(self, process):
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(self.chance.uniform(1, 4))
        os.killpg(process.pid, signal.SIGCONT)

    def put_in(self, what):
        image = self.chance.choice([*self.under_way.values(), None])
        if what in ("kill", "restart"):
            with self.lock:
                if what == "kill":
                    self.agent.kill()
                else:
                    self.agent.stop()
                self.agent.start()
        elif what == "hold agent":
            self.hold(self.agent.process)
        elif what == "restart broker":
            self.broker.stop()
            self.broker.start()
        elif what == "hold broker":
            self.hold(self.broker.process)
        elif what == "restart glance":
            self.glance.stop()
            self.glance.start()
            self.glance_restarts += 1
        elif what == "late conductor":
            self.conductor.late = 2
        elif image and what == "cancel":
            self.agent.command("cancel", image, check=False)
        elif image and what == "delete image":
            with contextlib.suppress(OSError):
                self.glance.delete(image)

    def disturb(self):
        try:
            while not self.ended.wait(self.chance.uniform(2, 6)):
                what = self.chance.choice(FAULTS)
                self.faults.append((round(time.monotonic() - self.began, 1), what))
                print(f"# {self.faults[-1][0]:6.1f} s, {self.done} done: {what}", flush=True)
                self.put_in(what)
        except Exception as error:
            self.failures.append(f"{what}: {error}")
            self.ended.set()

    def sample(self):
        while not self.ended.wait(1):
            with contextlib.suppress(OSError, AttributeError, IndexError, ValueError):
                pid = self.agent.process.pid
                with open(f"/proc/{pid}/status") as file:
                    anonymous = int(file.read().split("RssAnon:")[1].split()[0]) / 1024
                self.samples.append((round(time.monotonic() - self.began, 1), self.done, pid,
                                     round(anonymous, 2), len(os.listdir(f"/proc/{pid}/fd"))))

    def run(self):
        for guest in self.guests[::2]:
            guest.start()
        for guest in self.guests[::2]:
            if guest.has_agent:
                guest.wait_agent()
        states = [guest.state() for guest in self.guests]
        definitions = [guest.definition() for guest in self.guests]
        self.agent.start()
        workers = [threading.Thread(target=self.work, args=(guest,)) for guest in self.guests]
        others = [threading.Thread(target=run) for run in (self.disturb, self.sample)]
        for thread in workers + others:
            thread.start()
        for thread in workers:
            thread.join()
        self.ended.set()
        for thread in others:
            thread.join()
        assert not self.failures, "\n".join(self.failures + self.agent.text().split("\n")[-100:])
        tap.wait_for("end of all jobs", lambda: not self.agent.command("jobs", "--open").stdout and
                     "rolled back" not in self.agent.command("jobs", "--all").stdout, 60)
        assert [guest.state() for guest in self.guests] == states
        assert [guest.definition() for guest in self.guests] == definitions
        for guest in self.guests:
            assert not guest.has_job() and not guest.is_saved()
            assert "novasnap-" not in qemu_img("snapshot", "-U", "-l", guest.disk)
        for guest in self.guests[::2]:
            assert not guest.has_agent or not guest.frozen()
        assert self.agent.left() == [], self.agent.left()

    def summary(self):
        outcomes = list(self.images.values())
        rest = [sample for sample in self.samples if sample[1] > 0]
        late = [sample for sample in rest if sample[1] >= self.wanted / 2]
        early = [sample for sample in rest if sample[1] < self.wanted / 2]

        def median(samples, index):
            return statistics.median(sample[index] for sample in samples) if samples else 0
        return {"snapshots": self.done, "whole": outcomes.count("whole"),
                "deleted": outcomes.count("deleted"), "kept": outcomes.count("kept"), "faults": len(self.faults),
                "kinds": {kind: sum(what == kind for _, what in self.faults)
                          for kind in sorted(set(FAULTS))},
                "seconds": round(time.monotonic() - self.began),
                "anonymous MiB, median of the first and second half": [median(early, 3),
                                                                       median(late, 3)],
                "descriptors, the same": [median(early, 4), median(late, 4)],
                "peak": [max(sample[3] for sample in rest), max(sample[4] for sample in rest)],
                "samples": self.samples}


def plot(found, path):
    data = "\n".join(" ".join(str(value) for value in sample) for sample in found["samples"])
    script = f"""set terminal svg size 640,320 font "sans,12" background "white"
set output "{path}"
$data << EOD
{data}
EOD
set xlabel "seconds"
set ylabel "anonymous MiB"
set y2label "descriptors"
set y2tics
set yrange [0:*]
set y2range [0:*]
set title "{found['snapshots']} snapshots, {found['faults']} faults"
plot $data using 1:4 with lines title "memory", "" using 1:5 axes x1y2 with lines title "descriptors"
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True, timeout=60)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapshots", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--json")
    parser.add_argument("--svg")
    options = parser.parse_args()
    print(f"# seed {options.seed}", flush=True)
    sys.exit(supervisor.run(lambda folder: measure(folder, options), "novasnap-soak-"))


def measure(folder, options):
    with contextlib.ExitStack() as stack:
        soak = Soak(folder, stack, options)
        soak.run()
        found = soak.summary()
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file)
    if options.svg:
        plot(found, options.svg)
    print(json.dumps({key: value for key, value in found.items() if key != "samples"}, indent=1))
    first, second = found["anonymous MiB, median of the first and second half"]
    return 0 if second <= first * 1.2 + 1 else 1


if __name__ == "__main__":
    main()
