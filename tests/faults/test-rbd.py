#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A fault at each step of a snapshot in Ceph: novasnapd is killed there and started again, or the step fails. The guest
must be as it was, its disk without a snapshot, the image whole or deleted, and no copy left. Broker, libvirt, QEMU, Ceph
and Glance are real; the conductor is a stand-in. Needs `make FAULTS=1`. The steps that each snapshot has are killed by
test-faults.py.
  direct: in Ceph; refused: Glance takes no locations, so that the data is uploaded after all; stream: the disk is no
  clone of an image, so that it is uploaded at once; stream-cold: the same, the guest is shut off
  NOVASNAP_FAULT_METHODS=direct,refused,stream,stream-cold; NOVASNAP_FAULT_KINDS=kill,error,twice
The table of what came of it is written to faults-ceph.md in the build's folder."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from faults import FaultEnvironment, chosen, chosen_kinds, fault_test, table  # noqa: E402
from paths import BUILD  # noqa: E402
from rbd_direct import DirectCase, DirectSite  # noqa: E402

METHODS = ("direct", "refused", "stream", "stream-cold")
STEPS = ("rbd-", "location", "image-update", "upload", "checksum")


class Faulty(DirectCase):
    ways = ("direct", "stream")


class Streamed(DirectCase):
    ways = ("stream",)


class DirectFaults(DirectSite, FaultEnvironment):
    services = ("ceph", "broker", "glance", "libvirt", "conductor")

    def set_up(self):
        self.libvirt.wait()
        self.set_up_ceph()
        self.strict = self.enter(self.new_glance("strict"))
        self.guest = self.make_rbd_guest()
        self.guest.start()
        self.unrelated = {"stream": self.make_rbd_guest(parent=None), "stream-cold": self.make_rbd_guest(parent=None)}
        self.unrelated["stream"].start()

    def points_of(self, name):
        return [point for point in super().points_of(name) if point.startswith(STEPS) and not point.endswith(".half")]

    def case(self, name):
        sections = self.agent_sections({"novasnap": {"request_timeout": "3", "saving_timeout": "10"}})
        glance = self.strict if name == "refused" else self.glance
        kind = Streamed if name in self.unrelated else Faulty
        case = kind(self, self.make_fault_agent({**sections, "glance_url": glance.url}), self.unrelated.get(name), glance)
        case.faults = None
        return case


def main():
    names, kinds, found = chosen(METHODS), chosen_kinds(["kill", "error", "twice"]), {}

    def write_table():
        with open(os.path.join(BUILD, "faults-ceph.md"), "w") as file:
            file.write("\n".join(table(found, kinds)) + "\n")
    tap.main(DirectFaults, [fault_test(name, kind, found) for name in names for kind in kinds], at_end=write_table)


if __name__ == "__main__":
    main()
