#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host itself fails: there is no room for the journal or a copy, the clock is set. No cast is acked or lost, and
each snapshot comes to its end. Broker, libvirt, QEMU and a Glance behind a stand-in that holds uploads up are real; the
conductor is a stand-in, the clock is set by libfaketime."""
import contextlib
import errno
import glob
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case, CaseEnvironment  # noqa: E402

FAKETIME = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")


class Host(CaseEnvironment):
    own_broker = True

    def __init__(self, folder, stack):
        # libvirtd sees only what was mounted before it. ext4 can be frozen.
        self.small, image = folder.make("small"), folder.file("small.ext4")
        for command in (["truncate", "-s", "64M", image], ["mkfs.ext4", "-q", "-m", "0", image],
                        ["mount", "-o", "loop", image, self.small]):
            subprocess.run(command, check=True, timeout=20)
        stack.callback(subprocess.run, ["umount", "-l", self.small], check=True, timeout=20)
        super().__init__(folder, stack)

    def make_host_agent(self):
        agent = self.make_agent(sections={"DEFAULT": {"rpc_response_timeout": "5"}})
        agent.configure("novasnap", scratch_dir=self.folder.make(f"{os.path.basename(agent.folder)}-scratch", 0o711))
        return agent

    def agent_in_little_room(self):
        """An agent whose state_dir has room for 1 MiB."""
        agent = self.make_host_agent()
        os.makedirs(agent.state)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=711", "none", agent.state], check=True, timeout=20)
        self.callback(subprocess.run, ["umount", "-l", agent.state], check=True, timeout=20)
        return self.enter(agent)

    def unacked(self, agent):
        return sum(int(line.split()[1]) for line in self.broker.ctl("list_queues", "name", "messages").splitlines()
                   if line.split()[0] == f"compute.{agent.host}")


def fill(folder):
    """Fills a folder's filesystem. Returns the file that fills it."""
    ballast = os.path.join(folder, "ballast")
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
    return ballast


def test_no_room_for_the_journal_no_cast_is_acked_or_lost(env):
    agent = env.agent_in_little_room()
    guests = [env.guest, *env.start_more_guests(2)]
    Case(env, agent).send().is_whole()
    mark = len(agent.text())
    ballast = fill(agent.state)
    cases = [Case(env, agent, guest).send() for guest in guests]
    tap.wait_for("stop", lambda: "accepting no casts" in agent.text()[mark:], 30)
    time.sleep(3)
    assert env.unacked(agent) == len(cases), env.unacked(agent)
    assert all(env.glance.get(case.image)["status"] == "queued" for case in cases)
    os.remove(ballast)
    for case in cases:
        case.wait_end()
    for case in cases:
        case.is_whole()
    assert "accepting casts" in agent.text()[mark:]
    assert env.unacked(agent) == 0


def test_no_room_for_the_journal_while_a_snapshot_is_under_way(env):
    """What cannot be journaled is not done. The snapshot fails or succeeds, and is reported to the conductor in either
    case."""
    agent = env.agent_in_little_room()
    case = env.hold(agent)
    ballast = fill(agent.state)
    env.front.release.set()
    tap.wait_for("task state", lambda: env.conductor.task_states[env.guest.uuid] is None, 60)
    os.remove(ballast)
    # It is open in the journal, and the next start completes it.
    agent.stop()
    agent.start()
    case.wait_end()
    assert case.outcome() in ("whole", "deleted"), case.said()
    Case(env, agent).send().is_whole()


def read(path):
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        return file.read()


def write(guest, offset):
    """Writes 1 MiB to the disk of a running guest, as the guest would."""
    device = "/machine/peripheral/virtio-disk0/virtio-backend"
    said = guest.virsh("qemu-monitor-command", "--hmp", f'qemu-io -d {device} "write -P 7 {offset}M 1M"')
    assert said == "", said


@contextlib.contextmanager
def frozen(folder):
    """Whatever writes to the folder's filesystem waits for the end of the block."""
    subprocess.run(["fsfreeze", "--freeze", folder], check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", folder], check=True, timeout=20)


def test_no_room_for_what_the_guest_wrote_before_its_copy_was_ended(env):
    """QEMU copies that after the copy was aborted. libvirt may report the copy as ended even if QEMU cannot."""
    folder = os.path.join(env.small, "snapshots")
    os.mkdir(folder)
    agent = env.make_agent(sections={"libvirt": {"snapshots_directory": folder}}, live_method="rebase",
                           scratch_reserve="1")
    points = os.path.join(agent.folder, "points")
    status = os.path.join(env.libvirt.run, "qemu", f"{env.guest.name}.xml")
    agent.start({"NOVASNAP_FAULT": "switch.before:delay", "NOVASNAP_FAULT_TRACE": points})
    try:
        case = Case(env, agent).send()
        tap.wait_for("complete copy", lambda: "switch.before" in read(points), 60)
        os.kill(agent.process.pid, signal.SIGSTOP)
        ballast = fill(env.small)
        with frozen(env.small):
            for offset in range(40, 48):
                write(env.guest, offset)
            os.kill(agent.process.pid, signal.SIGCONT)
            # virsh would wait for the abort.
            tap.wait_for("abort", lambda: "ready='abort'" in read(status), 30)
        case.is_deleted("the block job of disk vda failed: No space left on device")
        os.remove(ballast)
        Case(env, agent).send().is_whole()
    finally:
        os.kill(agent.process.pid, signal.SIGCONT)
        agent.stop()


def test_the_clock_is_set_back_and_forth(env):
    if not FAKETIME:
        raise tap.Skip("libfaketime is not installed")
    agent = env.make_host_agent()
    clock = os.path.join(agent.folder, "clock")

    def set_clock(offset):
        with open(clock + ".new", "w") as file:
            file.write(offset)
        os.rename(clock + ".new", clock)
    set_clock("+0")
    agent.start({"LD_PRELOAD": FAKETIME[0], "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_NO_CACHE": "1",
                 "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
    try:
        for offset in ("-86400", "+86400", "-3600", "+0"):
            case = env.hold(agent)
            set_clock(offset)
            time.sleep(1)
            env.front.release.set()
            case.is_whole()
        times = [line[:19] for line in agent.text().split("\n") if line[:2] == "20"]
        assert times != sorted(times), "the clock was not set"
    finally:
        agent.stop()


if __name__ == "__main__":
    tap.main(Host)
