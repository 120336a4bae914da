#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of servers whose disks are in Ceph, under a real Nova and a Glance with its images in the same Ceph: of
nova-compute and of novasnapd, which must show the same states, send the same messages and leave the same images. It
prints what each costs. All tests run, in order.
    NOVASNAP_CEPH_DATA=MIB      of data in each disk, 64 by default: half of it in the image that the disk is a clone of.
                                The disk is twice as large"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lib"), HERE, os.path.join(os.path.dirname(HERE), "bench")]
import release  # noqa: E402
import tap  # noqa: E402
from agent import write_sections  # noqa: E402
from ceph import GLANCE_CAPS, NOVA_CAPS, READ_ONLY_CAPS, Ceph, has_tasks  # noqa: E402
from cloud import Cloud  # noqa: E402
from costs import Costs  # noqa: E402
from environment import Environment  # noqa: E402
from firehose import Firehose, differences  # noqa: E402
from player import IMAGE, RUNNING, SHUTDOWN, Player, ends_early  # noqa: E402
from traffic import Traffic  # noqa: E402

DATA = int(os.environ.get("NOVASNAP_CEPH_DATA") or 64)
CHUNK = 32
MIB = 1 << 20
EVENT = "compute_snapshot_instance"
# Of an image's record: what differs from image to image. A newer Glance hashes data at a location in a task that goes on.
OWN = {"id", "name", "created_at", "updated_at", "file", "self", "locations", "direct_url", "instance_uuid",
       "checksum", "os_hash_algo", "os_hash_value", "os_glance_import_task"}


class CephPlayer(Player):
    """A server whose disk is in Ceph."""

    def __init__(self, env, server):
        super().__init__(env.cloud, env.firehose, server)
        self.env, self.records, self.costs = env, {}, {}
        self.content = env.ceph.hash_image("vms", self.disk)  # which the guest does not change

    @property
    def disk(self):
        return f"{self.server}_disk"

    def snapshot(self, name, status="ACTIVE", power=RUNNING):
        """Takes a snapshot, and checks its image. `name`: of the image, and what it is printed as. Returns the image."""
        self.table = {name: ("image", EVENT, IMAGE, status, power)}
        self.play(name)
        return self.images[name]

    def snapshot_off(self, name):
        return self.snapshot(name, "SHUTOFF", SHUTDOWN)

    def measured(self, name):
        self.costs[name] = Costs(f"{name}, {DATA} MiB of data", self.cloud, self.env.traffic, self.env.pid(), self.server)
        return self.costs[name]

    def check_image(self, image):
        ceph = self.cloud.ceph
        self.records[image] = record = tap.wait_for("active image", lambda: (
            found := self.cloud.image_record(image))["status"] == "active" and found, 60)
        assert record["disk_format"] == "raw" and record["container_format"] == "bare", record
        assert ceph.hash_image("images", image) == self.content, image
        assert ceph.snapshots("images", image) == {"snap": True}, ceph.snapshots("images", image)
        info = ceph.info("images", image)
        assert "parent" not in info and record["size"] == info["size"], (info, record)
        assert self.cloud.locations(record) == [ceph.location("images", image)], record
        self.env.check_nothing_left()


class CephCloud(Cloud):
    def image_record(self, image):
        return self.connection().image.get(f"/images/{image}").json()

    @staticmethod
    def locations(record):
        return [each["url"] for each in record["locations"]] if "locations" in record else [record["direct_url"]]


