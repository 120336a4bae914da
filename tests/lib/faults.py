# SPDX-License-Identifier: LGPL-2.1-or-later
"""One cast with a fault at one of its points: novasnapd is killed there and started again, or the step fails. The tests
of faults share this. Needs `make FAULTS=1`."""
import contextlib
import os
import signal
import sys
import time

import tap
from environment import Environment


class FaultEnvironment(Environment):
    """A derived class has `case(name)`, which makes a Case of that name with an agent of its own that does not run yet.
    The case knows the outcome of a cast without a fault."""
    services = ("broker", "glance", "libvirt", "conductor")
    first = {}  # name -> faults that are always injected, with a comma after them

    def __init__(self, folder, stack):
        super().__init__(folder, stack)
        self.points = {}

    def before_test(self):
        self.conductor.reset()

    def make_fault_agent(self, sections):
        return self.make_agent(sections={**sections, "DEFAULT": {"rpc_response_timeout": "3",
                                                                 **sections.get("DEFAULT", {})}})

    def points_of(self, name):
        """Returns the points that a cast without a fault passes, in order."""
        if name not in self.points:
            self.points[name] = _trace(self, name)
        return self.points[name]


def _trace(env, name):
    case = env.case(name)
    path = os.path.join(case.agent.folder, "points")
    with ending(case, f"{name} without a fault") as agent:
        agent.start({"NOVASNAP_FAULT_TRACE": path, "NOVASNAP_FAULT": env.first.get(name, "")})
        case.send()
        case.wait_end()
        assert agent.stop() == 0
        with open(path) as file:
            points = list(dict.fromkeys(file.read().split()))
        what = case.outcome()
        assert what == case.undisturbed, what
        case.forget()
    return points


def wait_killed(agent):
    assert agent.process.wait(60) == -signal.SIGKILL


@contextlib.contextmanager
def ending(case, words):
    """Ends the case's agent. If a check failed, the end of its log is printed."""
    try:
        yield case.agent
    except Exception:
        print(f"# {words}:\n# " + "\n# ".join(case.agent.text().split("\n")[-60:]), file=sys.stderr)
        raise
    finally:
        case.agent.stop()


def run_fault(env, name, point, kind):
    """kill: novasnapd dies at the point; twice: it dies again during the rollback; error: the step fails."""
    case = env.case(name)
    case.point, case.kind = point, kind
    what = "error" if kind == "error" else "kill"
    with ending(case, f"{name} {point}:{kind}") as agent:
        agent.start({"NOVASNAP_FAULT": f"{env.first.get(name, '')}{point}:{what}"})
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
            # If there was nothing to undo, it still runs.
            tap.wait_for("end", lambda: agent.process.poll() is not None or case.has_ended(), 60, 0.05)
            if agent.process.poll() is not None:
                wait_killed(agent)
                agent.start()
        case.wait_end()
        assert what == "kill" or "injecting a fault" in agent.text()
        return outcome(case)


def run_amid(env, name, step):
    """Kills novasnapd while libvirt executes the step: the guest's QEMU is stopped, and continues only when novasnapd
    runs again."""
    case = env.case(name)
    case.point, case.kind = f"{step}.amid", "kill"
    path = os.path.join(case.agent.folder, "points")

    def passed():
        with contextlib.suppress(FileNotFoundError), open(path) as file:
            return file.read().split()
        return []

    def hold():
        """Stops the guest's QEMU, which may be about to start."""
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
        agent.kill()
        agent.start()
        time.sleep(1)
        held.close()
        case.wait_end()
        return outcome(case)


def outcome(case):
    """Returns the outcome. The image is deleted."""
    what = case.outcome()
    case.forget()
    return what


def _go_on(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def chosen(names):
    """Returns the names that NOVASNAP_FAULT_METHODS selects. It may also have names of other files."""
    picked = os.environ.get("NOVASNAP_FAULT_METHODS")
    return [name for name in names if picked is None or name in picked.split(",")]


def chosen_kinds(kinds):
    picked = os.environ.get("NOVASNAP_FAULT_KINDS")
    return [kind for kind in kinds if picked is None or kind in picked.split(",")]


def fault_test(name, kind, found):
    """The test of one cast with one kind of fault, at each point. `found`: (name, point, kind) -> outcome."""
    def test(env):
        failed = []
        for point in env.points_of(name):
            if (point.endswith(".half") and kind == "error") or point in env.first.get(name, ""):
                continue
            try:
                found[name, point, kind] = run_fault(env, name, point, kind)
            except Exception as error:  # all are tested
                found[name, point, kind] = "LOST"
                failed.append(f"{point}: {error} {getattr(error, 'stderr', '')}")
        assert not failed, "\n".join(failed)
    test.__name__ = f"test_{name}_{kind}"
    return test


def amid_test(name, step, found):
    def test(env):
        found[name, f"{step}.amid", "kill"] = "LOST"
        found[name, f"{step}.amid", "kill"] = run_amid(env, name, step)
    test.__name__ = f"test_{name}_killed_during_the_step"
    return test


HEADS = {"kill": "killed {}", "error": "failed {}", "twice": "killed twice, {}"}


def table(found, kinds, more=()):
    """The outcome at each point, one line for each step. `more`: additional columns, (kind, when) each."""
    columns = [(kind, when) for kind in kinds for when in ("before", "after")] + list(more)
    lines = ["| method | step | " + " | ".join(HEADS[kind].format(when) for kind, when in columns) + " |",
             "| --- " * (2 + len(columns)) + "|"]
    for name, step in dict.fromkeys((name, point.rpartition(".")[0]) for name, point, _ in found):
        cells = [found.get((name, f"{step}.{when}", kind), "") for kind, when in columns]
        lines.append(f"| {name} | {step} | " + " | ".join(cells) + " |")
    return lines
