#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnapd beside a real nova-compute, in one broker with a second nova-compute: `novasnap beside --enable` as the
operators' page has it, each of nova's actions, mixed requests while either service is killed, and `--disable`. The
whole control plane is real but for Neutron. Each test takes the cloud as the one before it left it.
  NOVASNAP_BESIDE_REQUESTS=N: of the mixed requests.
  NOVASNAP_BESIDE_SEED=N: of what is asked for and killed.
  NOVASNAP_BESIDE_KILL_BROKER=1: the broker is killed, too."""
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lib"), HERE]
import tap  # noqa: E402
from cloud import MICROVERSION, Cloud  # noqa: E402
from compute_host import Compute, check_unchanged, declared, discover_hosts  # noqa: E402
from environment import Environment  # noqa: E402
from images import qemu_img  # noqa: E402
from libvirtd import Libvirtd  # noqa: E402
from mixed import ACTIONS, Mixed  # noqa: E402
from server import Server  # noqa: E402

REQUESTS = int(os.environ.get("NOVASNAP_BESIDE_REQUESTS") or 24)
SEED = int(os.environ.get("NOVASNAP_BESIDE_SEED") or time.time())
KILL_BROKER = os.environ.get("NOVASNAP_BESIDE_KILL_BROKER") == "1"


class Beside(Environment):
    cloud = agent = None
    computes = {}
    mixed_servers = ()

    def set_up(self):
        self.other = self.enter(Libvirtd(self.folder, "other", "lab2"))
        self.cloud = cloud = self.enter(Cloud(self.folder))
        state = self.folder.make("nova2")
        self.computes = {
            cloud.host: Compute(cloud, cloud.host),
            "lab2": Compute(cloud, "lab2", DEFAULT={"host": "lab2", "state_path": state,
                                                    "instances_path": self.folder.make("nova2/instances")},
                            libvirt={"connection_uri": self.other.uri},
                            # The queue manager names the queues of replies by it.
                            oslo_messaging_rabbit={"hostname": f"{cloud.queue_manager}-2"})}
        for compute in self.computes.values():
            compute.start(wait=False)
            self.callback(compute.stop)
        for compute in self.computes.values():
            compute.wait_up()
        discover_hosts(cloud, 2)
        self.image, self.flavor = cloud.make_image("base"), cloud.make_flavor()
        self.larger = cloud.make_flavor(96)
        self.servers = {host: self.boot(f"first-{host}", host) for host in self.computes}
        self.agent = self.make_agent(sections={"base": cloud.nova_conf, "novasnap": {"mode": "beside"}})
        self.callback(self.agent.stop)
        self.callback(self.remove_domains)

    def remove_domains(self):
        for uuid in self.other.virsh("list", "--all", "--uuid", check=False).split():
            self.other.virsh("destroy", uuid, check=False)
            self.other.virsh("undefine", uuid, check=False)

    def boot(self, name, host):
        reply = self.cloud.connection().compute.post("/servers", json={"server": {
            "name": name, "imageRef": self.image, "flavorRef": self.flavor, "networks": "none",
            "availability_zone": f"nova:{host}"}}, microversion="2.37")
        assert reply.status_code == 202, reply.text
        server = Server(self.cloud, reply.json()["server"]["id"])
        record = tap.wait_for(f"server {name}", lambda: (
            found := server.record())["status"] in ("ACTIVE", "ERROR") and found, 120, 0.5)
        assert record["status"] == "ACTIVE" and record["OS-EXT-SRV-ATTR:host"] == host, record.get("fault")
        return server

    def delete(self, server):
        compute = self.cloud.connection().compute
        compute.delete_server(server.server)
        tap.wait_for("end of the deletion", lambda: compute.find_server(server.server) is None, 60)

    @property
    def theirs(self):
        return self.computes[self.cloud.host]

    @property
    def ours(self):
        """The server on novasnapd's host."""
        return self.servers[self.cloud.host]

    @property
    def logs(self):
        logs = [compute.log for compute in self.computes.values()]
        if self.cloud:
            logs.append(self.cloud.log("nova-scheduler"))
        return logs + [self.agent.log] if self.agent else logs

    def beside(self, *args, check=True):
        return self.agent.command("beside", *args, check=check)

    def status(self):
        return json.loads(self.beside("--status", "--json", check=False).stdout)

    def is_novasnaps(self, image):
        return bool(self.agent.shown(image))

    def wait_image(self, server, image):
        server.wait_idle()
        record = tap.wait_for(f"image {image}", lambda: (
            found := self.cloud.connection().image.find_image(image)) is None or
            found.status not in ("queued", "saving") and [found], 60)
        return record[0] if isinstance(record, list) else None

    def jobs_of(self, server):
        """The lines of novasnapd's journal on this server."""
        return self.agent.shown(server.server)

    def restart_novasnapd(self):
        self.agent.kill()
        self.agent.start()

    def restart_nova_compute(self):
        self.theirs.kill()
        self.theirs.start()

    def restart_broker(self):
        self.cloud.broker.kill()
        self.cloud.broker.start()
        for compute in self.computes.values():
            compute.wait_up(compute.service()["updated_at"])

    @property
    def durable(self):
        """Whether requests outlive the broker."""
        return self.cloud.messaging != "plain"

    def repair(self, server):
        """Brings a server back whose request died with nova-compute, as an operator would."""
        self.cloud.act(server.server, {"os-resetState": {"state": "active"}})
        server.ask({"reboot": {"type": "HARD"}}, "repair")
        server.wait_success()

    def check_whole(self, image):
        """The image is one that can be used."""
        path = os.path.join(self.cloud.images, image)
        qemu_img("check", "-f", "qcow2", path)


