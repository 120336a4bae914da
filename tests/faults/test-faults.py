#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A fault at each step of each method: novasnapd killed there and started again, or the step failing. Whatever
happens, the guest must be as it was, the image whole or deleted, the controller told, and nothing left behind.
Broker, libvirt, QEMU and Glance are real; the conductor is the stand-in. Needs `make FAULTS=1`.
  NOVASNAP_FAULT_METHODS=stream,cold,rebase,undefine,extract,internal,failing
  NOVASNAP_FAULT_KINDS=kill,error,twice (killed again while what it left is taken back); "" for none
  NOVASNAP_FAULT_RANDOM=N: and so many kills at random moments
The table of what came of it is written to faults.md in the build's folder."""
import contextlib
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import EVENT, Case, set_up  # noqa: E402
from faults import World, chosen, fault_test, table  # noqa: E402
from guest import Guest, virsh  # noqa: E402
from services import BUILD, end  # noqa: E402

# The configuration of each, and the guest's state. In "failing" the upload fails in any case, in "undefine" libvirt
# takes no copy on a guest that is defined.
METHODS = {
    "stream": ({}, "running"),
    "cold": ({}, "shut off"),
    "rebase": ({"novasnap": {"live_method": "rebase"}}, "running"),
    "undefine": ({"novasnap": {"live_method": "rebase"}}, "running"),
    "extract": ({"workarounds": {"disable_libvirt_livesnapshot": "true"}}, "running"),
    "internal": ({"workarounds": {"disable_libvirt_livesnapshot": "true"},
                  "novasnap": {"cold_method": "internal"}}, "running"),
    "failing": ({}, "running"),
}
FIRST = {"failing": "upload.before:error,", "undefine": "transient.before:error,"}


class FaultCase(Case):
    """One cast, with a fault or without."""

    def __init__(self, world, name, agent):
        super().__init__(world.glance, world.conductor, agent, world.guest)
        world.conductor.events.clear()
        self.faults = None
        self.undisturbed = "deleted" if name == "failing" else "whole"

    def outcome(self, alone=True):
        what = super().outcome(alone)
        assert self.conductor.events == {(self.guest.uuid, EVENT): True}, self.conductor.events
        if what == "whole":
            self.glance.request("DELETE", f"/v2/images/{self.image}")
        return what


class Snapshots(World):
    first = FIRST

    def set_state(self, state):
        if self.guest.state() != state:
            (self.guest.start if state == "running" else
             lambda: virsh("destroy", self.guest.name))()

    def case(self, name):
        more, state = METHODS[name]
        self.set_state(state)
        return FaultCase(self, name, self.make_agent(name, more))


def run_random(world, name, chance):
    """Killed once, twice or three times, at moments that nobody chose."""
    case = world.case(name)
    agent = case.agent
    agent.start()
    try:
        case.send()
        for _ in range(chance.randint(1, 3)):
            time.sleep(chance.uniform(0, 0.8))
            agent.process.kill()
            agent.process.wait(20)
            os.remove(agent.log)
            agent.start()
        case.wait_end()
        return case.outcome()
    finally:
        end(agent.process, 90)
        os.remove(agent.log)


def main():
    tap.handle_signals()
    names = chosen(METHODS)
    if not names:
        print("1..0 # SKIP none of these methods is asked for")
        return 0
    kinds = list(filter(None, os.environ.get("NOVASNAP_FAULT_KINDS", "kill,error,twice").split(",")))
    kills = int(os.environ.get("NOVASNAP_FAULT_RANDOM", "0"))
    found, at_random = {}, []
    with contextlib.ExitStack() as stack:
        folder, broker, glance, _libvirt, (guest,), conductor = set_up(stack, size_mib=64, data_mib=24)
        world = Snapshots(folder, broker, glance, guest, conductor)

        def make_random():
            def test():
                seed = random.randrange(1 << 32)
                chance = random.Random(seed)
                print(f"# seed {seed}", flush=True)
                for number in range(kills):
                    name = names[number % len(names)]
                    try:
                        at_random.append(run_random(world, name, chance))
                    except Exception as error:
                        raise AssertionError(f"kill {number} of {name}, seed {seed}: {error}") \
                            from error
            test.__name__ = f"test_{kills}_kills_at_random"
            return test

        def test_a_password_in_the_definition_is_kept_nowhere():
            secret = "geheim42"
            vnc = f"<graphics type='vnc' autoport='yes' passwd='{secret}'/>"
            with Guest(folder, size_mib=32, data_mib=1, extra_disks=vnc) as other:
                there = Snapshots(folder, broker, glance, other, conductor)
                case = there.case("undefine")
                agent = case.agent
                agent.start({"NOVASNAP_FAULT": FIRST["undefine"]})
                try:
                    case.send()
                    case.wait_end()
                finally:
                    end(agent.process, 90)
                assert case.outcome() == "deleted" and "set [novasnap]live_method" in agent.text(), agent.text()
                assert secret not in agent.text()
                assert subprocess.run(["grep", "-rq", secret, agent.folder], check=False).returncode == 1
                os.remove(agent.log)
        tests = [fault_test(world, name, kind, found) for name in names for kind in kinds]
        if "undefine" in names:
            tests.append(test_a_password_in_the_definition_is_kept_nowhere)
        if kills:
            tests.append(make_random())
        status = tap.run(tests, [])
    with open(os.path.join(BUILD, "faults.md"), "w") as file:
        file.write("\n".join(table(found, kinds)) + "\n")
        if at_random:
            counts = ", ".join(f"{at_random.count(what)} {what}" for what in sorted(set(at_random)))
            file.write(f"\nKilled at {len(at_random)} random moments: {counts}.\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
