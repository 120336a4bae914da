#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Metrics, as a real Prometheus sees them: the endpoint and the file of agents that make real snapshots, the alert
rules, and each expression of the dashboard. RabbitMQ, libvirt, QEMU, Glance and Prometheus are real; the conductor is a
stand-in."""
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from images import MIB  # noqa: E402
from paths import CAST, TOP  # noqa: E402
from process import free_port  # noqa: E402
from prometheus import NodeExporter, Prometheus, promtool  # noqa: E402
from standin_keystone import KeystoneStandIn  # noqa: E402

RULES = os.path.join(TOP, "conf/prometheus/novasnap.rules.yml")
DASHBOARD = os.path.join(TOP, "conf/grafana/novasnap.json")
UNKNOWN = "00000000-0000-4000-8000-000000000018"


class Metrics(Environment):
    services = ("broker", "glance", "libvirt", "conductor")

    def set_up(self):
        self.guest = self.make_guest(size_mib=64, data_mib=16)
        self.wait_services()

    def before_test(self):
        self.conductor.reset()

    def agent(self, **novasnap):
        port = free_port()
        agent = self.start_agent(metrics_listen=f"127.0.0.1:{port}", **novasnap)
        agent.port = port
        return agent

    def snapshot(self, agent):
        self.conductor.task_states[self.guest.uuid] = "image_snapshot_pending"  # as nova-api does
        image, shown, status = agent.snapshot(self.guest.uuid, "--image", self.glance.create())
        assert status == 0, (shown, agent.text()[-1500:])
        return image

    def prometheus(self, *agents):
        return self.enter(Prometheus(self.folder, [f"127.0.0.1:{agent.port}" for agent in agents], [RULES]))


def get(port, path="/metrics", method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        return reply, reply.read().decode()
    finally:
        connection.close()


def parse(text):
    """Returns {sample with its labels: value}."""
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.split("\n")
            if line and not line.startswith("#")}


def test_the_endpoint_counts_a_snapshot(env):
    agent = env.agent()
    reply, text = get(agent.port)
    assert reply.status == 200 and reply.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    before = parse(text)
    for service in ("broker", "libvirt"):
        assert before[f'novasnap_service_up{{service="{service}"}}'] == 1, before
    assert before["novasnap_jobs_running"] == 0 and before["novasnap_journal_bytes"] > 1000
    assert 'novasnap_service_up{service="glance"}' not in before
    image = env.snapshot(agent)
    size = os.path.getsize(env.glance.file(image))
    tap.wait_for("end", lambda: parse(get(agent.port)[1])[
        'novasnap_snapshots_total{method="stream",outcome="succeeded"}'] == 1, 20)
    after = parse(get(agent.port)[1])
    assert after['novasnap_upload_bytes_sum{method="stream"}'] == size
    assert after["novasnap_upload_sent_bytes_total"] == size
    for name in ("snapshot_duration_seconds", "upload_duration_seconds", "upload_throughput_bytes_per_second"):
        assert after[f'novasnap_{name}_count{{method="stream"}}'] == 1, after
        assert after[f'novasnap_{name}_bucket{{method="stream",le="+Inf"}}'] == 1, after
        assert after[f'novasnap_{name}_sum{{method="stream"}}'] > 0, after
    for service in ("glance", "conductor"):
        assert after[f'novasnap_service_up{{service="{service}"}}'] == 1, after
    # A failure, of a guest that libvirt does not know.
    _image, shown, status = agent.snapshot(UNKNOWN, "--image", env.glance.create())
    assert status == 1, shown
    tap.wait_for("failure", lambda: sum(
        value for name, value in parse(get(agent.port)[1]).items()
        if name.startswith('novasnap_snapshots_total{method="none"') and "succeeded" not in name) == 1, 20)
    checked = promtool("check", "metrics", text=get(agent.port)[1])
    assert checked.returncode == 0 and not checked.stderr, checked


def test_a_credential_that_keystone_refuses(env):
    keystone = env.enter(KeystoneStandIn())
    user = keystone.section(send_service_user_token="true")
    agent = env.agent(sections={"keystone_authtoken": user, "service_user": user, "retries": 0})
    assert 'novasnap_service_up{service="keystone"}' not in parse(get(agent.port)[1])
    keystone.refuses = True
    env.conductor.task_states[env.guest.uuid] = "image_snapshot_pending"
    status = agent.snapshot(env.guest.uuid, "--image", env.glance.create())[2]
    assert status == 1 and parse(get(agent.port)[1])['novasnap_service_up{service="keystone"}'] == 0
    keystone.refuses = False
    env.snapshot(agent)
    assert parse(get(agent.port)[1])['novasnap_service_up{service="keystone"}'] == 1


def test_a_service_that_goes_away(env):
    agent = env.agent(sections={"retries": 0})
    prometheus = env.prometheus(agent)
    alert = rule("NovasnapSnapshotsFail")
    env.snapshot(agent)
    tap.wait_for("scrape", lambda: prometheus.query('sum(novasnap_snapshots_total{outcome="succeeded"}) == 1'), 20)
    assert prometheus.query(alert) == []
    env.glance.stop()
    env.conductor.task_states[env.guest.uuid] = "image_snapshot_pending"
    try:
        _image, shown, status = agent.snapshot(env.guest.uuid, "--image", UNKNOWN)
        assert status == 1, shown
        assert parse(get(agent.port)[1])['novasnap_service_up{service="glance"}'] == 0
        # The first failure of its method in this process.
        tap.wait_for("alert", lambda: prometheus.query(alert), 20)
    finally:
        env.glance.start()
    env.snapshot(agent)
    assert parse(get(agent.port)[1])['novasnap_service_up{service="glance"}'] == 1


def rule(name):
    """Returns the expression of an alert."""
    with open(RULES) as file:
        text = file.read()
    body = re.search(rf"- alert: {name}\n(?: +#.*\n)* +expr: (?:>-\n)?((?:.*\n)+?) +(?:for|labels):", text)[1]
    return " ".join(body.split())


def test_recovered_jobs_are_counted(env):
    agent = env.agent(upload_bytes_per_second=str(MIB))
    prometheus = env.prometheus(agent)
    alert = rule("NovasnapRecoversOften").replace("[6h:1m]", "[10m:1s]")
    assert "[10m:1s]" in alert, alert
    env.conductor.host = agent.host
    env.conductor.task_states[env.guest.uuid] = "image_snapshot_pending"
    agent.command("send", "snapshot_instance", "--file", CAST, "--instance", env.guest.uuid, "--image",
                  env.glance.create())
    for killed in range(4):
        if killed < 3:  # after three interruptions the job is given up
            tap.wait_for("upload", lambda: agent.text().count("bytes to upload") == killed + 1, 30)
        running = parse(get(agent.port)[1])
        assert running["novasnap_jobs_running"] == 1 or killed == 3, running
        assert running['novasnap_recovered_jobs_total{state="begun"}'] == min(killed, 1), running
        started = running["novasnap_process_start_time_seconds"]
        tap.wait_for("scrape", lambda: [value for _labels, value in prometheus.query(
            "novasnap_process_start_time_seconds")] == [started], 20)
        time.sleep(1.5)  # a step of the alert's subquery sees this process
        assert bool(prometheus.query(alert)) == (killed == 3), (killed, prometheus.query(alert))
        if killed < 3:
            agent.kill()
            agent.start()


def test_the_file(env):
    path = os.path.join(env.folder.make("textfile"), "novasnap.prom")
    agent = env.make_agent(metrics_file=path, metrics_interval="1")
    agent.start()
    env.callback(agent.stop)
    tap.wait_for("file", lambda: os.path.exists(path), 10)
    # It is never seen incomplete, and nothing is left beside it.
    until, numbers = time.monotonic() + 3, set()
    while time.monotonic() < until:
        with open(path) as file:
            text = file.read()
        assert text.endswith("\n") and "novasnap_journal_bytes" in text and "novasnap_recovered_jobs_total" in text
        numbers.add(os.stat(path).st_ino)
        assert [name for name in os.listdir(os.path.dirname(path)) if name.endswith(".prom")] == ["novasnap.prom"]
    assert len(numbers) >= 2, numbers
    assert os.stat(path).st_mode & 0o777 == 0o644
    assert promtool("check", "metrics", text=text).returncode == 0
    agent.stop()
    with open(path) as file:
        assert file.read() == "# novasnapd was stopped.\n"
    assert os.listdir(os.path.dirname(path)) == ["novasnap.prom"]


def test_the_file_in_node_exporter(env):
    """node_exporter has metrics of its own process, and drops those of the same names in a file."""
    folder = env.folder.make("collected")
    exporter = env.enter(NodeExporter(env.folder, folder))
    prometheus = env.enter(Prometheus(env.folder, [], [RULES], [f"127.0.0.1:{exporter.port}"]))
    agent = env.make_agent(metrics_file=os.path.join(folder, "novasnap.prom"), metrics_interval="1")
    agent.start()
    env.callback(agent.stop)
    tap.wait_for("file", lambda: os.listdir(folder) == ["novasnap.prom"], 10)
    with open(os.path.join(folder, "novasnap.prom")) as file:
        written = metrics_of(file.read())
    collected = get(exporter.port)[1]
    assert written - metrics_of(collected) == set(), written - metrics_of(collected)
    with open(exporter.log) as file:
        assert "error gathering" not in file.read()
    # After a clean stop only the file's age is left, and the alert sees it.
    alert = rule("NovasnapMetricsOld").replace("> 300", "> 5")
    assert "> 5" in alert, alert
    tap.wait_for("scrape", lambda: prometheus.query("novasnap_jobs_running"), 20)
    assert prometheus.query(alert) == []
    agent.stop()
    tap.wait_for("alert", lambda: prometheus.query(alert), 30)
    assert prometheus.query('{__name__=~"novasnap_.*"}') == []


def test_a_file_that_cannot_be_written(env):
    folder = env.folder.make("away")
    agent = env.agent(metrics_file=os.path.join(folder, "missing", "novasnap.prom"), metrics_interval="1")
    time.sleep(2.5)
    assert agent.text().count("cannot write [novasnap]metrics_file") == 1, agent.text()
    os.mkdir(os.path.join(folder, "missing"))
    tap.wait_for("file", lambda: "is written again" in agent.text(), 10)


def test_what_the_endpoint_refuses(env):
    agent = env.agent()
    assert get(agent.port, "/")[0].status == 404 and get(agent.port, method="POST")[0].status == 405
    assert get(agent.port, method="HEAD")[0].status == 200
    for keys, status, wanted in (({"metrics_listen": "0.0.0.0:9178"}, 2, "must be an address of the loopback"),
                                 ({"metrics_listen": "127.0.0.1"}, 2, "must be an address of the loopback"),
                                 ({"metrics_listen": "127.0.0.300:9178"}, 2, "must be an address of the loopback"),
                                 ({"metrics_listen": "127.0.0.1:65536"}, 2, "must be an address of the loopback"),
                                 ({"metrics_file": "/tmp/novasnap.txt"}, 2, "must end in .prom")):
        other = env.make_agent(**keys)
        done = subprocess.run([os.path.join(other.programs, "novasnapd"), *other.files], capture_output=True, text=True,
                              timeout=60)
        assert done.returncode == status and wanted in done.stderr, (keys, done)


def test_an_address_that_is_in_use_does_not_stop_snapshots(env):
    first = env.agent()
    second = env.start_agent(metrics_listen=f"127.0.0.1:{first.port}")
    assert "cannot listen at [novasnap]metrics_listen" in second.text() and second.is_running(), second.text()


def test_connections_and_their_time_are_bounded(env):
    agent = env.agent()
    begin = time.monotonic()
    silent = [env.enter(socket.create_connection(("127.0.0.1", agent.port))) for _ in range(30)]
    dripping = silent[0]
    for each in silent:
        each.settimeout(30)
    # A byte now and then does not extend the time of a connection for ever.
    try:
        while time.monotonic() - begin < 25:
            dripping.send(b"G")
            time.sleep(1)
        raise AssertionError("a connection that sends a byte each second has no end")
    except OSError:
        assert time.monotonic() - begin > 10
    assert all(each.recv(1) == b"" for each in silent[1:])
    assert time.monotonic() - begin < 60
    assert get(agent.port)[0].status == 200
    # A request that is too large is refused.
    with socket.create_connection(("127.0.0.1", agent.port), 20) as large:
        large.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000 + b"\r\n\r\n")
        try:
            assert b" 200 " not in large.recv(4096)
        except ConnectionResetError:
            pass
    assert get(agent.port)[0].status == 200


# For each alert: series and values that raise it (or several such sets), and others that do not; the minutes after which.
ALERTS = {
    "NovasnapDown": (10, {'up{job="novasnap", instance="a"}': "0x60"}, {'up{job="novasnap", instance="a"}': "1x60"}),
    "NovasnapMetricsOld": (20, {'node_textfile_mtime_seconds{file="/x/novasnap.prom"}': "0x60"},
                           {'node_textfile_mtime_seconds{file="/x/novasnap.prom"}': "0+60x60"}),
    "NovasnapRestarts": (30, {"novasnap_process_start_time_seconds": "1+300x60"},
                         {"novasnap_process_start_time_seconds": "1x60"}),
    "NovasnapPaused": (10, {"novasnap_consuming_paused": "1x60"}, {"novasnap_consuming_paused": "0x60"}),
    # A conductor that has failed is asked again within five minutes.
    "NovasnapServiceAway": (10, [{'novasnap_service_up{service="broker"}': "0x60"},
                                 {'novasnap_service_up{service="conductor"}': "0x60"}],
                            {'novasnap_service_up{service="broker"}': "1x60",
                             'novasnap_service_up{service="conductor"}': "1x4 0x5 1x60",
                             **{f'novasnap_service_up{{service="{service}"}}': "0x60"
                                for service in ("glance", "keystone", "libvirt")}}),
    "NovasnapLastRequestFailed": (10, [{f'novasnap_service_up{{service="{service}"}}': "0x60"}
                                       for service in ("glance", "keystone", "libvirt")],
                                  {'novasnap_service_up{service="glance"}': "1x60",
                                   'novasnap_service_up{service="broker"}': "0x60",
                                   'novasnap_service_up{service="conductor"}': "0x60"}),
    "NovasnapSnapshotsFail": (
        40, {'novasnap_snapshots_total{outcome="failed"}': "0+1x60",
             'novasnap_snapshots_total{outcome="succeeded"}': "0+1x60"},
        {'novasnap_snapshots_total{outcome="failed"}': "0+1x60",
         'novasnap_snapshots_total{outcome="succeeded"}': "0+50x60"}),
    "NovasnapJobsWait": (40, {"novasnap_jobs_waiting": "30x60"}, {"novasnap_jobs_waiting": "30x20 3 30x40"}),
    "NovasnapUploadsSlow": (
        60, {f'novasnap_upload_throughput_bytes_per_second_bucket{{le="{le}"}}': "0+10x90"
             for le in ("1048576", "5242880", "+Inf")},
        {f'novasnap_upload_throughput_bytes_per_second_bucket{{le="{le}"}}': values
         for le, values in (("1048576", "0x90"), ("52428800", "0+1x90"), ("104857600", "0+10x90"),
                            ("+Inf", "0+10x90"))}),
    "NovasnapOutboxFills": (10, {"novasnap_outbox_messages": "900x60", "novasnap_outbox_limit_messages": "1000x60"},
                            {"novasnap_outbox_messages": "700x60", "novasnap_outbox_limit_messages": "1000x60"}),
    "NovasnapJournalLarge": (80, {"novasnap_journal_bytes": "2000000000x90"}, {"novasnap_journal_bytes": "1000000x90"}),
    # A process has the same count from its first scrape on. Host a is stopped and started with nothing to recover, and
    # host b was stopped once, during many jobs.
    "NovasnapRecoversOften": (
        280, {"novasnap_process_start_time_seconds": "100x59 3700x59 7300x59 _x9 10900x49 14500x60",
              'novasnap_recovered_jobs_total{state="begun"}': "0x59 1x59 1x59 _x9 1x49 1x60",
              'novasnap_recovered_jobs_total{state="waiting"}': "0x59 0x59 0x59 _x9 0x49 0x60"},
        {'novasnap_process_start_time_seconds{instance="a"}': "100x59 3700x59 7300x59 10900x59 14500x60",
         'novasnap_recovered_jobs_total{state="begun", instance="a"}': "0x59 0x59 0x59 0x59 0x60",
         'novasnap_recovered_jobs_total{state="waiting", instance="a"}': "0x59 9x59 9x59 9x59 9x60",
         'novasnap_process_start_time_seconds{instance="b"}': "100x59 3700x240",
         'novasnap_recovered_jobs_total{state="begun", instance="b"}': "0x59 7x240"}),
    "NovasnapMessagesRejected": (60, {"novasnap_rejected_messages_total": "0x30 1x30"},
                                 {"novasnap_rejected_messages_total": "5x60"}),
    "NovasnapGaveBack": (10, {"novasnap_beside_given_back": "1x60"}, {"novasnap_beside_given_back": "0x60"}),
    # Of a minute with a slow broker, the median is large for three more minutes.
    "NovasnapForwardsSlowly": (10, [{'novasnap_beside_hop_seconds{stat="median"}': "2x60"},
                                    {'novasnap_beside_hop_seconds{stat="median"}': "0.002x60",
                                     'novasnap_beside_delay_seconds{stat="median"}': "2x60"}],
                               {'novasnap_beside_hop_seconds{stat="median"}': "0.002x5 2x4 _x60",
                                'novasnap_beside_hop_seconds{stat="last"}': "2x60",
                                'novasnap_beside_hop_seconds{stat="max"}': "2x60",
                                'novasnap_beside_delay_seconds{stat="median"}': "0.002x60"}),
}


def test_each_alert(env):
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked
    with open(RULES) as file:
        names = re.findall(r"- alert: (\w+)", file.read())
    assert sorted(names) == sorted(ALERTS), (names, list(ALERTS))
    tests = []
    for name, (minutes, raising, others) in ALERTS.items():
        for series, value in (*((each, 1) for each in (raising if isinstance(raising, list) else [raising])),
                              (others, 0)):
            tests.append({
                "interval": "1m",
                "input_series": [{"series": each, "values": values} for each, values in series.items()],
                "promql_expr_test": [{
                    "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
                    "eval_time": f"{minutes}m", "exp_samples": [{"labels": "{}", "value": value}]}]})
    path = os.path.join(env.folder.make("rules"), "test.yml")
    with open(path, "w") as file:
        json.dump({"rule_files": [RULES], "tests": tests}, file)
    tested = promtool("test", "rules", path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def expressions():
    """Returns (title, expression) of each target of the dashboard, for all hosts."""
    with open(DASHBOARD) as file:
        panels = json.load(file)["panels"]
    found = [(panel["title"], target["expr"].replace("$host", ".*").replace("$__rate_interval", "15s"))
             for panel in panels for target in panel["targets"]]
    assert len(found) >= 30 and not any("$" in expression for _title, expression in found), found
    return found


def metrics_of(text):
    return set(re.findall(r"\b(?:novasnap|process)_[a-z_]+", text))


def test_each_expression_of_the_dashboard(env):
    agent = env.agent()
    beside = env.start_beside_agent(metrics_listen=f"127.0.0.1:{free_port()}")
    with open(beside.conf) as file:
        beside.port = int(re.search(r"metrics_listen = 127.0.0.1:(\d+)", file.read())[1])
    prometheus = env.prometheus(agent, beside)
    tap.wait_for("scrapes", lambda: sum(value for _labels, value in prometheus.query("up")) == 2, 30)
    # What nova-compute gets, and what novasnapd takes.
    env.broker.publish({"method": "refresh", "args": {}, "version": "6.0", "_unique_id": "1"},
                       f"compute.{beside.host}")
    env.snapshot(agent)
    env.snapshot(agent)
    for title, expression in expressions():
        series = tap.wait_for(f"series of {title}: {expression}", lambda: prometheus.query(expression), 45, 0.5)
        print(f"# {title}: {len(series)} series, the first {series[0]}")
    # A ratio of quantities that do not occur is no number; what the snapshots were is one.
    for expression, least in (('sum(novasnap_snapshots_total{outcome="succeeded"})', 2),
                              ('sum(novasnap_beside_forwarded_messages_total)', 1),
                              ('sum(increase(novasnap_upload_sent_bytes_total[5m]))', 16 * MIB)):
        tap.wait_for(f"{expression} of {least}", lambda: prometheus.query(expression)[0][1] >= least, 20)
    groups = prometheus.ask("rules")["groups"]
    assert sum(len(group["rules"]) for group in groups) == len(ALERTS), groups
    assert all(rule["health"] == "ok" for group in groups for rule in group["rules"]), groups
    alerts = {alert["labels"]["alertname"]: alert["state"] for alert in prometheus.ask("alerts")["alerts"]}
    # A machine that runs other tests is slow.
    assert alerts in ({}, {"NovasnapUploadsSlow": "pending"}), alerts
    # Each metric is on the dashboard or in a rule, and these name no other.
    with open(RULES) as file:
        used = metrics_of(file.read() + "\n".join(expression for _title, expression in expressions()))
    given = metrics_of(get(agent.port)[1] + get(beside.port)[1])
    suffixes = "(_bucket|_sum|_count)$"
    assert {re.sub(suffixes, "", name) for name in used} - {re.sub(suffixes, "", name) for name in given} == set()
    assert {re.sub(suffixes, "", name) for name in given} - {re.sub(suffixes, "", name) for name in used} == set()


if __name__ == "__main__":
    tap.main(Metrics)
