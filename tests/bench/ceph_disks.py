# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of disks in Ceph, of nova-compute and of novasnapd on the same cluster: seconds, bytes of the network
through the host, bytes written locally, and for how long the guest did not run."""
import contextlib
import os
import subprocess
import time

import quiet_agent
import tap
from agent import write_sections
from ceph import GLANCE_CAPS, NOVA_CAPS, READ_ONLY_CAPS, Ceph
from cloud import Cloud
from costs import Costs
from meter import wait_quiet
from traffic import Traffic

DATA, DISK = 1024, 3  # MiB, half random and half text; GiB
LIMIT = 600  # seconds


class CephDisks:
    def __init__(self, folder, stack):
        self.folder, self.results = folder, []
        ceph = self.ceph = Ceph(folder, gigabytes=64)
        ceph.user("nova", NOVA_CAPS)
        ceph.user("glance", GLANCE_CAPS)
        reader = ceph.user("nova-readonly", READ_ONLY_CAPS)
        self.reader = {"rbd_user": reader.name, "images_rbd_ceph_conf": reader.conf, "rbd_secret_uuid": reader.secret}
        self.cloud = stack.enter_context(Cloud(folder, ceph=ceph))
        self.traffic = stack.enter_context(Traffic(folder))
        self.glance = self.cloud.connection().image

    def boot(self):
        cloud = self.cloud
        cloud.compute_start()
        large, small = self.make_base("large", DATA), self.make_base("small", 16)
        flavor = cloud.make_flavor(disk=DISK)
        self.servers = {**cloud.boot(["live", "cold"], large, flavor),
                        **cloud.boot(["small"], small, cloud.make_flavor(ram=65))}
        cloud.act(self.servers["cold"], {"os-stop": None})
        tap.wait_for("stopped server", lambda: cloud.get(f"/servers/{self.servers['cold']}")["server"]["status"] ==
                     "SHUTOFF", 60)
        cloud.compute_stop()

    def make_base(self, name, mebibytes):
        path = self.folder.file("base.raw")
        with open(path, "wb") as file:
            for number in range(mebibytes):
                file.write(os.urandom(1 << 20) if number % 2 == 0 else
                           ((b"%08d a line of text\n" % number) * (1 << 16))[:1 << 20])
        image = self.cloud.upload(name, path, "raw")
        os.remove(path)
        return image

    def snapshot(self, who, kind, pid, counted=True):
        server = self.servers[kind]
        wait_quiet()
        with Costs(f"{who}, {kind}", self.cloud, self.traffic, pid, server) as costs:
            image = self.cloud.act(server, {"createImage": {"name": who, "metadata": {}}}).json()["image_id"]
            tap.wait_for("active image", lambda: self.glance.get(f"/images/{image}").json()["status"] == "active", LIMIT)
        tap.wait_for("end of the snapshot", lambda: self.cloud.get(f"/servers/{server}")["server"][
            "OS-EXT-STS:task_state"] is None, LIMIT)
        self.glance.delete_image(image)
        if counted:
            self.results.append({"who": who, "kind": kind, "wall": costs.seconds, "received": costs.received,
                                 "sent": costs.sent, "written": costs.local,
                                 "down": costs.down if kind == "live" else 0})

    def all_of(self, who, process):
        self.traffic.add(process.pid)
        # A program that has just started waits for its token.
        self.snapshot(who, "small", process.pid, counted=False)
        for kind in ("live", "cold"):
            self.snapshot(who, kind, process.pid)

    def curl(self):
        """Measures what copies all of a disk through the host: `rbd export` into `curl -T`."""
        image = self.glance.post("/images", json={"name": "curl", "disk_format": "raw",
                                                  "container_format": "bare"}).json()["id"]
        wait_quiet()
        began = time.monotonic()
        subprocess.run(["sh", "-c", f"rbd -c {self.ceph.conf} export --no-progress vms/{self.servers['cold']}_disk - | "
                        "curl -sSf -T - -H 'Content-Type: application/octet-stream' "
                        f"-H 'X-Auth-Token: {self.cloud.connection().auth_token}' "
                        f"{self.cloud.url('glance')}/v2/images/{image}/file"], check=True, timeout=LIMIT)
        self.results.append({"who": "curl", "kind": "cold", "wall": time.monotonic() - began})
        self.glance.delete_image(image)

    def run(self, rounds, say):
        cloud = self.cloud
        self.boot()
        ours = {"direct": {}, "direct, by the manager": {"novasnap": {"rbd_flatten": "mgr"}},
                "stream": {"libvirt": self.reader}}
        agents = {name: quiet_agent.of_cloud(self.folder, cloud, name.replace(", ", "-").replace(" ", "-"), **sections)
                  for name, sections in ours.items()}
        users = {"nova-compute": {}, "nova-compute, fall-back": {"libvirt": self.reader}}
        conf = os.path.join(cloud.etc, "user.conf")
        for number in range(min(rounds, 3)):
            say(f"round {number + 1}")
            for name, agent in agents.items():
                agent.start()
                self.all_of(name, agent.process)
                agent.stop()
            for name, sections in users.items():
                write_sections(conf, sections)
                cloud.compute_start("--config-file", conf)
                self.all_of(name, cloud.compute)
                cloud.compute_stop()
            self.curl()
        return self.results


def bench_ceph(folder, rounds, say):
    with contextlib.ExitStack() as stack:
        return CephDisks(folder, stack).run(rounds, say)
