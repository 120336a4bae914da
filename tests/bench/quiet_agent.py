# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnapd as operators run it: without debug messages, and scheduled as by its unit."""
import os
import re

from agent import Agent
from paths import TOP

DEFAULT = {"debug": "false"}


def scheduled(agent):
    """Returns the agent, which has not been started yet."""
    with open(os.path.join(TOP, "conf/novasnapd.service")) as file:
        policy = re.search(r"^CPUSchedulingPolicy=(\w+)$", file.read(), re.M)[1]
    agent.run_as = ["chrt", f"--{policy}", "0"]
    return agent


def of_cloud(folder, cloud, name, **sections):
    """Makes an Agent that has the cloud's nova.conf."""
    return scheduled(Agent(folder, base=cloud.nova_conf, name=name, DEFAULT=DEFAULT, **sections))
