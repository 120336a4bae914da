#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Glance, Keystone and QEMU fail while a snapshot is under way: guest, image and task state must come out right. A
real Glance behind a proxy for its faults; Keystone and the conductor are stand-ins."""
import contextlib
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case, set_up  # noqa: E402
from faulty_glance import FaultyGlance  # noqa: E402
from keystone import StandInKeystone  # noqa: E402
from services import Agent  # noqa: E402

SAVES = "/var/lib/libvirt/qemu/save"
RETRIES = 3


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder, broker, glance, _libvirt, guests, conductor = set_up(stack, 6, size_mib=64, data_mib=4)
        guest = guests[0]
        faulty = stack.enter_context(FaultyGlance(glance))
        keystone = stack.enter_context(StandInKeystone())

        def make_agent(name, more=None, **keys):
            return stack.enter_context(Agent(
                folder, broker.url, faulty.url, name=name, retries=RETRIES, **(more or {}),
                novasnap={"control": "conductor", "stall_timeout": "2", **keys}))
        agent = make_agent("agent")
        known = make_agent("known", {"keystone_authtoken": keystone.section})
        rebase = make_agent("rebase", live_method="rebase")
        saving = make_agent("saving", {"workarounds": {"disable_libvirt_livesnapshot": "true"},
                                       "DEFAULT": {"max_concurrent_snapshots": "0",
                                                   "transport_url": broker.url, "debug": "true"}})

        def send(faults, which=agent):
            faulty.seen.clear()
            faulty.faults[:] = faults
            return Case(glance, conductor, which, guest).send()

        def test_glance_refuses_for_good():
            for status in (400, 401, 403, 409, 413):
                send([status]).is_deleted(str(status))
                assert faulty.puts() == [status], faulty.seen

        def test_glance_has_the_image_no_more():
            def delete(_status, path):
                glance.request("DELETE", path.removesuffix("/file"))
            faulty.before_fault = delete
            for status in (404, 410):
                case = send([status])
                case.faults = 0  # nova knows
                case.is_deleted("went away")
            faulty.before_fault = None

        def test_glance_fails_once():
            for fault in (429, 500, 503, "cut", "stall"):
                faulty.release.clear()
                send([fault]).is_whole()
                assert faulty.puts()[0] == fault and faulty.puts()[-1] is None, faulty.seen

        def test_glance_fails_always():
            send([429] * 20).is_deleted("429")
            assert faulty.puts() == [429] * (RETRIES + 1), faulty.seen

        def test_a_token_that_has_expired_gives_way_to_our_own():
            send([401], known).is_whole()
            assert keystone.asked > 0

        def test_keystone_is_away_and_comes_back():
            which = make_agent("late", {"keystone_authtoken": keystone.section})
            keystone.stop()
            timer = threading.Timer(2, keystone.start)
            timer.start()
            send([401], which).is_whole()
            timer.join()
            which.stop()

        def test_keystone_stays_away():
            which = make_agent("never", {"keystone_authtoken": keystone.section})
            keystone.stop()
            try:
                case = send([401] * 20, which)
                case.wait_end()
            finally:
                faulty.faults.clear()
                keystone.start()
            # By the user's token, which Glance refuses no more.
            assert case.outcome() == "deleted"
            which.stop()

        def test_six_managed_saves_at_once():
            cases = [Case(glance, conductor, saving, one) for one in guests]
            for case in cases:
                case.send()
            for case in cases:
                case.wait_end()
            for case in cases:
                case.is_whole()
                assert "method extract" in case.said()

        def kill_qemu():
            with open(f"/run/libvirt/qemu/{guest.name}.pid") as file:
                os.kill(int(file.read()), signal.SIGKILL)
            tap.wait_for("end of the guest", lambda: guest.state() == "shut off", 20)

        def qemu_dies(which, moment):
            """The guest stays as that left it."""
            case = Case(glance, conductor, which, guest)
            sender = threading.Thread(target=case.send)
            sender.start()
            tap.wait_for("moment", lambda: moment(case), 30, 0.001)
            kill_qemu()
            sender.join()
            case.state = "shut off"
            return case

        def test_qemu_dies_while_its_disk_is_read():
            faulty.seen.clear()
            faulty.release.clear()
            faulty.faults[:] = ["hold"]
            case = qemu_dies(agent, lambda _case: faulty.puts())
            faulty.release.set()
            case.is_whole()
            assert "the snapshot begins again" in case.said(), case.said()
            guest.start()

        def test_qemu_dies_while_its_disk_is_copied():
            case = qemu_dies(rebase, lambda _case: any(
                os.path.exists(os.path.join(rebase.snapshots, name, "delta"))
                for name in os.listdir(rebase.snapshots)))
            case.is_deleted()
            guest.start()

        def test_qemu_dies_while_it_is_saved():
            qemu_dies(saving, lambda _case: os.path.exists(
                os.path.join(SAVES, f"{guest.name}.save"))).is_deleted()
            guest.start()

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [])


if __name__ == "__main__":
    sys.exit(main())
