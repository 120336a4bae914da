# SPDX-License-Identifier: LGPL-2.1-or-later
"""Test functions printed as TAP. A test that raises has failed; Skip skips it, and fails it in CI."""
import os
import signal
import sys
import time
import traceback


class Skip(Exception):
    pass


class TooLong(Exception):
    pass


def _alarm(_signal, _frame):
    raise TooLong("the test took too long")


def _terminate(number, _frame):
    raise SystemExit(128 + number)


def wait_for(what, condition, seconds=60, pause=0.1):
    """Calls `condition` until it returns something true, which is returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"in {seconds} s: no {what}")
        time.sleep(pause)


def run(tests, logs=()):
    """Runs the functions in order and ends the process. `logs`: files whose ends are shown on failure."""
    signal.signal(signal.SIGALRM, _alarm)
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for number, test in enumerate(tests, 1):
        name = test.__name__.replace("test_", "", 1).replace("_", " ")
        signal.alarm(int(os.environ.get("NOVASNAP_TEST_TIMEOUT", "420")))
        try:
            test()
            print(f"ok {number} - {name}", flush=True)
        except Skip as skip:
            if os.environ.get("CI"):
                failed += 1
                print(f"not ok {number} - {name} (skipped in CI: {skip})", flush=True)
            else:
                print(f"ok {number} - {name} # SKIP {skip}", flush=True)
        except (Exception, TooLong):
            failed += 1
            print(f"not ok {number} - {name}", flush=True)
            # On standard error, which prove lets through.
            print(f"# {name}:", file=sys.stderr)
            for line in traceback.format_exc().splitlines():
                print(f"# {line}", file=sys.stderr)
            for log in logs:
                show_tail(log)
            sys.stdout.flush()
        finally:
            signal.alarm(0)
    return 1 if failed else 0


def show_tail(path, lines=25):
    try:
        with open(path, errors="replace") as file:
            tail = file.read().splitlines()[-lines:]
    except OSError:
        return
    print(f"# --- the end of {path}", file=sys.stderr)
    for line in tail:
        print(f"# {line}", file=sys.stderr, flush=True)


def handle_signals():
    """SIGTERM and SIGINT unwind, so that everything that was started is ended."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _terminate)
