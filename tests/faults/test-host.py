#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host itself fails: no room for the journal, a clock that is set. Broker, libvirt and Glance are real; the
conductor is the stand-in."""
import contextlib
import errno
import glob
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case, set_up  # noqa: E402
from faulty_glance import FaultyGlance  # noqa: E402
from services import Agent  # noqa: E402

FAKETIME = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder, broker, glance, _libvirt, guests, conductor = set_up(stack, 3, size_mib=64, data_mib=4)
        guest = guests[0]
        faulty = stack.enter_context(FaultyGlance(glance))

        def make_agent(name, timeout=5):
            return Agent(folder, broker.url, faulty.url, name=name,
                         DEFAULT={"transport_url": broker.url, "debug": "true",
                                  "rpc_response_timeout": str(timeout)},
                         novasnap={"control": "conductor", "scratch_dir": folder.make(f"{name}-scratch", 0o711)})
        agent = make_agent("agent")
        os.makedirs(agent.state)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=711", "none", agent.state], check=True,
                       timeout=20)
        stack.callback(subprocess.run, ["umount", "-l", agent.state], check=False, timeout=20)
        stack.enter_context(agent)
        ballast = os.path.join(agent.state, "ballast")

        def fill():
            with open(ballast, "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error

        def unacked():
            return sum(int(line.split()[1]) for line in
                       broker.ctl("list_queues", "name", "messages").splitlines()
                       if line.split()[0] == f"compute.{agent.host}")

        def hold(which):
            faulty.seen.clear()
            faulty.release.clear()
            faulty.faults[:] = ["hold"]
            case = Case(glance, conductor, which, guest).send()
            tap.wait_for("upload", lambda: faulty.puts() == ["hold"], 30)
            return case

        def test_no_room_for_the_journal_no_cast_is_acked_or_lost():
            Case(glance, conductor, agent, guest).send().is_whole()
            mark = len(agent.text())
            fill()
            cases = [Case(glance, conductor, agent, one).send() for one in guests]
            tap.wait_for("stop", lambda: "no cast is taken" in agent.text()[mark:], 30)
            time.sleep(3)
            assert unacked() == len(cases), unacked()
            assert all(glance.get(case.image)["status"] == "queued" for case in cases)
            os.remove(ballast)
            for case in cases:
                case.wait_end()
            for case in cases:
                case.is_whole()
            assert "casts are taken" in agent.text()[mark:]
            assert unacked() == 0

        def test_no_room_for_the_journal_while_a_snapshot_is_under_way():
            """What cannot be written down is not done: the snapshot fails, or ends well; it is told in any case."""
            case = hold(agent)
            fill()
            faulty.release.set()
            tap.wait_for("task state", lambda: conductor.task_states[guest.uuid] is None, 60)
            os.remove(ballast)
            # The journal has it open: the next start looks after it.
            agent.stop()
            os.remove(agent.log)
            agent.start()
            case.mark = 0
            case.wait_end()
            assert case.outcome() in ("whole", "deleted"), case.said()
            Case(glance, conductor, agent, guest).send().is_whole()

        def test_the_clock_is_set_back_and_forth():
            if not FAKETIME:
                raise tap.Skip("libfaketime is not installed")
            which = make_agent("clock")
            clock = os.path.join(which.folder, "clock")

            def set_clock(offset):
                with open(clock + ".new", "w") as file:
                    file.write(offset)
                os.rename(clock + ".new", clock)
            set_clock("+0")
            which.start({"LD_PRELOAD": FAKETIME[0], "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_NO_CACHE": "1",
                         "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
            try:
                for offset in ("-86400", "+86400", "-3600", "+0"):
                    case = hold(which)
                    set_clock(offset)
                    time.sleep(1)
                    faulty.release.set()
                    case.is_whole()
                times = [line[:19] for line in which.text().split("\n") if line[:2] == "20"]
                assert times != sorted(times), "the clock was not set"
            finally:
                which.stop()

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [agent.log])


if __name__ == "__main__":
    sys.exit(main())
