#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QEMU that does not answer its monitor, while libvirtd does, fails the snapshot within the limits of novasnap's
calls; other guests are served meanwhile, and once QEMU goes on everything is rolled back. Broker, libvirt, QEMU, which
is stopped by a signal, and Glance are real; the conductor is a stand-in."""
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from case import Case, CaseEnvironment, is_copying, is_saving  # noqa: E402
from images import MIB  # noqa: E402

LIMIT = "3"
ANSWERED = "libvirt did not answer"


class Hang(CaseEnvironment):
    guest_options = {"size_mib": 64, "data_mib": 8}

    def set_up(self):
        super().set_up()
        self.other = self.make_guest(**self.guest_options)

    def before_test(self):
        super().before_test()
        self.other.reset()

    def agent(self, sections=None, **novasnap):
        return self.start_agent(sections=sections, libvirt_call_timeout=LIMIT, save_timeout=LIMIT, nbd_timeout="2",
                                **novasnap)

    def slow_agent(self):
        return self.agent(upload_bytes_per_second=str(4 * MIB))

    def stop_qemu(self, agent, moment, words):
        """Stops QEMU at a moment of a snapshot, which must fail with this message, and lets QEMU continue later."""
        case = Case(self, agent)
        try:
            sender = threading.Thread(target=case.send)
            sender.start()
            tap.wait_for("moment", lambda: moment(case), 30, 0.001)
            os.kill(self.guest.pid(), signal.SIGSTOP)
            sender.join()
            # Other guests are served meanwhile, and afterwards.
            Case(self, agent, self.other).send().is_whole(alone=False)
            case.wait_failed()
            assert words in case.said(), case.said()
            Case(self, agent, self.other).send().is_whole(alone=False)
        finally:
            os.kill(self.guest.pid(), signal.SIGCONT)
        case.is_deleted()
        # libvirt has kept nothing either.
        Case(self, agent).send().is_whole()


def test_stopped_while_the_export_begins(env):
    agent = env.slow_agent()
    env.stop_qemu(agent, lambda case: agent.left(), ANSWERED)


def test_stopped_while_the_disk_is_read(env):
    env.stop_qemu(env.slow_agent(), lambda case: "bytes to upload" in case.said(), ANSWERED)


def test_stopped_while_the_copy_begins(env):
    agent = env.agent(live_method="rebase")
    env.stop_qemu(agent, lambda case: is_copying(agent), ANSWERED)


def test_stopped_in_the_middle_of_a_managed_save(env):
    env.stop_qemu(env.agent(NO_LIVE_SNAPSHOT), lambda case: is_saving(env.guest),
                  f"saving the guest: {ANSWERED} (virDomainManagedSave) in {LIMIT} s")


if __name__ == "__main__":
    tap.main(Hang)
