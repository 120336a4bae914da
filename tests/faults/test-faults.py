#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A fault at each step of each method: novasnapd killed there and started again, or the step failing. Whatever
happens, the guest must be as it was, the image whole or deleted, the controller told, and nothing left behind.
Broker, libvirt, QEMU and Glance are real; the conductor is the stand-in. Needs `make FAULTS=1`.
  NOVASNAP_FAULT_METHODS=stream,cold,rebase,undefine,extract,internal,failing
  NOVASNAP_FAULT_KINDS=kill,error,twice (killed again while what it left is taken back)
  NOVASNAP_FAULT_RANDOM=N: and so many kills at random moments
The table of what came of it is written to faults.md in the build's folder."""
import contextlib
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import set_up  # noqa: E402
from guest import Guest, qemu_img, same_content, virsh  # noqa: E402
from services import BUILD, CAST, Agent, end  # noqa: E402

EVENT = "compute_snapshot_instance"
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


class Case:
    """One cast, with a fault or without, and what must be true afterwards."""

    def __init__(self, world, agent, state):
        self.world, self.agent, self.state = world, agent, state
        world.set_state(state)
        world.conductor.host = agent.host
        world.conductor.events.clear()
        world.conductor.faults.clear()
        world.conductor.task_states[world.guest.uuid] = "image_snapshot_pending"
        self.image = world.glance.request("POST", "/v2/images", {
            "name": "fault", "container_format": "bare", "disk_format": "qcow2",
            "instance_uuid": world.guest.uuid})["id"]
        self.definition = world.guest.definition()

    def send(self):
        self.agent.command("send", "snapshot_instance", "--file", CAST, "--instance",
                           self.world.guest.uuid, "--image", self.image)

    def open_jobs(self):
        return self.agent.command("jobs", "--open").stdout

    def has_ended(self):
        return self.agent.has_ended(self.image)

    def wait_end(self, seconds=60):
        tap.wait_for("end of the job", self.has_ended, seconds, 0.05)

    def outcome(self):
        """What the image has come to, after everything else was found as it must be."""
        world = self.world
        uuid = world.guest.uuid
        assert world.guest.state() == self.state, world.guest.state()
        assert not world.guest.has_job() and not world.guest.is_saved()
        assert world.guest.definition() == self.definition
        assert "novasnap-" not in qemu_img("snapshot", "-U", "-l", world.guest.disk)
        assert self.agent.left() == [], self.agent.left()
        assert world.conductor.task_states[uuid] is None, world.conductor.task_states[uuid]
        assert world.conductor.events == {(uuid, EVENT): True}, world.conductor.events
        record = world.glance.get(self.image)
        if record is None:
            return "deleted"
        assert record["status"] == "active", record["status"]
        assert same_content(world.glance.file(self.image), "qcow2", world.guest.disk, "qcow2")
        world.glance.request("DELETE", f"/v2/images/{self.image}")
        return "whole"


class World:
    def __init__(self, folder, broker, glance, guest, conductor):
        self.folder, self.broker, self.glance = folder, broker, glance
        self.guest, self.conductor = guest, conductor

    def set_state(self, state):
        if self.guest.state() != state:
            (self.guest.start if state == "running" else
             lambda: virsh("destroy", self.guest.name))()

    def make_agent(self, name):
        more, state = METHODS[name]
        sections = {"DEFAULT": {"transport_url": self.broker.url, "debug": "true",
                                "rpc_response_timeout": "3"},
                    "novasnap": {"control": "conductor", **more.get("novasnap", {})},
                    **{key: value for key, value in more.items() if key != "novasnap"}}
        return Agent(self.folder, self.broker.url, self.glance.url, name=name, **sections), state


def points_of(world, name):
    """Those that a snapshot without a fault passes, in order."""
    agent, state = world.make_agent(name)
    path = os.path.join(agent.folder, "points")
    case = Case(world, agent, state)
    agent.start({"NOVASNAP_FAULT_TRACE": path, "NOVASNAP_FAULT": FIRST.get(name, "")})
    try:
        case.send()
        case.wait_end()
    finally:
        end(agent.process, 90)
        os.remove(agent.log)
    assert case.outcome() == ("deleted" if name == "failing" else "whole")
    with open(path) as file:
        return list(dict.fromkeys(file.read().split()))


