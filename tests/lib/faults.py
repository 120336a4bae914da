# SPDX-License-Identifier: LGPL-2.1-or-later
"""One cast with a fault put in at one of its points: novasnapd killed there and started again, or the step failing.
What the tests of faults share; their casts are a World's. Needs `make FAULTS=1`."""
import contextlib
import os
import signal
import sys
import time

import tap
from services import Agent, end


class World:
    """What the casts need, all of them one after the other. A kind of it has `case(name)`, which makes a Case of that
    name with an agent of its own; the case knows what a cast `undisturbed` comes to."""
    first = {}  # name -> faults that are put in in any case, with a comma after them

    def __init__(self, folder, broker, glance, guest, conductor):
        self.folder, self.broker, self.glance = folder, broker, glance
        self.guest, self.conductor = guest, conductor
        self.points = {}

    def make_agent(self, name, more):
        """Its sections are these and `more`."""
        sections = {"DEFAULT": {"transport_url": self.broker.url, "debug": "true", "rpc_response_timeout": "3",
                                **more.get("DEFAULT", {})},
                    "novasnap": {"control": "conductor", **more.get("novasnap", {})},
                    **{key: value for key, value in more.items() if key not in ("DEFAULT", "novasnap")}}
        return Agent(self.folder, self.broker.url, self.glance.url, name=name, **sections)

    def points_of(self, name):
        """Those that a cast without a fault passes, in order."""
        if name not in self.points:
            self.points[name] = _trace(self, name)
        return self.points[name]


def _trace(world, name):
    case = world.case(name)
    agent, path = case.agent, os.path.join(case.agent.folder, "points")
    agent.start({"NOVASNAP_FAULT_TRACE": path, "NOVASNAP_FAULT": world.first.get(name, "")})
    try:
        case.send()
        case.wait_end()
    finally:
        end(agent.process, 90)
        os.remove(agent.log)
    with open(path) as file:
        points = list(dict.fromkeys(file.read().split()))
    os.remove(path)
    what = case.outcome()
    assert what == case.undisturbed, what
    return points


def wait_killed(agent):
    assert agent.process.wait(60) == -signal.SIGKILL
    os.remove(agent.log)


@contextlib.contextmanager
def ending(case, words):
    """Ends its agent, whose log is shown where something was not as it must be."""
    try:
        yield case.agent
    except Exception:
        print(f"# {words}:\n# " + "\n# ".join(case.agent.text().split("\n")[-60:]), file=sys.stderr)
        raise
    finally:
        end(case.agent.process, 90)
        with contextlib.suppress(FileNotFoundError):
            os.remove(case.agent.log)


def run_fault(world, name, point, kind):
    """kill: it dies at the point; twice: and again while what it left is taken back; error: the step fails."""
    case = world.case(name)
    case.point, case.kind = point, kind
    what = "error" if kind == "error" else "kill"
    with ending(case, f"{name} {point}:{kind}") as agent:
        agent.start({"NOVASNAP_FAULT": f"{world.first.get(name, '')}{point}:{what}"})
        case.send()
        if what == "kill":
            wait_killed(agent)
            case.check_dead()
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
        assert what == "kill" or "a fault is put in" in agent.text()
        return case.outcome()


def run_amid(world, name, step):
    """Killed while libvirt is at the step: the guest's QEMU, which is held up, does it when the next life looks."""
    case = world.case(name)
    case.point, case.kind = f"{step}.amid", "kill"
    path = os.path.join(case.agent.folder, "points")

    def passed():
        with contextlib.suppress(FileNotFoundError), open(path) as file:
            return file.read().split()
        return []

    def hold():
        """It may be about to start."""
        pid = tap.wait_for("QEMU", case.guest.pid, 30, 0.005)
        os.kill(pid, signal.SIGSTOP)
        held.callback(_go_on, pid)
    with ending(case, f"{name} {case.point}:kill") as agent, contextlib.ExitStack() as held:
        runs = case.guest.pid() is not None
        if runs:
            hold()
        agent.start({"NOVASNAP_FAULT_TRACE": path})
        case.send()
        tap.wait_for("step", lambda: f"{step}.before" in passed(), 30, 0.005)
        if not runs:
            hold()
        time.sleep(0.5)
        assert f"{step}.after" not in passed(), "libvirt was not held up"
        agent.process.kill()
        wait_killed(agent)
        agent.start()
        time.sleep(1)
        held.close()
        case.wait_end()
        return case.outcome()


def _go_on(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def chosen(names):
    """Those that NOVASNAP_FAULT_METHODS picks; the others' names are of other files."""
    told = os.environ.get("NOVASNAP_FAULT_METHODS")
    return [name for name in names if told is None or name in told.split(",")]


def fault_test(world, name, kind, found):
    """The test of one cast with one kind of fault, at each point. `found`: (name, point, kind) -> what came of it."""
    def test():
        failed = []
        for point in world.points_of(name):
            if (point.endswith(".half") and kind == "error") or point in world.first.get(name, ""):
                continue
            try:
                found[name, point, kind] = run_fault(world, name, point, kind)
            except Exception as error:  # all are tried
                found[name, point, kind] = "LOST"
                failed.append(f"{point}: {error} {getattr(error, 'stderr', '')}")
        assert not failed, "\n".join(failed)
    test.__name__ = f"test_{name}_{kind}"
    return test


def amid_test(world, name, step, found):
    def test():
        found[name, f"{step}.amid", "kill"] = "LOST"
        found[name, f"{step}.amid", "kill"] = run_amid(world, name, step)
    test.__name__ = f"test_{name}_killed_amid"
    return test


HEADS = {"kill": "killed {}", "error": "failed {}", "twice": "killed twice, {}"}


def table(found, kinds, more=()):
    """What came of each point, a line a step. `more`: columns beyond the usual, (kind, when) each."""
    columns = [(kind, when) for kind in kinds for when in ("before", "after")] + list(more)
    lines = ["| method | step | " + " | ".join(HEADS[kind].format(when) for kind, when in columns) + " |",
             "| --- " * (2 + len(columns)) + "|"]
    for name, step in dict.fromkeys((name, point.rpartition(".")[0]) for name, point, _ in found):
        cells = [found.get((name, f"{step}.{when}", kind), "") for kind, when in columns]
        lines.append(f"| {name} | {step} | " + " | ".join(cells) + " |")
    return lines
