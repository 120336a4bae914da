#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Freezing by a real qemu-guest-agent, in a guest whose ext4 is busy: what a snapshot needs of its filesystem, and
that no guest ever stays frozen."""
import contextlib
import json
import os
import signal
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import oslo_messaging  # noqa: E402

import tap  # noqa: E402
from compute import CONTEXT, Compute, instance_of  # noqa: E402
from guest import Guest, build_kernel, filesystem_state, virsh  # noqa: E402
from services import Agent, Folder, Libvirt, broker_for_tests, end  # noqa: E402

AGENT = {"image_hw_qemu_guest_agent": "yes"}
REQUIRED = {**AGENT, "image_os_require_quiesce": "True"}


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        broker = stack.enter_context(broker_for_tests(folder))
        stack.enter_context(Libvirt(folder))
        build_kernel()
        images = folder.make("images")
        guest = stack.enter_context(Guest(folder, fs=True, agent=True, size_mib=96, data_mib=8))
        guest.start()
        ours = {"agent_timeout": "3", "quiesce_timeout": "4"}
        agent = Agent(folder, broker.url, images=images, novasnap=ours)
        cold = Agent(folder, broker.url, images=images, name="cold", novasnap=ours,
                     workarounds={"disable_libvirt_livesnapshot": "true"})
        patient = Agent(folder, broker.url, images=images, name="patient",
                        novasnap={"agent_timeout": "3", "quiesce_timeout": "100"})
        for which in (agent, cold, patient):
            stack.callback(lambda which=which: end(which.process, 90))
            which.start()
        guest.wait_agent()

        def snapshot(which, metadata, check=True):
            cast = os.path.join(folder.path, f"{uuid.uuid4()}.json")
            image = str(uuid.uuid4())
            message = {"method": "snapshot_instance", "version": "6.0", "args": {
                "image_id": image, "instance": instance_of(guest, **metadata)},
                **{f"_context_{key}": value for key, value in CONTEXT.items()}}
            with open(cast, "w") as file:
                json.dump(message, file)
            done = which.command("send", "snapshot_instance", "--file", cast, "--image", image,
                                 "--watch", "--timeout", "100", check=False)
            path = os.path.join(images, image)
            assert not check or done.returncode == 0, (done.stdout, which.text()[-2000:])
            assert check or not os.path.exists(path), done.stdout
            assert not guest.has_job() and os.listdir(which.snapshots) == []
            return path if check else done.stdout

        def thawed_and_writing():
            tap.wait_for("thawed guest", lambda: not guest.frozen(), 30)
            guest.wait_writing(2)

        def frozen(which):
            """quiesce_instance, and a look at the guest."""
            compute = Compute(broker.url, which.host)
            compute.call("quiesce_instance", instance=instance_of(guest, **AGENT))
            assert guest.frozen()
            return compute

        def test_live_without_freezing_the_journal_is_replayed_cleanly():
            guest.wait_writing(2)
            path = snapshot(agent, {})
            assert "frozen" not in agent.text()
            _needs_replay, clean = filesystem_state(path, "qcow2")
            assert clean
            thawed_and_writing()

        def test_live_and_frozen_no_replay_is_needed():
            for metadata in (AGENT, REQUIRED):
                guest.wait_writing(1)
                path = snapshot(agent, metadata)
                assert filesystem_state(path, "qcow2") == (False, True)
                thawed_and_writing()

        def test_cold_the_journal_is_replayed_cleanly():
            path = snapshot(cold, REQUIRED)
            assert filesystem_state(path, "qcow2")[1]
            guest.wait_agent()
            thawed_and_writing()

        def test_a_paused_guest_is_not_waited_for():
            virsh("suspend", guest.name)
            path = snapshot(agent, AGENT)
            assert "the guest is paused" in agent.text()
            assert filesystem_state(path, "qcow2")[1]
            said = snapshot(agent, REQUIRED, check=False)
            assert "os_require_quiesce" in said and "paused" in said, said
            virsh("resume", guest.name)
            thawed_and_writing()

        def test_what_is_required_and_not_allowed_fails():
            said = snapshot(agent, {"image_os_require_quiesce": "yes"}, check=False)
            assert "lacks the property hw_qemu_guest_agent" in said, said
            thawed_and_writing()

        def test_quiesce_and_unquiesce():
            compute = frozen(agent)
            before = guest.rounds()
            assert guest.rounds() <= before + 1
            compute.cast("unquiesce_instance", instance=instance_of(guest, **AGENT), mapping=None)
            thawed_and_writing()

        def test_twice_is_refused():
            compute = frozen(patient)
            try:
                compute.call("quiesce_instance", instance=instance_of(guest, **AGENT))
                raise AssertionError("frozen twice")
            except oslo_messaging.RemoteError as error:
                assert error.exc_type == "InternalError" and "already" in error.value, error
            compute.cast("unquiesce_instance", instance=instance_of(guest, **AGENT))
            thawed_and_writing()

        def test_after_its_time_it_is_thawed_and_that_is_told():
            compute = frozen(agent)
            thawed_and_writing()
            before = agent.text()
            compute.cast("unquiesce_instance", instance=instance_of(guest, **AGENT))
            tap.wait_for("word of it", lambda: "were thawed before" in agent.text()[len(before):], 20)

        def test_killed_the_agent_leaves_nobody_frozen():
            frozen(patient)
            end(patient.process, 10, signal.SIGKILL)
            thawed_and_writing()

        def test_stopped_the_agent_thaws():
            patient.start()
            frozen(patient)
            assert patient.stop() == 0
            thawed_and_writing()

        def test_an_agent_that_does_not_answer():
            guest.agent("guest-exec", path="/bin/busybox", arg=["killall", "-STOP", "qemu-ga"])
            tap.wait_for("silence of the agent", lambda: not guest.answers(), 30)
            path = snapshot(agent, AGENT)
            assert "without its filesystems being frozen" in agent.text()
            assert filesystem_state(path, "qcow2")[1]
            said = snapshot(agent, REQUIRED, check=False)
            assert "os_require_quiesce" in said, said
            guest.wait_writing(2)

        def test_nothing_is_left():
            assert agent.stop() == 0 and cold.stop() == 0
            # The last watchdogs find that their guest does not answer: it is stopped, and they end.
            virsh("destroy", guest.name)

            def watchdogs():
                found = []
                for pid in filter(str.isdigit, os.listdir("/proc")):
                    try:
                        with open(f"/proc/{pid}/cmdline", "rb") as file:
                            command = file.read()
                    except OSError:
                        continue
                    if b"novasnap-thaw" in command and guest.uuid.encode() in command:
                        found.append(pid)
                return found
            tap.wait_for("end of the watchdogs", lambda: not watchdogs(), 90)

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [agent.log, patient.log])


if __name__ == "__main__":
    sys.exit(main())
