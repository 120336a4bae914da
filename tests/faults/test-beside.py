#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`novasnap beside` is killed, or the broker does not answer, at each of its steps: somebody always gets the requests, and
running it again, or the other one, finishes. Broker and novasnapd are real, nova-compute's messaging is the real
oslo.messaging."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from beside_command import FAILED, PENDING, WAIT, CommandEnvironment  # noqa: E402
from rpc_peers import check, equal, wait_until  # noqa: E402

ENABLE = ("beside-make.before", "beside-make.after", "beside-take.before", "beside-take.after")
DISABLE = ("beside-pass.before", "beside-give-back.before", "beside-give-back.after", "beside-remove.before")


def run(site, point, kind, *args):
    """Runs a command with a fault. Returns its status and what it said."""
    done = site.agent.command("beside", *args, check=False, env=("env", f"NOVASNAP_FAULT={point}:{kind}"))
    said = done.stdout + done.stderr
    equal(done.returncode, -signal.SIGKILL if kind == "kill" else FAILED, f"status at {point}: {said}")
    check(f"injecting a fault at {point}" in said, said)
    check(len(site.bound()) == 1, f"{point}: bound {site.bound()}")
    site.reaches()
    return said


def enable(env, kind):
    site = env.site("durable")
    site.restart_nova()
    before = site.objects()
    site.start()
    for point in ENABLE:
        said = run(site, point, kind, "--enable", "--wait", "0")
        if kind == "error":
            check("nothing was changed: injected fault at" in said, said)
            equal(site.objects(), before, f"the broker after {point}")
        # Once by the next --enable, and once without it.
        site.beside("--enable", "--wait", "0", status=PENDING)
        equal(site.bound(), [site.queue], "bound")
        site.reaches()
        site.beside("--disable", *WAIT)
        equal(site.objects(), before, "the broker")
        run(site, point, kind, "--enable", "--wait", "0")
        site.beside("--disable", *WAIT)
        equal(site.objects(), before, f"the broker after {point} and --disable")


def disable(env, kind):
    site = env.site("durable")
    site.restart_nova()
    before = site.objects()
    site.start()
    for point in DISABLE:
        site.beside("--enable", "--wait", "0", status=PENDING)
        run(site, point, kind, "--disable", *WAIT)
        # Back, or on.
        site.beside("--enable", "--wait", "0", status=PENDING)
        wait_until("interception", lambda: site.status()["novasnapd"]["intercepting"])
        site.reaches()
        run(site, point, kind, "--disable", *WAIT)
        site.beside("--disable", *WAIT)
        equal(site.objects(), before, f"the broker after {point}")
        site.reaches()


def test_enable_killed(env):
    enable(env, "kill")


def test_enable_failed(env):
    enable(env, "error")


def test_disable_killed(env):
    disable(env, "kill")


def test_disable_failed(env):
    disable(env, "error")


if __name__ == "__main__":
    tap.main(CommandEnvironment)
