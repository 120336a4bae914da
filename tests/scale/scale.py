#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many novasnapds on one machine against one real RabbitMQ, a real libvirtd, and a stand-in conductor: what they cost at
rest, how fast all of them consume after a start and after a restart of the broker, and a burst of casts of which none may
be lost. The casts are for instances that nobody knows, so that each ends soon and costs what the agent itself costs.
    scale.py [--agents 1000] [--casts 10000] [--rest SECONDS] [--json FILE]
    scale.py --cluster [--agents 100] ...    against a cluster of three brokers with quorum queues, one of which is killed
                                             during the burst
Prints each figure, and fails if a cast was lost or an agent has ended."""
import argparse
import collections
import contextlib
import json
import os
import re
import resource
import signal
import statistics
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "tests", each) for each in ("lib", "bench", "scale")]
import fleet as fleets  # noqa: E402
import meter  # noqa: E402
from agent import write_sections  # noqa: E402
from burst import send_burst  # noqa: E402
from broker import Broker  # noqa: E402
from cluster import Cluster  # noqa: E402
from counters import Traffic, census  # noqa: E402
from libvirtd import Libvirtd  # noqa: E402
from process import Folder, end, spawn  # noqa: E402
from tap import wait_for  # noqa: E402

DESCRIPTORS = 65536
OPTIONS = ["heartbeat = 60", "tcp_listen_options.backlog = 4096"]  # as conf/docs/scale.md has it
SETTLE_S = 30  # after the start: by then what only a start needs is closed
BROKER_ENV = {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none", "RABBITMQ_MAX_OPEN_FILES": str(DESCRIPTORS)}


class Conductor:
    """The stand-in conductor, in a process of its own: of a cloud of Zed."""

    def __init__(self, folder, url, *conf):
        self.log, self.process = folder.file("conductor.log"), None
        self.arguments = [sys.executable, os.path.join(TOP, "tests/scale/conductor.py"), url, *conf]

    def __enter__(self):
        self.process = spawn(self.arguments, self.log, {"NOVASNAP_SERVICE_VERSION": "64"})
        self._lines(1)
        return self

    def _lines(self, count):
        def are_there():
            if self.process.poll() is not None:
                raise RuntimeError(f"the conductor has ended; see {self.log}")
            with open(self.log, errors="replace") as file:
                lines = [line for line in file if line == "ready\n" or line.startswith("{")]
            return lines if len(lines) >= count else None
        return wait_for("the conductor", are_there, 60, 0.1)

    def answered(self):
        """Returns how many calls it has answered, by their kind."""
        before = len(self._lines(1))
        self.process.send_signal(signal.SIGUSR1)
        return collections.Counter(json.loads(self._lines(before + 1)[-1]))

    def __exit__(self, *_):
        end(self.process)


def percentile(values, percent):
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def seconds(values):
    """Returns the spread of these times, and how many of them are in each second."""
    counted = collections.Counter(int(value) for value in values)
    return {"median": round(statistics.median(values), 2), "p99": round(percentile(values, 99), 2),
            "last": round(max(values), 2), "per_s": [counted[second] for second in range(max(counted) + 1)]}


def beam(broker):
    """Returns the process of the broker that does the work."""
    pids = [broker.process.pid, *meter.children(broker.process.pid)]
    return max(pids, key=lambda pid: meter.memory(pid)[1])


def connects(log, mark):
    """Returns how many connections the broker accepted in each second after a mark of its log."""
    with open(log, errors="replace") as file:
        file.seek(mark)
        found = re.findall(r"(\d\d):(\d\d):(\d\d)\.\d+\S* \[info\] <[^>]*> accepting AMQP connection", file.read())
    times = [int(hours) * 3600 + int(minutes) * 60 + int(secs) for hours, minutes, secs in found]
    if not times:
        return []
    counted = collections.Counter(each - times[0] for each in times)
    return [counted[second] for second in range(max(counted) + 1)]


def cpus(fleet, others):
    return {"agents": fleet.cpu(), **{name: meter.cpu(pid) for name, pid in others.items()}}


def rest(site, fleet, brokers, wait_s):
    """Measures while nothing is asked of the agents."""
    others = {"libvirtd": site.libvirt.process.pid, "conductor": site.conductor.process.pid,
              **{f"broker {number}": beam(broker) for number, broker in enumerate(brokers, 1)}}
    before, answered, traffic = cpus(fleet, others), site.conductor.answered(), Traffic(brokers)
    began = time.monotonic()
    time.sleep(wait_s)
    passed = time.monotonic() - began
    after, calls, rates = cpus(fleet, others), site.conductor.answered() - answered, traffic.rates(len(fleet.agents))
    anonymous, pss = fleet.memory()
    return {"seconds": round(passed),
            "cpu_percent": {name: round((after[name] - before[name]) / passed * 100, 1) for name in before},
            "anonymous_mib": round(statistics.median(anonymous), 2), "pss_mib": round(statistics.median(pss), 2),
            "anonymous_mib_most": round(max(anonymous), 2), **fleet.handles(),
            "brokers_pss_mib": [round(meter.memory(beam(broker))[1]) for broker in brokers],
            "per_agent_and_s": rates,
            "calls_per_agent_and_s": {name: round(count / passed / len(fleet.agents), 4)
                                      for name, count in calls.items()}}


class Site:
    """What both measurements have: a libvirtd, a conductor and the agents."""

    def __init__(self, options, folder, stack):
        self.options, self.folder, self.stack = options, folder, stack
        self.brokers, self.conductor = [], None
        self.figures = {"agents": options.agents, "cpus": os.cpu_count(), "away_s": options.away}
        self.libvirt = Libvirtd(folder)
        self.libvirt.limits = "max_clients = 20000\nmax_queued_clients = 20000\nmax_anonymous_clients = 20000\n"

    def note(self, name, value):
        self.figures[name] = value
        print(f"{name}: {json.dumps(value)}", flush=True)

    def burst(self, brokers, fleet, count, half=lambda: None):
        answered = self.conductor.answered()
        figures = send_burst(brokers, fleet, count, half)
        figures["conductor_calls"] = sum((self.conductor.answered() - answered).values())
        return figures

    def start(self, service):
        self.stack.callback(service.stop)
        service.start()

    def make_fleet(self, url, conf=(), **sections):
        self.start(self.libvirt)
        self.conductor = self.stack.enter_context(Conductor(self.folder, url, *conf))
        time.sleep(5)
        self.note("brokers_pss_mib_before", [round(meter.memory(beam(broker))[1]) for broker in self.brokers])
        self.note("before", census(self.brokers[0], self.options.agents))
        fleet = fleets.Fleet(self.folder, self.options.agents, url, self.libvirt.uri,
                             novasnap={"control": "conductor", "report_state": "true"}, **sections)
        self.stack.callback(fleet.stop)
        return fleet


def measure_one(site):
    """One broker."""
    options, note = site.options, site.note
    broker = Broker(site.folder, options=OPTIONS)
    broker.env.update(BROKER_ENV)
    site.start(broker)
    site.brokers = [broker]
    fleet = site.make_fleet(broker.url)
    mark = os.path.getsize(broker.log)
    note("start_s", seconds(fleet.start()))
    note("start_connects_per_s", connects(broker.log, mark))
    time.sleep(SETTLE_S)
    note("census", census(broker, options.agents))
    note("rest", rest(site, fleet, [broker], options.rest))
    marks = fleet.marks()
    broker.stop()
    mark = os.path.getsize(broker.log)
    time.sleep(options.away)
    broker.start()
    note("restart_s", seconds(fleet.wait_log((fleets.CONSUMES, fleets.PUBLISHES), marks, time.monotonic())))
    note("restart_connects_per_s", connects(broker.log, mark))
    note("burst", site.burst([broker], fleet, options.casts))
    anonymous, _pss = fleet.memory()
    note("anonymous_after_mib", round(statistics.median(anonymous), 2))


def measure_cluster(site):
    """Three brokers, quorum queues. The second one is killed during the burst, and started again after it."""
    cluster = Cluster(site.folder, OPTIONS)
    for node in cluster.nodes:
        node.env.update(BROKER_ENV)
    site.start(cluster)
    conf = site.folder.file("oslo.conf")
    site.brokers = cluster.nodes
    rabbit = {"rabbit_quorum_queue": "true", "rabbit_transient_quorum_queue": "true"}
    write_sections(conf, {"oslo_messaging_rabbit": rabbit})
    fleet = site.make_fleet(cluster.url, [conf], oslo_messaging_rabbit=rabbit)
    site.note("start_s", seconds(fleet.start()))
    time.sleep(SETTLE_S)
    site.note("census", census(cluster.nodes[0], site.options.agents))
    site.note("rest", rest(site, fleet, cluster.nodes, site.options.rest))
    site.note("burst_with_a_kill", site.burst(cluster.nodes, fleet, site.options.casts, cluster.nodes[1].kill))
    cluster.nodes[1].start()
    site.note("burst", site.burst(cluster.nodes, fleet, site.options.casts // 5))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--casts", type=int, default=10000)
    parser.add_argument("--rest", type=int, default=120, help="seconds")
    parser.add_argument("--away", type=int, default=20, help="seconds for which the broker is stopped")
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("scale.py: ended by SIGTERM"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, hard), hard))
    with Folder() as folder, contextlib.ExitStack() as stack:
        site = Site(options, folder, stack)
        (measure_cluster if options.cluster else measure_one)(site)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(site.figures, file, indent=1)
    bursts = [value for name, value in site.figures.items() if name.startswith("burst")]
    if any(each["lost"] or each["twice"] for each in bursts):
        sys.exit("scale.py: casts were lost or taken twice")


if __name__ == "__main__":
    main()
