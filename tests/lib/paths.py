# SPDX-License-Identifier: LGPL-2.1-or-later
"""The paths of the project's files."""
import os

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
CAST = os.path.join(TOP, "conf/casts/snapshot_instance.json")
CAST_GRIZZLY = os.path.join(TOP, "conf/casts/snapshot_instance_grizzly.json")
