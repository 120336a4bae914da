#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What novasnapd tells systemd: its log, with fields, and how it is. Also the log in nova's lines, which are those of
the real oslo.log. The journal and the service manager are stand-ins; RabbitMQ, libvirt and QEMU are real."""
import json
import logging
import os
import signal
import subprocess
import sys
import time

from oslo_config import cfg
from oslo_context import context
from oslo_log import formatters, log

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from images import MIB  # noqa: E402
from paths import CAST  # noqa: E402
from standin_systemd import JournalStandIn, NotifyStandIn  # noqa: E402


class Systemd(Environment):
    services = ("broker", "libvirt")

    def set_up(self):
        self.guest = self.make_guest(size_mib=64, data_mib=16)
        self.images = self.folder.make("images")
        self.wait_services()
        with open(CAST) as file:
            self.cast = json.load(file)

    def before_test(self):
        self.journal = self.enter(JournalStandIn(self.folder.make("journal")))
        self.notify = self.enter(NotifyStandIn(os.path.join(self.folder.make("notify"), "socket")))

    def agent(self, **novasnap):
        return self.make_agent(sections={"images": self.images}, **novasnap)

    def start_in_namespace(self, agent, **environment):
        agent.run_as = self.journal.run_as()
        agent.start(env=environment, wait=False)
        self.callback(agent.stop)
        agent.run_as = []
        tap.wait_for("start", lambda: self.journal.entries("ready after"), 60)

    def check_snapshot(self, agent):
        image, shown, status = agent.snapshot(self.guest.uuid)
        assert status == 0, (shown, agent.text())
        return image


def stream_of(path):
    with open(path, "ab"):
        status = os.stat(path)
    return f"{status.st_dev}:{status.st_ino}"


def test_the_journal_gets_fields(env):
    agent = env.agent()
    env.start_in_namespace(agent, JOURNAL_STREAM=stream_of(agent.log))
    image = env.check_snapshot(agent)
    entry, = env.journal.entries("is stored: ")
    wanted = {"PRIORITY": "6", "LOGGER_NAME": "novasnap.agent", "LOGGER_LEVEL": "INFO",
              "SYSLOG_IDENTIFIER": "novasnapd", "REQUEST_ID": env.cast["_context_request_id"], "INSTANCE_UUID": env.guest.uuid,
              "NOVASNAP_METHOD": "snapshot_instance", "NOVASNAP_IMAGE": image, "NOVASNAP_STEP": "uploading the image"}
    assert {name: value for name, value in entry.items() if name != "MESSAGE"} == wanted, entry
    # What belongs to no request has none of its fields.
    ready, = env.journal.entries("ready after")
    assert set(ready) == {"MESSAGE", "PRIORITY", "LOGGER_NAME", "LOGGER_LEVEL", "SYSLOG_IDENTIFIER"}, ready
    assert "ready after" not in agent.text()
    agent.stop()
    assert env.journal.entries("stopped")


def test_a_failure_in_the_journal(env):
    agent = env.agent(log_format="journal")
    env.start_in_namespace(agent)
    image, shown, status = agent.snapshot("00000000-0000-4000-8000-000000000017")
    assert status != 0, shown
    entries = [entry for entry in env.journal.all()
               if entry.get("NOVASNAP_IMAGE") == image and entry["PRIORITY"] == "4"]
    assert entries and entries[-1]["INSTANCE_UUID"] == "00000000-0000-4000-8000-000000000017", env.journal.all()[-5:]


def test_a_stream_that_is_not_the_journal(env):
    """Such as that of a login shell, whose environment novasnapd has."""
    agent = env.agent()
    agent.run_as = env.journal.run_as()
    agent.start(env={"JOURNAL_STREAM": "9:12345"})
    env.callback(agent.stop)
    agent.run_as = []
    assert env.journal.all() == []


def test_without_a_journal_it_does_not_start(env):
    agent = env.agent(log_format="journal")
    done = subprocess.run([os.path.join(agent.programs, "novasnapd"), *agent.files], capture_output=True, text=True,
                          timeout=20)
    assert done.returncode == 2 and "cannot log to systemd's journal" in done.stderr, done


def test_the_lines_are_those_of_oslo_log(env):
    agent = env.enter(env.agent(log_format="nova"))
    env.check_snapshot(agent)
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    conf([])
    formatter = formatters.ContextFormatter(config=conf, datefmt="%Y-%m-%d %H:%M:%S")

    def check(line, **more):
        date, clock, pid, level, name, rest = line.split(" ", 5)
        message = rest.split("] ", 2 if "instance_uuid" in more else 1)[-1]
        record = logging.LogRecord(name, getattr(logging, level), "", 1, message, (), None)
        moment = time.mktime(time.strptime(f"{date} {clock[:8]}", "%Y-%m-%d %H:%M:%S"))
        record.created, record.msecs, record.process = moment, int(clock[9:]), agent.process.pid
        record.__dict__.update(more)
        assert formatter.format(record) == line and int(pid) == agent.process.pid, (formatter.format(record), line)

    fields = {name.removeprefix("_context_"): value for name, value in env.cast.items() if name.startswith("_context_")}
    lines = agent.text().split("\n")
    # First: a context that is made is that of all later messages without one.
    check(next(line for line in lines if "ready after" in line))
    check(next(line for line in lines if " is stored: " in line), instance_uuid=env.guest.uuid,
          context=context.RequestContext.from_dict(fields))


def test_systemd_is_told_what_runs(env):
    agent = env.agent(upload_bytes_per_second=str(4 * MIB))
    agent.start(env=env.notify.environment())
    env.callback(agent.stop)
    tap.wait_for("status", lambda: "0 jobs run, 0 wait" in env.notify.values("STATUS"), 20)
    assert env.notify.values("READY") == ["1"], env.notify.all()
    agent.command("send", "snapshot_instance", "--file", CAST, "--instance", env.guest.uuid)
    shown = f"1 job runs, 0 wait; snapshot_instance of {env.guest.uuid}: uploading the image, "
    tap.wait_for("status of the upload", lambda: any(shown in text for text in env.notify.values("STATUS")), 30)
    agent.process.send_signal(signal.SIGHUP)
    tap.wait_for("reload", lambda: env.notify.values("READY") == ["1", "1"], 20)
    reload = next(what for what in env.notify.all() if "RELOADING" in what)
    assert int(reload["MONOTONIC_USEC"]) > 0
    assert not env.notify.values("WATCHDOG") and not env.notify.values("STOPPING"), env.notify.all()
    tap.wait_for("end", lambda: agent.has_ended(env.guest.uuid), 60)
    agent.stop()
    assert env.notify.values("STOPPING") == ["1"], env.notify.all()


def test_the_watchdog_is_fed_in_time(env):
    limit = 1.5
    agent = env.agent()
    agent.start(env=env.notify.environment(limit))
    env.callback(agent.stop)
    tap.wait_for("keep-alives", lambda: len(env.notify.times("WATCHDOG")) >= 8, 30)
    times = env.notify.times("WATCHDOG")
    assert max(b - a for a, b in zip(times, times[1:])) < limit, times
    agent.process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    before = len(env.notify.times("WATCHDOG"))
    time.sleep(2 * limit)
    assert len(env.notify.times("WATCHDOG")) == before
    agent.process.send_signal(signal.SIGCONT)
    tap.wait_for("keep-alive", lambda: len(env.notify.times("WATCHDOG")) > before, 10)


def test_the_watchdog_is_fed_without_a_broker(env):
    """Another process would meet the same broker. And `systemctl start` does not wait for it."""
    agent = env.agent()
    agent.configure("DEFAULT", transport_url="rabbit://nobody:wrong@127.0.0.1:1/")
    agent.start(env=env.notify.environment(1.5), wait=False)
    env.callback(agent.stop)
    tap.wait_for("keep-alives", lambda: len(env.notify.times("WATCHDOG")) >= 4, 30)
    tap.wait_for("status", lambda: any(text.startswith("Not connected to the broker: ")
                                       for text in env.notify.values("STATUS")), 20)
    assert env.notify.values("READY") == ["1"] and "ready after" not in agent.text(), env.notify.all()
    status = json.loads(agent.command("top", "--json", "--once").stdout)
    assert status["answers"] and not status["ready"], status


def test_systemd_is_not_told_that_it_has_started_when_it_cannot(env):
    agent = env.agent()
    agent.configure("libvirt", connection_uri="qemu:///nowhere")
    agent.start(env=env.notify.environment(), wait=False)
    env.callback(agent.stop)
    tap.wait_for("end", lambda: not agent.is_running(), 30)
    assert "cannot start" in agent.text() and not env.notify.values("READY"), (agent.text(), env.notify.all())


if __name__ == "__main__":
    tap.main(Systemd)