def wait_killed(agent):
    assert agent.process.wait(60) == -signal.SIGKILL
    os.remove(agent.log)


def run_fault(world, name, point, kind):
    agent, state = world.make_agent(name)
    case = Case(world, agent, state)
    mark = len(agent.text())
    what = "error" if kind == "error" else "kill"
    agent.start({"NOVASNAP_FAULT": f"{FIRST.get(name, '')}{point}:{what}"})
    try:
        case.send()
        if what == "kill":
            wait_killed(agent)
            mark = 0
            if kind == "kill":
                agent.start()
        if kind == "twice":
            # It may die before it is ready.
            with contextlib.suppress(RuntimeError):
                agent.start({"NOVASNAP_FAULT": "undo.after:kill"})
            # Where nothing was to be undone, it lives.
            tap.wait_for("end", lambda: agent.process.poll() is not None or case.has_ended(), 60, 0.05)
            if agent.process.poll() is not None:
                wait_killed(agent)
                agent.start()
        case.wait_end()
        assert what == "kill" or "a fault is put in" in agent.text()[mark:]
        return case.outcome()
    except Exception:
        print(f"# {name} {point}:{kind}:\n# " + "\n# ".join(agent.text()[mark:].split("\n")[-60:]),
              file=sys.stderr)
        raise
    finally:
        end(agent.process, 90)
        with contextlib.suppress(FileNotFoundError):
            os.remove(agent.log)


def run_random(world, name, chance):
    """Killed once, twice or three times, at moments that nobody chose."""
    agent, state = world.make_agent(name)
    case = Case(world, agent, state)
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


def table(found):
    lines = ["| method | step | " + " | ".join(("killed before", "killed after", "failed before",
                                                "failed after", "killed twice, before",
                                                "killed twice, after")) + " |",
             "| --- " * 8 + "|"]
    for name, step in dict.fromkeys((name, point.rpartition(".")[0]) for name, point, _ in found):
        cells = [found.get((name, f"{step}.{when}", kind), "")
                 for kind in ("kill", "error", "twice") for when in ("before", "after")]
        lines.append(f"| {name} | {step} | " + " | ".join(cells) + " |")
    return lines


def main():
    tap.handle_signals()
    names = os.environ.get("NOVASNAP_FAULT_METHODS", ",".join(METHODS)).split(",")
    kinds = os.environ.get("NOVASNAP_FAULT_KINDS", "kill,error,twice").split(",")
    kills = int(os.environ.get("NOVASNAP_FAULT_RANDOM", "0"))
    found, at_random = {}, []
    with contextlib.ExitStack() as stack:
        folder, broker, glance, _libvirt, (guest,), conductor = set_up(stack, size_mib=64, data_mib=24)
        world = World(folder, broker, glance, guest, conductor)

        def make(name, kind):
            def test():
                failed = []
                for point in points_of(world, name):
                    if (point.endswith(".half") and kind == "error") or point in FIRST.get(name, ""):
                        continue
                    try:
                        found[name, point, kind] = run_fault(world, name, point, kind)
                    except Exception as error:  # all are tried
                        found[name, point, kind] = "LOST"
                        failed.append(f"{point}: {error} {getattr(error, 'stderr', '')}")
                assert not failed, "\n".join(failed)
            test.__name__ = f"test_{name}_{kind}"
            return test

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
                there = World(folder, broker, glance, other, conductor)
                agent, state = there.make_agent("undefine")
                case = Case(there, agent, state)
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
        tests = [make(name, kind) for name in names for kind in kinds]
        if "undefine" in names:
            tests.append(test_a_password_in_the_definition_is_kept_nowhere)
        if kills:
            tests.append(make_random())
        status = tap.run(tests, [])
    with open(os.path.join(BUILD, "faults.md"), "w") as file:
        file.write("\n".join(table(found)) + "\n")
        if at_random:
            counts = ", ".join(f"{at_random.count(what)} {what}" for what in sorted(set(at_random)))
            file.write(f"\nKilled at {len(at_random)} random moments: {counts}.\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
