# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests beside nova-compute share: a nova-compute that is started by its files, and what the broker has."""
import os
import signal

import tap
from agent import write_sections
from cloud import MICROVERSION, run
from process import end, spawn


class Compute:
    """A nova-compute with a host name of its own, which libvirt sees too, and with configuration files of its own."""

    def __init__(self, cloud, host, **sections):
        self.cloud, self.host, self.process = cloud, host, None
        self.log = cloud.log(f"nova-compute-{host}")
        self.conf = os.path.join(cloud.etc, f"{host}.conf")
        self.sections = sections
        self.configure()

    def configure(self, **sections):
        """Writes the file that is read after nova.conf."""
        merged = {name: dict(keys) for name, keys in self.sections.items()}
        for name, keys in sections.items():
            merged.setdefault(name, {}).update(keys)
        write_sections(self.conf, merged)

    def service(self):
        services = self.cloud.get(f"/os-services?binary=nova-compute&host={self.host}")["services"]
        return services[0] if services else None

    def start(self, wait=True):
        before = (self.service() or {}).get("updated_at")
        self.process = spawn(["unshare", "--uts", "sh", "-c", f'hostname {self.host} && exec "$0" "$@"', "nova-compute",
                              *self.cloud.conf("nova"), "--config-file", self.conf], self.log)
        if wait:
            self.wait_up(before)

    def wait_up(self, before=None):
        def is_up():
            assert self.process.poll() is None, f"nova-compute of {self.host} has ended; see {self.log}"
            service = self.service()
            return service and service["state"] == "up" and service["updated_at"] != before
        tap.wait_for(f"nova-compute of {self.host}", is_up, 120, 0.5)

    def stop(self):
        end(self.process, 30)
        self.process = None

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    def answers(self, server):
        """Whether it serves: nova-api waits for the answer of this call."""
        return self.cloud.connection().compute.post(
            f"/servers/{server}/action", json={"os-getConsoleOutput": {"length": 1}},
            microversion=MICROVERSION).status_code == 200


def discover_hosts(cloud, count):
    """Waits until the scheduler may use this many hosts. A cell maps a host when its node has been reported."""
    def finds_all():
        run(["nova-manage", *cloud.conf("nova"), "cell_v2", "discover_hosts"], cloud.log("nova-manage"))
        placement = cloud.connection().placement
        stocks = [placement.get(f"/resource_providers/{provider['uuid']}/inventories").json()["inventories"]
                  for provider in placement.get("/resource_providers").json()["resource_providers"]]
        return len(cloud.get("/os-hypervisors")["hypervisors"]) == len([each for each in stocks if each]) == count
    tap.wait_for(f"{count} hosts", finds_all, 120, 1)


def check_unchanged(broker, before):
    """Compares what is declared with an earlier answer of declared."""
    now = declared(broker)
    lost, more = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    assert now == before, f"missing: {lost}, more: {more}"


def declared(broker):
    """What is declared at the broker, without queues that have random names, and without those of error
    notifications, which nova declares at the first one."""
    lines = []
    for what, columns in (("exchanges", ["name", "type", "durable"]), ("queues", ["name", "durable", "arguments"]),
                          ("bindings", ["source_name", "destination_kind", "destination_name", "routing_key"])):
        lines += [f"{what}: {line}" for line in broker.ctl(f"list_{what}", *columns).splitlines()]
    others = ("reply_", "_fanout", "amq.", "notifications.error")
    return sorted(line for line in lines if not any(other in line for other in others))
