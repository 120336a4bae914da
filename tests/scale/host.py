#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One host of a real OpenStack at rest: what its nova-compute has at the broker and costs, and what a novasnapd beside
it adds. For comparison with the many novasnapds of scale.py.
    host.py [--rest SECONDS] [--json FILE]    needs root, and the packages of the group e2e"""
import argparse
import contextlib
import json
import os
import signal
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "tests", each) for each in ("lib", "bench", "e2e", "scale")]
import meter  # noqa: E402
from agent import Agent  # noqa: E402
from cloud import Cloud  # noqa: E402
from compute_host import Compute  # noqa: E402
from counters import Traffic, connections, listed  # noqa: E402
from process import Folder  # noqa: E402

SETTLE_S = 30
PENDING = 3  # of `novasnap beside --enable`: only nova-compute's restart is missing


def queues(broker):
    return {each["name"] for each in listed(broker, "list_queues", "name")}


def at_broker(broker, program, before):
    """Returns what a program has, and the queues that have come since `before`."""
    own, _others = connections(broker, program)
    return {"connections": len(own), "channels": sum(each["channels"] for each in own),
            "queues": sorted(queues(broker) - before)}


def rest(broker, pids, wait_s):
    """Returns what each program costs, and how many messages the broker receives, while nothing is asked of them."""
    traffic = {program: Traffic([broker], program) for program in pids}
    before, began = {program: meter.cpu(pid) for program, pid in pids.items()}, time.monotonic()
    time.sleep(wait_s)
    passed = time.monotonic() - began
    found = {}
    for program, pid in pids.items():
        anonymous, pss, _rss = meter.memory(pid)
        found[program] = {
            "anonymous_mib": round(anonymous, 1), "pss_mib": round(pss, 1),
            "cpu_percent": round((meter.cpu(pid) - before[program]) / passed * 100, 2),
            "threads": len(os.listdir(f"/proc/{pid}/task")), **traffic[program].rates(1)}
    return found


def measure(folder, stack, rest_s):
    cloud = stack.enter_context(Cloud(folder))
    broker = cloud.broker
    before = queues(broker)
    compute = Compute(cloud, cloud.host)
    stack.callback(compute.stop)
    compute.start()
    time.sleep(SETTLE_S)
    figures = {"seconds": rest_s, "nova-compute": {
        **at_broker(broker, "nova-compute", before),
        **rest(broker, {"nova-compute": compute.process.pid}, rest_s)["nova-compute"]}}
    before = queues(broker)
    agent = Agent(folder, base=cloud.nova_conf, novasnap={"mode": "beside"})
    stack.callback(agent.stop)
    agent.start()
    status = agent.command("beside", "--enable", "--wait", "0", check=False).returncode
    if status != PENDING:
        raise RuntimeError(f"`novasnap beside --enable` has exited with {status}")
    time.sleep(SETTLE_S)
    figures["novasnapd beside it"] = at_broker(broker, "novasnap", before)
    compute.stop()
    compute.configure(DEFAULT={"control_exchange": f"nova.{cloud.host}"})
    compute.start()
    agent.command("beside", "--enable", "--wait", "60")
    time.sleep(SETTLE_S)
    found = rest(broker, {"novasnap": agent.process.pid, "nova-compute": compute.process.pid}, rest_s)
    figures["novasnapd beside it"].update(found["novasnap"])
    figures["nova-compute with novasnapd"] = found["nova-compute"]
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rest", type=int, default=120, help="seconds")
    parser.add_argument("--json")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("host.py: ended by SIGTERM"))
    with Folder() as folder, contextlib.ExitStack() as stack:
        figures = measure(folder, stack, options.rest)
    print(json.dumps(figures, indent=1))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