def exchange_of(env):
    return f"nova.{env.cloud.host}"


def test_enable(env):
    env.before = declared(env.cloud.broker)
    env.agent.start()
    done = env.beside("--enable", "--wait", "0", check=False)
    assert done.returncode == 3 and f"control_exchange = {exchange_of(env)}" in done.stdout, done
    # nova-compute has its old configuration, and serves through novasnapd.
    assert env.theirs.answers(env.ours.server)
    env.theirs.stop()
    env.theirs.configure(DEFAULT={"control_exchange": exchange_of(env)})
    env.theirs.start()
    done = env.beside("--enable", "--wait", "60", check=False)
    assert done.returncode == 0 and "Done" in done.stdout, done
    assert env.beside("--status", check=False).returncode == 0, env.status()


def test_each_action_is_served(env):
    server = env.ours
    for name in ("pause", "unpause", "suspend", "resume", "reboot", "stop", "start"):
        what, _, status = ACTIONS[name]
        server.ask(what, name)
        server.wait_success(status)
    server.ask({"shelve": None}, "shelve")
    server.wait_success("SHELVED")
    server.ask({"unshelve": None}, "unshelve")
    server.wait_success()
    assert env.theirs.answers(server.server)
    assert not env.jobs_of(server), "novasnapd served what is nova-compute's"


def test_boot_resize_and_delete(env):
    """The scheduler may choose either host for the new size."""
    other = env.boot("second", env.cloud.host)
    other.ask({"resize": {"flavorRef": env.larger}}, "resize")
    other.wait_status("VERIFY_RESIZE")
    env.cloud.connection().compute.post(f"/servers/{other.server}/action", json={"confirmResize": None},
                                        microversion=MICROVERSION)
    other.wait_status("ACTIVE")
    env.delete(other)


def test_attach_of_a_volume_to_a_running_server(env):
    """nova-api waits for nova-compute's answer to a call before it sends the cast."""
    server, volume = env.boot("volume", env.cloud.host), env.cloud.volumes.make_volume()
    reply = env.cloud.connection().compute.post(f"/servers/{server.server}/os-volume_attachments", json={
        "volumeAttachment": {"volumeId": volume}}, microversion=MICROVERSION)
    assert reply.status_code == 200, reply.text
    tap.wait_for("the attachment", lambda: env.cloud.volumes.volumes[volume]["status"] == "in-use", 60)
    assert env.cloud.volumes.devices[volume] in env.cloud.libvirt.virsh("domblklist", server.server)
    env.cloud.volumes.release()
    env.delete(server)
    assert not env.cloud.volumes.attachments


