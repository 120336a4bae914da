#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Draws conf/docs/monitoring.svg: what a real Prometheus has recorded, by expressions of the dashboard, while an agent
takes a burst of snapshots during which Glance is away for a while, and another one forwards beside nova-compute.
    BUILD=build tests/bench/metrics_plots.py    needs root, and the packages of the groups run, test and bench"""
import json
import os
import re
import subprocess
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from images import MIB  # noqa: E402
from paths import CAST, TOP  # noqa: E402
from process import free_port  # noqa: E402
from prometheus import Prometheus  # noqa: E402

SECONDS = 120
STEP = 5  # seconds between two points, which keeps the file small
AWAY = (22, 34)  # when Glance is away, since the begin
PANELS = ("Bytes sent", "Jobs", "Services: 1 answers", "Beside nova-compute: delay of a forwarded message")


class Site(Environment):
    services = ("broker", "glance", "libvirt", "conductor")

    def set_up(self):
        self.guests = [self.make_guest(size_mib=64, data_mib=24) for _ in range(6)]
        self.wait_services()


def expressions():
    with open(os.path.join(TOP, "conf/grafana/novasnap.json")) as file:
        panels = {panel["title"]: panel["targets"] for panel in json.load(file)["panels"]}
    return {title: [(target["expr"].replace("$host", ".*").replace("$__rate_interval", "5s"), target["legendFormat"])
                    for target in panels[title]] for title in PANELS}


def legend(form, labels, hosts):
    """As Grafana fills it in; `hosts`: instance -> name."""
    return re.sub(r"{{(\w+)}}", lambda match: hosts.get(labels.get(match[1]), labels.get(match[1], "")), form)


def plot(found, path):
    """`found`: title -> [(legend, [(seconds, value)])]."""
    script = f"""set terminal svg size 900,480 font "sans,11" background "white"
set output "{path}"
set multiplot layout 2,2
set key top right
set offsets 0,0,graph 0.4,0
set xrange [0:{SECONDS}]
set yrange [0:*]
set format y "%.1s%c"
set xlabel "seconds"
"""
    for title, lines in found.items():
        data = "".join(f"$d{number} << EOD\n" + "".join(f"{at:.0f} {value:.6g}\n" for at, value in points) + "EOD\n"
                       for number, (_name, points) in enumerate(lines))
        script += f'set title "{title}"\n{data}plot ' + ", ".join(
            f'$d{number} using 1:2 with lines lw 1.5 title "{name}"'
            for number, (name, _points) in enumerate(lines)) + "\n"
    subprocess.run(["gnuplot"], input=script + "unset multiplot\n", text=True, check=True, timeout=60)
    with open(path) as file:
        drawn = file.read()
    with open(path, "w") as file:  # without the groups in which nothing is drawn
        file.write(re.sub(r"<g [^>]*>\s*</g>\s*", "", drawn))


def test_draw(env):
    ports = [free_port(), free_port()]
    agent = env.start_agent(metrics_listen=f"127.0.0.1:{ports[0]}", upload_bytes_per_second=str(6 * MIB),
                            sections={"retries": 20, "DEFAULT": {"max_concurrent_snapshots": "2"}})
    beside = env.start_beside_agent(metrics_listen=f"127.0.0.1:{ports[1]}")
    prometheus = env.enter(Prometheus(env.folder, [f"127.0.0.1:{port}" for port in ports]))
    hosts = {f"127.0.0.1:{port}": f"host{number}" for number, port in enumerate(ports, 1)}
    images = [env.glance.create() for _ in env.guests]
    begin, away, sent = time.time(), False, 0
    while time.time() - begin < SECONDS:
        seconds = time.time() - begin
        env.broker.publish({"method": "refresh", "args": {}, "version": "6.0", "_unique_id": uuid.uuid4().hex},
                           f"compute.{beside.host}")
        if sent < len(env.guests) and seconds > 10 + 3 * sent:
            agent.command("send", "snapshot_instance", "--file", CAST, "--instance", env.guests[sent].uuid,
                          "--image", images[sent])
            sent += 1
        if AWAY[0] < seconds < AWAY[1] and not away:
            env.glance.stop()
            away = True
        if seconds > AWAY[1] and away:
            env.glance.start()
            away = False
        time.sleep(0.5)
    found = {}
    for title, targets in expressions().items():
        found[title] = []
        for expression, form in targets:
            for labels, points in prometheus.range(expression, begin, begin + SECONDS, STEP):
                found[title].append((legend(form, labels, hosts), [(at - begin, value) for at, value in points]))
        assert found[title], title
    plot(found, os.path.join(TOP, "conf/docs/monitoring.svg"))


if __name__ == "__main__":
    tap.main(Site)
