# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a program of the tests in a child process, and removes what it leaves: processes, mounts and its folder, also
when it fails, hangs or is killed. All its descendants, QEMU's daemons among them, become children of the supervisor
when their parents end, so they are found by their parent's pid and never by name."""
import ctypes
import os
import signal
import sys
import time

from process import Folder, processes

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
libc = ctypes.CDLL(None)
END_SECONDS = 12  # that the program has after a SIGTERM; `timeout -k 20` runs it
GRACE_SECONDS = 5  # in which what it started may still end by itself, unless there was a SIGTERM


def run(work, prefix="novasnap-test-"):
    """Calls `work(folder)` in a child. Returns its exit status, or 1 where it left a process running."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sys.stdout.flush()
    with Folder(prefix) as folder:
        child = os.fork()
        if child == 0:
            _run_child(work, folder)
        signals = _forward_signals(child)
        status = _wait(child)
        left = _end_descendants(1 if signals else GRACE_SECONDS)
    for name in left:
        print(f"# left running: {name}", file=sys.stderr, flush=True)
    return status or (1 if left else 0)


def _run_child(work, folder):
    """Never returns. SIGTERM and SIGINT unwind the stack, so that everything that was started is ended."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    def unwind(number, _frame):
        # The same signal may come by way of the process group, too.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: None)
        raise SystemExit(128 + number)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, unwind)
    status = 1
    try:
        status = work(folder) or 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _forward_signals(child):
    """Returns a list to which each signal that arrives is added."""
    came = []

    def kill(_number, _frame):
        os.kill(child, signal.SIGKILL)

    def forward(number, _frame):
        came.append(number)
        os.kill(child, signal.SIGTERM)
        signal.alarm(END_SECONDS)
    signal.signal(signal.SIGALRM, kill)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    return came


def _wait(child):
    while True:
        pid, status = os.wait()
        if pid == child:
            signal.alarm(0)
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code


def _children():
    return [each for each in processes() if each.parent == os.getpid() and each.state != "Z"]


def _reap():
    """Returns whether there are children left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _end_descendants(seconds):
    """Kills the descendants that do not end by themselves within this many seconds, and returns their names."""
    until, left = time.monotonic() + seconds, {}
    while _reap():
        if time.monotonic() > until:
            for each in _children():
                left[each.pid] = f"{each.name} ({each.pid})"
                os.kill(each.pid, signal.SIGKILL)
        time.sleep(0.05)
    return left.values()