def test_snapshots_and_backups_are_novasnaps(env):
    for what in ("image", "backup"):
        image = env.ours.ask(what, f"beside-{what}")
        found = env.wait_image(env.ours, image)
        assert found and found.status == "active", found
        env.check_whole(image)
        assert env.is_novasnaps(image), f"nova-compute made the {what}"
        with open(env.theirs.log, errors="replace") as file:
            assert image not in file.read(), f"nova-compute served the {what} too"


def reconfigure(env, **keys):
    assert env.agent.stop() == 0
    env.agent.configure("novasnap", **keys)
    env.agent.start()
    tap.wait_for("novasnapd's turn", lambda: env.beside("--status", check=False).returncode == 0, 60)


def test_nova_shows_the_progress_of_a_snapshot(env):
    """nova-api shows it of servers that are ACTIVE. The upload takes about 24 s."""
    before = env.ours.record()["progress"]
    reconfigure(env, report_progress="true", upload_bytes_per_second=str(1 << 20))
    image = env.ours.ask("image", "progress")
    seen = []
    while (record := env.ours.record())["OS-EXT-STS:task_state"] is not None:
        assert record["status"] == "ACTIVE", record
        seen.append(record["progress"])
        time.sleep(0.2)
    assert any(0 < percent < 100 for percent in seen), seen
    assert all(percent <= later for percent, later in zip(seen, seen[1:])), seen
    assert record["progress"] == before == 0, (before, record)
    found = env.wait_image(env.ours, image)
    assert found and found.status == "active" and env.is_novasnaps(image), found
    reconfigure(env, report_progress="false", upload_bytes_per_second="0")


def test_another_host_has_its_own(env):
    other = env.servers["lab2"]
    image = other.ask("image", "lab2")
    found = env.wait_image(other, image)
    assert found and found.status == "active", found
    assert not env.is_novasnaps(image)


def mixed_requests(env, novasnapd):
    """The same requests in both runs, with the same kills but for novasnapd's."""
    if not env.mixed_servers:
        env.mixed_servers = [(host, env.servers[host]) for host in env.computes]
        env.mixed_servers += [(host, env.boot(f"third-{host}", host)) for host in env.computes]
    victims = {"nova-compute": env.restart_nova_compute}
    if novasnapd:
        victims["novasnapd"] = env.restart_novasnapd
    if KILL_BROKER:
        victims["broker"] = env.restart_broker
    count = Mixed(env, env.mixed_servers, SEED, victims, novasnapd).run(REQUESTS)
    for _, server in env.mixed_servers:
        env.repair(server)
    assert count["snapshots"] > 0 and count["other requests"] > 0, count


def test_mixed_requests_while_services_are_killed(env):
    mixed_requests(env, True)
    tap.wait_for("the topology", lambda: env.beside("--status", check=False).returncode == 0, 90)


def test_nova_compute_makes_them_while_novasnapd_is_stopped(env):
    assert env.agent.stop() == 0
    image = env.ours.ask("image", "without")
    found = env.wait_image(env.ours, image)
    assert found and found.status == "active" and not env.is_novasnaps(image), found
    env.agent.start()
    tap.wait_for("novasnapd's turn", lambda: env.beside("--status", check=False).returncode == 0, 60)
    image = env.ours.ask("image", "again")
    found = env.wait_image(env.ours, image)
    assert found and found.status == "active" and env.is_novasnaps(image), found


def test_disable(env):
    done = env.beside("--disable", "--wait", "0", check=False)
    assert done.returncode == 3, done
    assert env.theirs.answers(env.ours.server)
    env.theirs.stop()
    env.theirs.configure()
    env.theirs.start()
    done = env.beside("--disable", "--wait", "120", check=False)
    assert done.returncode == 0, done
    assert env.agent.stop() == 0
    check_unchanged(env.cloud.broker, env.before)
    assert env.theirs.answers(env.ours.server)
    image = env.ours.ask("image", "afterwards")
    found = env.wait_image(env.ours, image)
    assert found and found.status == "active" and not env.is_novasnaps(image), found


def test_the_same_requests_without_novasnapd(env):
    mixed_requests(env, False)


if __name__ == "__main__":
    tap.main(Beside, ordered=True)
