#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the stand-in for nova-conductor until it is ended.   conductor.py URL [CONFIG]
CONFIG is a file of oslo.messaging's options."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from oslo_conf import make_conf  # noqa: E402
from standin_conductor import ConductorStandIn  # noqa: E402

with ConductorStandIn(sys.argv[1], make_conf(*sys.argv[2:])):
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
