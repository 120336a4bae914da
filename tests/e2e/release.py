# SPDX-License-Identifier: LGPL-2.1-or-later
"""The OpenStack release that is installed, and how its services differ from those of other releases: Nova 26.2 (Debian
12), 31.0 (Debian 13) and 34.0 (Debian sid)."""
import importlib.metadata
import os
import sys

from paths import TOP

WIRE = os.path.join(TOP, "tests/data/wire")


def version_of(package):
    """Returns the numbers of the version of a Python package."""
    return tuple(int(part) for part in importlib.metadata.version(package).split(".") if part.isdigit())


NOVA = version_of("nova")
NAME = ".".join(map(str, NOVA[:2]))
# nova-compute ends the event of a snapshot when a thread has taken it over, and reports a later failure as that of the
# method that runs there.
SNAPSHOT_EVENT_ENDS_EARLY = NOVA >= (33,)
SNAPSHOT_METHOD = "_snapshot_instance" if SNAPSHOT_EVENT_ENDS_EARLY else "snapshot_instance"
# A second RPC server of nova-compute takes external events.
EVENTS_TOPIC = "compute-alt" if NOVA >= (33,) else "compute"
# Quorum queues and streams also for what is transient, which oslo.messaging has since 2023.
HAS_MODERN_MESSAGING = version_of("oslo.messaging") >= (16,)
# Nova adds an image's location with a request of its own, which Glance takes from services only.
HAS_LOCATIONS_API = NOVA >= (32,)


def has_module(name):
    """Returns whether a Python module is installed. It is not imported."""
    return any(os.path.exists(os.path.join(folder, *name.split(".")) + ".py") for folder in sys.path)


def recording(name):
    """Returns the path of a recording of a real nova-compute of this release, or of the newest before it."""
    folders = [entry.name for entry in os.scandir(WIRE) if entry.is_dir() and entry.name[0].isdigit()]
    older = [folder for folder in folders if tuple(map(int, folder.split("."))) <= NOVA]
    newest = max(older, key=lambda folder: tuple(map(int, folder.split("."))), default="")
    return os.path.join(WIRE, newest, f"{name}.jsonl")
