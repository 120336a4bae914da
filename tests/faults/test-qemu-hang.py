#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QEMU that does not answer its monitor, while libvirtd does: it is stopped, and goes on later. The conductor is
the stand-in."""
import contextlib
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case, set_up  # noqa: E402
from services import Agent  # noqa: E402

LIMIT = "3"
SAVES = "/var/lib/libvirt/qemu/save"


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder, broker, glance, _libvirt, (guest, other), conductor = set_up(stack, 2, size_mib=64, data_mib=8)

        def make_agent(name, more=None, **keys):
            return stack.enter_context(Agent(
                folder, broker.url, glance.url, name=name, **(more or {}),
                novasnap={"control": "conductor", "libvirt_call_timeout": LIMIT, "save_timeout": LIMIT,
                          "nbd_timeout": "2", **keys}))
        slow = make_agent("slow", upload_bytes_per_second=str(4 << 20))
        rebase = make_agent("rebase", live_method="rebase")
        saving = make_agent("saving", {"workarounds": {"disable_libvirt_livesnapshot": "true"}})

        def signal_qemu(number):
            with open(f"/run/libvirt/qemu/{guest.name}.pid") as file:
                os.kill(int(file.read()), number)

        def fails_and_is_taken_back(agent, stop_when, words):
            """`stop_when`: the moment to stop it."""
            case = Case(glance, conductor, agent, guest)
            try:
                sender = threading.Thread(target=case.send)
                sender.start()
                tap.wait_for("moment", lambda: stop_when(case), 30, 0.001)
                signal_qemu(signal.SIGSTOP)
                sender.join()
                # Others are served meanwhile, and afterwards.
                Case(glance, conductor, agent, other).send().is_whole(alone=False)
                case.wait_failed()
                assert words in case.said(), case.said()
                Case(glance, conductor, agent, other).send().is_whole(alone=False)
            finally:
                signal_qemu(signal.SIGCONT)
            case.is_deleted()
            # libvirt has kept nothing either.
            Case(glance, conductor, agent, guest).send().is_whole()

        answered = "libvirt did not answer"

        def test_stopped_while_the_export_begins():
            fails_and_is_taken_back(slow, lambda case: slow.left(), answered)

        def test_stopped_while_the_disk_is_read():
            fails_and_is_taken_back(slow, lambda case: "bytes to upload" in case.said(), answered)

        def test_stopped_while_the_copy_begins():
            fails_and_is_taken_back(rebase, lambda case: any(
                os.path.exists(os.path.join(rebase.snapshots, name, "delta"))
                for name in os.listdir(rebase.snapshots)), answered)

        def test_stopped_in_the_middle_of_a_managed_save():
            fails_and_is_taken_back(saving, lambda case: os.path.exists(
                os.path.join(SAVES, f"{guest.name}.save")),
                                    f"saving the guest: {answered} (virDomainManagedSave) in {LIMIT} s")

        def test_they_stop_and_leave_nothing():
            for which in (slow, rebase, saving):
                assert which.stop() == 0, which.text()[-2000:]

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [slow.log, rebase.log, saving.log])


if __name__ == "__main__":
    sys.exit(main())
