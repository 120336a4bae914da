# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a program of the tests in a child process, and removes what it leaves: processes, mounts and its folder, also
when it fails, hangs or is killed. All its descendants, QEMU's daemons among them, become children of the supervisor
when their parents end, so they are found by their parent's pid and never by name."""
import contextlib
import ctypes
import os
import signal
import sys
import time

from process import Folder, processes

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
libc = ctypes.CDLL(None)
SIGNALS = (signal.SIGTERM, signal.SIGINT)
END_SECONDS = 12  # that the program has after a SIGTERM; `timeout -k 20` runs it
GRACE_SECONDS = 5  # in which what it started may still end by itself, unless there was a SIGTERM


def run(work, prefix="novasnap-test-"):
    """Calls `work(folder)` in a child. Returns its exit status, or 1 where it left a process running.

    The supervisor itself is a child of the caller, in a session of its own, so it outlives the caller when that is
    killed together with its process group, as with prove."""
    sys.stdout.flush()
    caller = os.getpid()
    # Until each process has its handlers.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    supervisor = os.fork()
    if supervisor == 0:
        _exit_with(lambda: _supervise(work, prefix, caller))
    _forward_signals(supervisor)
    return _wait(supervisor)


def _supervise(work, prefix, caller):
    os.setsid()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with Folder(prefix) as folder:
        child = os.fork()
        if child == 0:
            _exit_with(lambda: _run_child(work, folder))
        signals = _forward_signals(child, END_SECONDS)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != caller:
            os.kill(os.getpid(), signal.SIGTERM)
        status = _wait(child)
        left = _end_descendants(1 if signals else GRACE_SECONDS)
    for name in left:
        print(f"# left running: {name}", file=sys.stderr, flush=True)
    return status or (1 if left else 0)


def _exit_with(function):
    """Ends this process with what the function returns, whatever happens: the output may be closed."""
    status = 1
    try:
        status = function() or 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _run_child(work, folder):
    """SIGTERM and SIGINT unwind the stack, so that everything that was started is ended."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    def unwind(number, _frame):
        # The same signal may come by way of the process group, too.
        for each in SIGNALS:
            signal.signal(each, lambda *_: None)
        raise SystemExit(128 + number)
    for each in SIGNALS:
        signal.signal(each, unwind)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return work(folder)


def _forward_signals(child, kill_after=None):
    """Passes signals on to the child, which is killed `kill_after` seconds later. Returns a list to which each signal
    that arrives is added."""
    came = []

    def kill(_number, _frame):
        os.kill(child, signal.SIGKILL)

    def forward(number, _frame):
        came.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
        if kill_after:
            signal.alarm(kill_after)
    signal.signal(signal.SIGALRM, kill)
    for number in SIGNALS:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return came


def _wait(child):
    """Returns the exit status. Other children are reaped, too."""
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
