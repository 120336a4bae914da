# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of novasnap and nova-compute, each next to a `curl -T` of the finished image into the same Glance: the control
plane of the end-to-end tests."""
import os
import subprocess
import time

import quiet_agent
import tap
from active import ActiveWatch, mysql_status
from cloud import PASSWORD
from images import qemu_img
from meter import Meter, wait_quiet

SLOW = 300  # seconds
# Rounds of the agents whose figures are far from the limit.
FEW = 5
# Seconds between two looks at memory and disk use, which cost the agent's share of the processors.
LAZY = 0.5
KINDS = ("live", "cold", "wide")


class Uploads:
    def __init__(self, cloud, folder, rounds, say):
        self.cloud, self.folder, self.rounds, self.say = cloud, folder, rounds, say
        self.status = mysql_status(cloud.port["mysql"], PASSWORD)
        self.glance = cloud.connection().image
        self.local = os.path.join(cloud.instances, "snapshots")  # where nova's methods copy to
        self.results = []
        self.master = None  # a finished image, for curl

    def boot(self):
        cloud = self.cloud
        compute = cloud.connection().compute
        self.say("a base image of 2 GiB, half random and half text")
        large = self.make_base("large", 2048, "10G")
        small = self.make_base("small", 20, "100G")
        flavors = [compute.create_flavor(name=f"{disk}", ram=64, vcpus=1, disk=disk).id
                   for disk in (10, 100)]
        cloud.compute_start()
        self.say("servers: 10 GiB live and cold, 100 GiB live")
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

    def curl(self, who, pair):
        """Measures the limit: Glance receives a finished image."""
        image = self.glance.post("/images", json={"name": "curl", "disk_format": "qcow2",
                                                  "container_format": "bare"}).json()["id"]
        argv = ["curl", "-sSf", "-T", self.master, "-H", "Content-Type: application/octet-stream",
                "-H", f"X-Auth-Token: {self.cloud.connection().auth_token}",
                f"{self.cloud.url('glance')}/v2/images/{image}/file"]
        wait_quiet()
        with ActiveWatch(self.cloud.images, self.status) as watch:
            began = time.monotonic()
            with subprocess.Popen(argv) as process, Meter(process.pid, pause=LAZY) as meter:
                wall = watch.wait([image], SLOW)[image] - began
                meter.look()
                assert process.wait(SLOW) == 0, argv
        self.glance.delete_image(image)
        self.results.append({"who": "curl", "kind": "limit", "beside": who, "pair": pair, "wall": wall,
                             "size": os.path.getsize(self.master)})
        self.say(f"curl -T: {wall:.2f} s")

    def qemu_of(self, server):
        listed = subprocess.run(["pgrep", "-f", f"qemu-system.*{server}"], capture_output=True,
                                text=True, check=False).stdout.split()
        return [int(pid) for pid in listed]

    def snapshot(self, who, kind, server, pid, folders, pair=None):
        wait_quiet()
        with ActiveWatch(self.cloud.images, self.status) as watch, \
                Meter(pid, self.qemu_of(server), folders, 0.1 if kind == "wide" else LAZY) as meter:
            asked = time.monotonic()
            image = self.cloud.act(server, {"createImage": {"name": who, "metadata": {}}}).json()[
                "image_id"]
            # The cast has been sent a few milliseconds ago.
            began = time.monotonic()
            wall = watch.wait([image], SLOW)[image] - began
            # What happens after the image is active is measured too, except for the time.
            tap.wait_for("end of the snapshot", lambda: self.cloud.get(f"/servers/{server}")[
                "server"]["OS-EXT-STS:task_state"] is None, SLOW, 0.1)
        record = self.glance.get(f"/images/{image}").json()
        path = os.path.join(self.cloud.images, image)
        qemu_img("check", "-f", "qcow2", path)
        if not self.master and kind == "live":
            self.master = self.folder.file("master.qcow2")
            subprocess.run(["cp", path, self.master], check=True)
        self.glance.delete_image(image)
        anonymous, pss, rss = meter.peak_memory
        self.results.append({
            "who": who, "kind": kind, "pair": pair, "wall": wall, "api": began - asked,
            "size": record["size"], "cpu": meter.cpu, "written": meter.written, "peak_disk": meter.peak_used,
            "anonymous": anonymous, "pss": pss, "rss": rss})
        self.say(f"{who} {kind}: {wall:.2f} s, CPU {meter.cpu:.2f} s, written "
                 f"{meter.written / record['size']:.3f} of {record['size'] >> 20} MiB, peak disk "
                 f"{meter.peak_used >> 20} MiB, anonymous {anonymous:.1f} MiB")

    def round(self, who, servers, process, folders, number):
        """One snapshot of each kind. The limit is measured between the running guest's and the other's, whose order
        changes with each round."""
        pair = f"{who} {number}"

        def take(kind):
            self.snapshot(who, kind, servers[kind], process.pid, folders, pair)
        first, last = ("live", "cold") if number % 2 == 0 else ("cold", "live")
        take(first)
        self.curl(who, pair)
        take(last)
        take("wide")

    def not_counted(self, servers, process, kinds):
        """A program that has just started waits a second for its token, and the first to read a disk reads it into the
        page cache. The first snapshot is left for curl."""
        counted = len(self.results)
        for kind in kinds:
            self.snapshot("warm", kind, servers[kind], process.pid, [])
        del self.results[counted:]

    def agent(self, name, **novasnap):
        return quiet_agent.of_cloud(self.folder, self.cloud, name, novasnap=novasnap)

    def stream(self):
        """Many rounds of novasnapd's default method."""
        servers, agent = self.boot(), self.agent("stream")
        agent.start()
        self.not_counted(servers, agent.process, KINDS)
        for number in range(self.rounds):
            self.say(f"round {number + 1} of {self.rounds}")
            self.round("stream", servers, agent.process, [self.local, self.folder.file("stream")], number)
        agent.stop()
        return self.results

    def others(self):
        """A few rounds of what takes nova's own methods."""
        cloud, servers = self.cloud, self.boot()
        agent = self.agent("rebase", live_method="rebase", cold_method="extract")
        kinds = KINDS
        for number in range(min(self.rounds, FEW)):
            self.say(f"round {number + 1} of {min(self.rounds, FEW)}")
            agent.start()
            self.not_counted(servers, agent.process, kinds)
            self.round("rebase", servers, agent.process, [self.local, self.folder.file("rebase")], number)
            agent.stop()
            cloud.compute_start()
            kinds = ["wide"]
            self.not_counted(servers, cloud.compute, kinds)
            self.round("nova-compute", servers, cloud.compute, [self.local], number)
            cloud.compute_stop()
        return self.results