class CephEnvironment(Environment):
    cloud = agent = None

    def set_up(self):
        # All images of the tests, and some of them twice for a while.
        ceph = self.ceph = Ceph(self.folder, gigabytes=max(8, DATA // 32))
        ceph.user("nova", NOVA_CAPS)
        ceph.user("glance", GLANCE_CAPS)
        self.reader = ceph.user("nova-readonly", READ_ONLY_CAPS)
        self.cloud = cloud = self.enter(CephCloud(self.folder, ceph=ceph))
        cloud.compute_start()
        self.traffic = self.enter(Traffic(self.folder))
        self.traffic.add(cloud.compute.pid)
        self.base = cloud.make_raw_image("base", DATA // 2, DATA * 2)
        self.flavor = cloud.make_flavor(disk=0)  # a disk of the image's size
        servers = cloud.boot(["theirs", "ours", "theirs-off", "ours-off"], self.base, self.flavor)
        for server in servers.values():
            self.fill(f"{server}_disk")
        self.firehose = self.enter(Firehose(cloud.broker))
        self.theirs, self.ours, self.theirs_off, self.ours_off = (
            CephPlayer(self, servers[name]) for name in servers)
        for player in (self.theirs_off, self.ours_off):
            cloud.act(player.server, {"os-stop": None})
            player.wait_status("SHUTOFF")

    def fill(self, disk):
        """Writes into a server's disk, behind what it has of its base image."""
        for place in range(DATA // 2, DATA, CHUNK):
            self.ceph.write_image("vms", disk, os.urandom(min(CHUNK, DATA - place) << 20), place << 20)

    @property
    def logs(self):
        return [*([self.agent.log] if self.agent else []), *([self.cloud.log("nova-compute")] if self.cloud else [])]

    def pid(self):
        """Returns the pid of the agent that takes snapshots now."""
        return (self.cloud.compute or self.agent.process).pid

    def check_nothing_left(self):
        """Checks that Ceph has what servers and images are, and nothing else."""
        ceph, connection = self.ceph, self.cloud.connection()
        disks = {f"{server.id}_disk" for server in connection.compute.servers()}
        assert {*ceph.images("vms")} == disks, (ceph.images("vms"), disks)
        images = {image.id for image in connection.image.images()}
        assert {*ceph.images("images")} == images, (ceph.images("images"), images)
        for disk in disks:
            assert ceph.snapshots("vms", disk) == {}, ceph.snapshots("vms", disk)
        assert ceph.trash("vms") == ceph.trash("images") == ceph.tasks() == [], (ceph.trash("images"), ceph.tasks())

    def start_agent_of_cloud(self, **sections):
        """Starts novasnapd in place of nova-compute, or of the novasnapd before."""
        if self.agent and self.agent.is_running():
            assert self.agent.stop() == 0
        self.agent = self.make_agent(sections={"base": self.cloud.nova_conf, **sections})
        self._file_stack.callback(self.agent.stop)
        self.agent.start()
        self.traffic.add(self.agent.process.pid)
        return self.agent

    def let_add_locations(self, rule):
        """Sets the rule of Glance's policy on who may add a location. A rule that is taken out stays in force."""
        self.cloud.glance_policy(set_image_location=rule,
                                 **({"add_image_location": rule} if release.HAS_LOCATIONS_API else {}))

    def delete_server(self, player):
        self.cloud.connection().compute.delete_server(player.server)
        tap.wait_for("deleted disk", lambda: player.disk not in self.ceph.images("vms"), 60, 0.5)

    def compute_as(self, user=None):
        """Starts nova-compute again, as another user of Ceph."""
        self.cloud.compute_stop()
        conf = os.path.join(self.cloud.etc, "user.conf")
        write_sections(conf, {"libvirt": self.keys_of(user)} if user else {})
        self.cloud.compute_start("--config-file", conf)
        self.traffic.add(self.cloud.compute.pid)

    @staticmethod
    def keys_of(user):
        return {"rbd_user": user.name, "images_rbd_ceph_conf": user.conf, "rbd_secret_uuid": user.secret}


def test_nova_compute_direct(env):
    env.theirs.snapshot("nova-compute, direct, running")
    env.theirs_off.snapshot_off("nova-compute, direct, stopped")


def test_nova_compute_falls_back(env):
    """Where nova-compute may not write to Glance's pool, it stops the guest and copies the disk."""
    env.compute_as(env.reader)
    env.theirs.snapshot("nova-compute, fall-back, running")
    env.theirs_off.snapshot_off("nova-compute, fall-back, stopped")
    costs = env.theirs.costs["nova-compute, fall-back, running"]
    assert costs.down > 0 and costs.local > DATA * MIB, vars(costs)
    env.cloud.compute_stop()


def compare(theirs, ours, name):
    """Compares the messages and the images of nova-compute and of novasnapd."""
    one, other = (player.messages[f"{agent}, {name}"] for player, agent in ((theirs, "nova-compute"), (ours, "novasnapd")))
    lines = differences(one, other, event_ends_early=ends_early(EVENT))
    assert not lines, "\n".join(lines)
    one, other = ({key: value for key, value in player.records[player.images[f"{agent}, {name}"]].items() if key not in OWN}
                  for player, agent in ((theirs, "nova-compute"), (ours, "novasnapd")))
    assert one == other, [(key, one.get(key), other.get(key)) for key in {*one, *other} if one.get(key) != other.get(key)]


def test_direct(env):
    env.start_agent_of_cloud()
    env.ours.snapshot("novasnapd, direct, running")
    env.ours_off.snapshot_off("novasnapd, direct, stopped")
    compare(env.theirs, env.ours, "direct, running")
    compare(env.theirs_off, env.ours_off, "direct, stopped")
    for costs in (*env.ours.costs.values(), *env.ours_off.costs.values()):
        assert costs.local < MIB, vars(costs)
    assert env.ours.costs["novasnapd, direct, running"].down == 0


def test_direct_and_flattened_by_the_manager(env):
    env.start_agent_of_cloud(novasnap={"rbd_flatten": "mgr"})
    env.ours.snapshot("novasnapd, direct by the manager, running")
    env.ours_off.snapshot_off("novasnapd, direct by the manager, stopped")
    for player in (env.ours, env.ours_off):
        costs = list(player.costs.values())[-1]
        assert costs.local < MIB, vars(costs)
        if has_tasks():
            assert costs.received + costs.sent < 4 * MIB, vars(costs)
        else:
            # The client did it.
            assert costs.received > DATA * MIB // 2, vars(costs)


def check_streamed(player, name):
    """The disk was read at most once, and not by way of a local file."""
    costs = player.costs[name]
    assert costs.local < MIB and costs.received < (DATA * 2 + 4) * MIB, vars(costs)
    return costs


def test_streamed_where_the_pool_may_not_be_written(env):
    env.start_agent_of_cloud(libvirt=env.keys_of(env.reader))
    env.ours.snapshot("novasnapd, fall-back, running")
    env.ours_off.snapshot_off("novasnapd, fall-back, stopped")
    compare(env.theirs, env.ours, "fall-back, running")
    compare(env.theirs_off, env.ours_off, "fall-back, stopped")
    assert check_streamed(env.ours, "novasnapd, fall-back, running").down == 0
    check_streamed(env.ours_off, "novasnapd, fall-back, stopped")


def test_streamed_where_glance_refuses_the_location(env):
    """Glance says so only when the copy is made."""
    env.let_add_locations("!")
    env.callback(env.let_add_locations, "@")
    env.start_agent_of_cloud()
    env.ours.snapshot("novasnapd, location refused, running")
    costs = env.ours.costs["novasnapd, location refused, running"]
    assert costs.down == 0 and costs.local < MIB, vars(costs)


def test_killed_while_it_copies(env):
    agent = env.start_agent_of_cloud()
    image = env.ours.ask("image", "killed")
    tap.wait_for("copy", lambda: image in env.ceph.images("images"), 60, 0.01)
    agent.kill()
    agent.start()
    record = env.ours.wait_idle(300)  # Ceph waits for the killed client
    assert record["status"] == "ACTIVE", record
    tap.wait_for("event", lambda: env.ours.events() == [(EVENT, "Success")], 20)
    env.ours.check_image(image)
    assert "method stream" not in agent.text(), agent.text()


def test_the_image_boots_after_its_server_is_deleted(env):
    env.agent.stop()
    env.compute_as()
    image = env.ours.images["novasnapd, direct, running"]
    env.delete_server(env.ours)
    server = env.cloud.boot(["again"], image, env.flavor)["again"]
    assert env.ceph.info("vms", f"{server}_disk")["parent"]["image"] == image
    assert env.ceph.hash_image("vms", f"{server}_disk") == env.ours.content
    # Glance removes an image with the snapshot that it expects.
    for other in (each for player in (env.ours, env.ours_off) for each in player.images.values() if each != image):
        env.cloud.connection().image.delete_image(other)
    env.check_nothing_left()


def test_nothing_is_left(env):
    snapshots = os.path.join(env.cloud.instances, "snapshots")
    left = os.listdir(snapshots) if os.path.isdir(snapshots) else []
    assert left == [], left
    assert env.agent.left() == [], env.agent.left()
    assert "gAAAAA" not in env.agent.text()


TESTS = [test_nova_compute_direct, test_nova_compute_falls_back, test_direct, test_direct_and_flattened_by_the_manager,
         test_streamed_where_the_pool_may_not_be_written, test_streamed_where_glance_refuses_the_location,
         test_killed_while_it_copies, test_the_image_boots_after_its_server_is_deleted, test_nothing_is_left]

if __name__ == "__main__":
    tap.main(CephEnvironment, TESTS, ordered=True)
