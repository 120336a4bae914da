#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirtd is killed and started again, or hangs, while a snapshot is under way: a libvirtd of our own. The conductor
is the stand-in."""
import contextlib
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case, set_up  # noqa: E402
from faulty_glance import FaultyGlance  # noqa: E402
from own_libvirt import OwnLibvirt  # noqa: E402
from services import Agent  # noqa: E402


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder, broker, glance, libvirt, (guest,), conductor = set_up(
            stack, libvirt=OwnLibvirt, size_mib=128, data_mib=48)
        faulty = stack.enter_context(FaultyGlance(glance))

        def make_agent(name, more=None, **keys):
            return stack.enter_context(Agent(
                folder, broker.url, faulty.url, name=name, **(more or {}),
                libvirt={"connection_uri": libvirt.uri},
                novasnap={"control": "conductor", "libvirt_keepalive": "1", "libvirt_call_timeout": "8",
                          "save_timeout": "8", "libvirt_connect_timeout": "3", **keys}))
        agent = make_agent("agent")
        rebase = make_agent("rebase", live_method="rebase")
        saving = make_agent("saving", {"workarounds": {"disable_libvirt_livesnapshot": "true"}})

        def send(which, moment):
            case = Case(glance, conductor, which, guest)
            sender = threading.Thread(target=case.send)
            sender.start()
            tap.wait_for("moment", lambda: moment(case), 30, 0.001)
            return case, sender

        def restart():
            libvirt.kill()
            libvirt.start()

        def hang(seconds=12):
            libvirt.signal(signal.SIGSTOP)
            threading.Event().wait(seconds)
            libvirt.signal(signal.SIGCONT)

        def held(_case):
            return faulty.puts() == ["hold"]

        def copying(which):
            return lambda _case: any(os.path.exists(os.path.join(which.snapshots, name, "delta"))
                                     for name in os.listdir(which.snapshots))

        def is_saving(_case):
            return os.path.exists(os.path.join(libvirt.save, f"{guest.name}.save"))

        def hold():
            faulty.seen.clear()
            faulty.release.clear()
            faulty.faults[:] = ["hold"]

        def check(which, moment, fault, allowed):
            case, sender = send(which, moment)
            fault()
            sender.join()
            faulty.release.set()
            case.wait_end(120)
            assert case.outcome() in allowed, case.said()
            Case(glance, conductor, which, guest).send().is_whole()

        def test_restarted_while_the_disk_is_read():
            hold()
            check(agent, held, restart, ["whole"])

        def test_restarted_while_the_disk_is_copied():
            check(rebase, copying(rebase), restart, ["deleted", "whole"])

        def test_restarted_while_the_guest_is_saved():
            check(saving, is_saving, restart, ["deleted", "whole"])

        def test_hangs_while_the_disk_is_read():
            hold()
            check(agent, held, hang, ["whole"])

        def test_hangs_while_the_disk_is_copied():
            check(rebase, copying(rebase), hang, ["deleted", "whole"])

        def test_hangs_while_the_guest_is_saved():
            check(saving, is_saving, hang, ["deleted", "whole"])

        def test_hangs_when_a_cast_comes():
            case = Case(glance, conductor, agent, guest)
            libvirt.signal(signal.SIGSTOP)
            try:
                case.send()
                case.wait_failed()
                assert "did not answer (virConnectOpen) in 3 s" in case.said(), case.said()
            finally:
                libvirt.signal(signal.SIGCONT)
            case.is_deleted()

        def test_qemu_hangs_and_libvirt_refuses_what_would_take_it_back():
            """It lets each wait for half a minute for the save that it is at."""
            which = make_agent("refused", {"workarounds": {"disable_libvirt_livesnapshot": "true"}},
                               libvirt_call_timeout="60")
            case, sender = send(which, is_saving)
            qemu = libvirt.pid_of(guest)
            os.kill(qemu, signal.SIGSTOP)
            try:
                sender.join()
                case.wait_failed(90)
                assert "asking for the guest's jobs: Timed out during operation" in case.said(), case.said()
                assert is_saving(case)
            finally:
                os.kill(qemu, signal.SIGCONT)
            case.is_deleted()
            assert which.stop() == 0

        def test_they_stop_and_leave_nothing():
            for which in (agent, rebase, saving):
                assert which.stop() == 0, which.text()[-2000:]

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [libvirt.log])


if __name__ == "__main__":
    sys.exit(main())
