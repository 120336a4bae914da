#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the stand-in for nova-conductor until it is ended.   conductor.py URL [CONFIG]
CONFIG is a file of oslo.messaging's options. It prints "ready" when it serves, and on SIGUSR1 how many calls of each kind
it has answered."""
import collections
import json
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from oslo_conf import make_conf  # noqa: E402
from standin_conductor import ConductorStandIn  # noqa: E402

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
with ConductorStandIn(sys.argv[1], make_conf(*sys.argv[2:])) as conductor:
    print("ready", flush=True)
    while signal.sigwait(SIGNALS) == signal.SIGUSR1:
        print(json.dumps(conductor.queries + collections.Counter(conductor.names())), flush=True)
