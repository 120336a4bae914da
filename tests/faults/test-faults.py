#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A fault at each step of each snapshot method: novasnapd is killed there and started again, or the step fails.
Whatever happens, the guest must be as it was, the image whole or deleted, the conductor told, and nothing left behind.
Broker, libvirt, QEMU and Glance are real; the conductor is a stand-in. Needs `make FAULTS=1`.
  NOVASNAP_FAULT_METHODS=stream,iothread,cold,lvm,lvm-cold,rebase,undefine,extract,internal,failing
  NOVASNAP_FAULT_KINDS=kill,error,twice (killed again during the rollback of what it left); "" for none
  NOVASNAP_FAULT_RANDOM=N: and so many kills at random moments
The table of what came of it is written to faults.md in the build's folder."""
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from block import BlockGuest  # noqa: E402
from case import Case  # noqa: E402
from faults import FaultEnvironment, chosen, chosen_kinds, ending, fault_test, outcome, table  # noqa: E402
from paths import BUILD  # noqa: E402

# The configuration of each, the guest's state, and what an iothread of the guest serves ("volume": none; its disk is a
# block device). In "failing" the upload fails in any case, in "undefine" libvirt takes no copy on a guest that is
# defined. In "iothread" an old QEMU could not be streamed.
METHODS = {
    "stream": ({}, "running", "unused"),
    "iothread": ({}, "running", "scsi"),
    "cold": ({}, "shut off", "disk"),
    "lvm": ({}, "running", "volume"),
    "lvm-cold": ({}, "shut off", "volume"),
    "rebase": ({"novasnap": {"live_method": "rebase"}}, "running", "disk"),
    "undefine": ({"novasnap": {"live_method": "rebase"}}, "running", "disk"),
    "extract": (NO_LIVE_SNAPSHOT, "running", "disk"),
    "internal": ({**NO_LIVE_SNAPSHOT, "novasnap": {"cold_method": "internal"}}, "running", "scsi"),
    "failing": ({}, "running", "unused"),
}
FIRST = {"failing": "upload.before:error,", "undefine": "transient.before:error,"}


class Snapshots(FaultEnvironment):
    first = FIRST

    def set_up(self):
        kinds = {kind for _, _, kind in METHODS.values()}
        self.guests = {kind: self.make_guest(size_mib=64, data_mib=24, iothread=kind) for kind in kinds - {"volume"}}
        self.guests["volume"] = self.enter(BlockGuest(self.libvirt, self.folder, size_mib=64, data_mib=24))

    def case(self, name, guest=None):
        sections, state, kind = METHODS[name]
        guest = guest or self.guests[kind]
        guest.set_condition(state)
        case = Case(self, self.make_fault_agent(sections), guest)
        case.faults = None
        case.undisturbed = "deleted" if name == "failing" else "whole"
        return case


def run_random(env, name, chance):
    """Kills novasnapd once, twice or three times, at random moments. Returns the outcome."""
    case = env.case(name)
    with ending(case, f"{name} killed at random") as agent:
        agent.start()
        case.send()
        for _ in range(chance.randint(1, 3)):
            time.sleep(chance.uniform(0, 0.8))
            agent.kill()
            agent.start()
        case.wait_end()
        return outcome(case)


def random_test(names, kills, found):
    """`found`: a list to which the outcome of each kill is added."""
    def test(env):
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        print(f"# seed {seed}", flush=True)
        for number in range(kills):
            name = names[number % len(names)]
            try:
                found.append(run_random(env, name, chance))
            except Exception as error:
                raise AssertionError(f"kill {number} of {name}, seed {seed}: {error}") from error
    test.__name__ = f"test_{kills}_kills_at_random"
    return test


def test_a_password_in_the_definition_is_kept_nowhere(env):
    secret = "geheim42"
    guest = env.make_guest(size_mib=32, data_mib=1,
                           extra_disks=f"<graphics type='vnc' autoport='yes' passwd='{secret}'/>")
    case = env.case("undefine", guest)
    with ending(case, "a password in the definition") as agent:
        agent.start({"NOVASNAP_FAULT": FIRST["undefine"]})
        case.send()
        case.wait_end()
        assert agent.stop() == 0
        assert case.outcome() == "deleted" and "set [novasnap]live_method" in agent.text(), agent.text()
        assert secret not in agent.text()
        assert subprocess.run(["grep", "-rq", secret, agent.folder], check=False).returncode == 1


def write_tables(found, at_random, kinds):
    with open(os.path.join(BUILD, "faults.md"), "w") as file:
        file.write("\n".join(table(found, kinds)) + "\n")
        if at_random:
            counts = ", ".join(f"{at_random.count(what)} {what}" for what in sorted(set(at_random)))
            file.write(f"\nKilled at {len(at_random)} random moments: {counts}.\n")


def main():
    names, kinds = chosen(METHODS), chosen_kinds(["kill", "error", "twice"])
    kills = int(os.environ.get("NOVASNAP_FAULT_RANDOM", "0"))
    found, at_random = {}, []
    tests = [fault_test(name, kind, found) for name in names for kind in kinds]
    if "undefine" in names:
        tests.append(test_a_password_in_the_definition_is_kept_nowhere)
    if kills and names:
        tests.append(random_test(names, kills, at_random))
    tap.main(Snapshots, tests, at_end=lambda: write_tables(found, at_random, kinds))


if __name__ == "__main__":
    main()
