#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records the messages between the real nova-api, nova-compute and nova-conductor of the installed release for each of
the scenarios of tests/data/wire/README.md, which has the format.
  record.py FOLDER [SCENARIO ...]
Needs root and the packages of `tests/lib/deps.sh run test e2e`; on another Debian release:
  tests/lib/root.sh --net private trixie tests/e2e/record.py tests/data/wire/31.0"""
import argparse
import contextlib
import json
import os
import re
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lib"), HERE]
import supervisor  # noqa: E402
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from cloud import Cloud  # noqa: E402
from firehose import Firehose  # noqa: E402
from server import Server  # noqa: E402

QUIET = 3  # seconds without a message, after which a scenario is over
# The ports that a service has by itself, in place of those that it had here.
PORTS = {"keystone": 5000, "glance": 9292, "placement": 8778, "nova": 8774, "neutron": 9696}
# nova-compute asks for them beside the snapshot.
LEFT_OUT = ("PciDeviceList", "InstancePCIRequests", "Service")
# It keeps the answers in the instance.
FIELDS_LEFT_OUT = ("pci_devices", "pci_requests")


def without(value, names):
    """Returns a copy without the members of these names, at any depth."""
    if isinstance(value, dict):
        return {key: without(item, names) for key, item in value.items() if key not in names}
    if isinstance(value, list):
        return [without(item, names) for item in value]
    return value


class Recorder:
    def __init__(self, cloud, firehose, server):
        self.cloud, self.firehose, self.server = cloud, firehose, Server(cloud, server)
        self.stopped = contextlib.ExitStack()

    def status(self, action, wanted):
        self.cloud.act(self.server.server, action)
        tap.wait_for(wanted, lambda: self.server.record()["status"] == wanted and self.server.wait_idle(), 120)

    def ask(self, what="image", name="snapshot"):
        self.server.ask(what, name)

    def freeze_compute(self, number):
        os.killpg(self.cloud.compute.pid, number)

    # What is asked for. Each leaves the server running.

    def live(self):
        self.ask()

    def backup_1(self):
        self.ask("backup", "backup 1")

    def backup_2_rotates(self):
        # nova-compute does not know which of two backups of one second is the older.
        time.sleep(1)
        self.ask("backup", "backup 2")

    def live_paused(self):
        self.status({"pause": None}, "PAUSED")
        self.stopped.callback(self.status, {"unpause": None}, "ACTIVE")
        self.ask()

    def glance_down(self):
        self.freeze_compute(signal.SIGSTOP)
        try:
            self.ask()
            self.cloud.glance_stop()
            self.stopped.callback(self.cloud.glance_start)
        finally:
            self.freeze_compute(signal.SIGCONT)

    def cold_running(self):
        path = self.cloud.folder.file("cold.conf")
        with open(path, "w") as file:
            for section, keys in NO_LIVE_SNAPSHOT.items():
                file.writelines([f"[{section}]\n", *(f"{key} = {value}\n" for key, value in keys.items())])
        self.cloud.compute_stop()
        self.cloud.compute_start("--config-file", path)
        self.ask()

    def cold_stopped(self):
        self.status({"os-stop": None}, "SHUTOFF")
        self.stopped.callback(self.status, {"os-start": None}, "ACTIVE")
        self.ask()

    # What came of it.

    def play(self, name):
        """Returns the messages of a scenario, from its cast on."""
        mark = self.firehose.mark()
        with self.stopped:
            getattr(self, name.replace("-", "_"))()
            self.server.wait_idle()
            seen, since = 0, time.monotonic()
            while time.monotonic() - since < QUIET:
                messages = self.of_the_request(self.firehose.messages[mark:])
                if len(messages) != seen:
                    seen, since = len(messages), time.monotonic()
                time.sleep(0.2)
        names = [entry["message"].get("event_type") or (entry["message"].get("args") or {}).get("objmethod")
                 for entry in messages]
        assert "event_finish_with_failure" in names and {"instance.snapshot.end", "compute.exception"} & {*names}, names
        return messages

    @staticmethod
    def of_the_request(messages):
        """Returns the cast to nova-compute, what the same request caused, and the replies to it."""
        found, request, calls = [], None, set()
        for entry in messages:
            inner = entry["message"]
            if not found and inner.get("method") in ("snapshot_instance", "backup_instance"):
                request = inner["_context_request_id"]
            args = inner.get("args") or {}
            name = args.get("objname") or (args.get("objinst") or {}).get("nova_object.name")
            if request and inner.get("_context_request_id") == request and name not in LEFT_OUT:
                calls.add(inner.get("_msg_id"))
                found.append(entry)
            elif "result" in inner and inner.get("_msg_id") in calls:
                found.append(entry)
        return found

    def line(self, entry):
        message = dict(entry["message"])
        if "_context_service_catalog" in message:
            message["_context_service_catalog"] = []
        # The context of all calls is the cast's.
        if entry["routing_key"] == "conductor":
            message = {key: value for key, value in message.items() if not key.startswith("_context_")}
        text = json.dumps({"exchange": entry["exchange"], "routing_key": entry["routing_key"],
                           "message": without(message, FIELDS_LEFT_OUT)})
        text = re.sub(r"gAAAAA[\w=-]+", "gAAAAABexample-token", text)
        for service, port in PORTS.items():
            text = re.sub(rf"\b{self.cloud.port[service]}\b", str(port), text)
        return text.replace(self.cloud.state, "/var/lib/nova") + "\n"


SCENARIOS = ["live", "backup-1", "backup-2-rotates", "live-paused", "glance-down", "cold-stopped", "cold-running"]


def record(folder, options):
    with Cloud(folder) as cloud:
        cloud.compute_start()
        server = cloud.boot(["s1"], cloud.make_image("base"), cloud.make_flavor())["s1"]
        with Firehose(cloud.broker) as firehose:
            recorder = Recorder(cloud, firehose, server)
            for name in options.scenarios or SCENARIOS:
                messages = recorder.play(name)
                lines = [recorder.line(entry) for entry in messages]
                with open(os.path.join(options.folder, f"{name}.jsonl"), "w") as file:
                    file.writelines(lines)
                print(f"{name}: {len(lines)} messages", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("scenarios", metavar="SCENARIO", nargs="*", help=", ".join(SCENARIOS))
    options = parser.parse_args()
    if unknown := {*options.scenarios} - {*SCENARIOS}:
        parser.error(f"there is no scenario {' or '.join(unknown)}")
    os.makedirs(options.folder, exist_ok=True)
    sys.exit(supervisor.run(lambda folder: record(folder, options), "novasnap-record-"))


if __name__ == "__main__":
    main()
