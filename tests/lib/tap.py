# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the test functions of a file and prints TAP.
    test-NAME.py [--list] [TEST ...]    the tests whose names contain one of these
    NOVASNAP_TEST_SHUFFLE=SEED          in another order, which the seed determines
    NOVASNAP_TEST_TIMEOUT=SECONDS       for each test, 420 by default
A test is a function `test_*(env)`, and does not depend on another. `env` is the file's Environment: services that are
started once for the file, and whatever the test itself starts, which ends with the test. A test that raises has
failed; Skip skips it, and fails it in CI."""
import argparse
import contextlib
import os
import random
import signal
import sys
import time
import traceback

import supervisor


class Skip(Exception):
    pass


class TooLong(BaseException):
    """No `except Exception` of a test catches it."""


def wait_for(what, condition, seconds=60, pause=0.1):
    """Calls `condition` until it returns a true value, and returns that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"in {seconds} s: no {what}")
        time.sleep(pause)


def main(environment, tests=None, ordered=False, at_end=None):
    """Runs the program's tests, in an environment of that class, and ends the program. `tests`: those, in place of the
    functions of the program's main module. `ordered`: each builds on those before it, so all of them run, in order.
    `at_end` is called after the tests, whatever came of them."""
    if tests is None:
        module = sys.modules["__main__"]
        tests = [value for name, value in vars(module).items() if name.startswith("test_") and callable(value)]
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the names of the tests")
    parser.add_argument("names", nargs="*", metavar="TEST", help="part of a test's name")
    options = parser.parse_args()
    if not ordered:
        tests = _choose(tests, options.names)
    if options.list:
        print("\n".join(_name(test) for test in tests))
        sys.exit(0)
    if not tests and options.names:
        sys.exit(f"{sys.argv[0]}: no test's name contains {' or '.join(options.names)}")
    if not tests:
        print("1..0 # SKIP nothing to run")
        sys.exit(0)
    sys.exit(supervisor.run(lambda folder: _run_file(environment, folder, tests, at_end)))


def _name(test):
    return test.__name__.replace("test_", "", 1).replace("_", " ")


def _choose(tests, names):
    wanted = [name.replace("_", " ") for name in names]
    chosen = [test for test in tests if not wanted or any(name in _name(test) for name in wanted)]
    seed = os.environ.get("NOVASNAP_TEST_SHUFFLE")
    if seed:
        print(f"# shuffled by the seed {seed}")
        random.Random(seed).shuffle(chosen)
    return chosen


@contextlib.contextmanager
def _time_limit():
    def ring(_signal, _frame):
        raise TooLong("it took too long")
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(int(os.environ.get("NOVASNAP_TEST_TIMEOUT", "420")))
    try:
        yield
    finally:
        signal.alarm(0)


def _run_file(environment, folder, tests, at_end):
    began = time.monotonic()
    print(f"1..{len(tests)}", flush=True)
    with contextlib.ExitStack() as stack:
        with _time_limit():
            env = environment(folder, stack)
            try:
                env.set_up()
                env.wait_services()
            except (Exception, TooLong):
                _show_failure("starting the services", env.logs)
                return 1
        print(f"# {time.monotonic() - began:.1f} s to start the services", flush=True)
        failed = sum(not _passes(number, test, env) for number, test in enumerate(tests, 1))
        if at_end:
            at_end()
    return 1 if failed else 0


def _passes(number, test, env):
    name, began = _name(test), time.monotonic()
    word, why = "ok", ""
    try:
        with _time_limit(), env.test_scope():
            env.before_test()
            test(env)
    except Skip as skip:
        in_ci = bool(os.environ.get("CI"))
        word, why = ("not ok", f" (skipped in CI: {skip})") if in_ci else ("ok", f" # SKIP {skip}")
    except (Exception, TooLong):
        word = "not ok"
        _show_failure(name, env.logs)
    print(f"{word} {number} - {name}{why}\n# {time.monotonic() - began:.1f} s", flush=True)
    return word == "ok"


def _show_failure(what, logs):
    """Prints to standard error, which prove passes on."""
    print(f"# {what}:", file=sys.stderr)
    for line in traceback.format_exc().splitlines():
        print(f"# {line}", file=sys.stderr)
    for log in logs:
        show_tail(log)


def show_tail(path, lines=25):
    try:
        with open(path, errors="replace") as file:
            tail = file.read().splitlines()[-lines:]
    except OSError:
        return
    print(f"# --- the end of {path}", file=sys.stderr)
    for line in tail:
        print(f"# {line}", file=sys.stderr, flush=True)
