#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A recorded cast through a real broker, libvirt, QEMU and Glance: every kind of guest, all methods."""
import contextlib
import json
import os
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from guest import (Guest, WRITTEN, build_kernel, is_one_instant, qemu_img, rounds_in,  # noqa: E402
                   same_content, virsh)
from services import CAST, Agent, Folder, Glance, Libvirt, begin, broker_for_tests  # noqa: E402


def send(agent, guest, *more, check=True):
    image, shown, status = agent.snapshot(guest.uuid, *more)
    assert not check or status == 0, (shown, agent.text()[-2000:])
    return image, shown, status


def untouched(guest, state, definition):
    assert guest.state() == state, (guest.state(), state)
    assert guest.definition() == definition
    assert not guest.has_job()


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        broker = broker_for_tests(folder)
        glance = Glance(folder)
        begin(stack, broker, glance)
        stack.enter_context(Libvirt(folder))
        build_kernel()
        broker.wait()
        glance.wait()
        writer = stack.enter_context(Guest(folder, writer=True, data_mib=48))
        agent = stack.enter_context(Agent(folder, broker.url, glance.url))
        staged = stack.enter_context(Agent(folder, broker.url, glance.url, name="staged",
                                           novasnap={"live_method": "rebase",
                                                     "cold_method": "extract"}))
        cold = stack.enter_context(Agent(folder, broker.url, glance.url, name="cold",
                                         workarounds={"disable_libvirt_livesnapshot": "true"}))

        def snapshot(which, state, method, guest=writer):
            definition = guest.definition()
            image, shown, _ = send(which, guest)
            assert f"method: {method}" in shown, shown
            record = glance.get(image)
            path = glance.file(image)
            assert record["status"] == "active" and record["disk_format"] == guest.format, record
            assert record["size"] == os.path.getsize(path)
            assert record["image_location"] == "snapshot", record
            assert record["image_state"] == "available", record
            assert record["owner_id"] == "28139ea3fc804990ad2ed0307cce12ef", record
            assert "kernel_id" not in record, record
            if guest.format == "qcow2":
                qemu_img("check", "-f", "qcow2", path)
            assert same_content(path, guest.format, guest.disk, guest.format, WRITTEN)
            if guest.writer:
                rounds = rounds_in(path, guest.format)
                assert is_one_instant(rounds) and max(rounds) > 0, rounds
            untouched(guest, state, definition)
            assert os.listdir(which.snapshots) == [], os.listdir(which.snapshots)
            return path

        def test_a_running_guest_that_writes_live():
            writer.start()
            writer.wait_writing()
            snapshot(agent, "running", "stream")
            writer.wait_writing(1)
            snapshot(staged, "running", "rebase")
            writer.wait_writing(1)

        def test_a_running_guest_that_writes_cold():
            snapshot(cold, "running", "extract")
            writer.wait_writing(1)
            assert not writer.is_saved()

        def test_a_paused_guest_live():
            virsh("suspend", writer.name)
            for which, method in ((agent, "stream"), (staged, "rebase")):
                path = snapshot(which, "paused", method)
                assert same_content(path, "qcow2", writer.disk, "qcow2")

        def test_a_paused_guest_cold_comes_back_paused():
            path = snapshot(cold, "paused", "extract")
            assert same_content(path, "qcow2", writer.disk, "qcow2")
            virsh("resume", writer.name)
            writer.wait_writing(1)

        def test_a_suspended_guest_stays_suspended():
            virsh("managedsave", writer.name)
            for which, method in ((agent, "stream"), (staged, "extract")):
                path = snapshot(which, "shut off", method)
                assert same_content(path, "qcow2", writer.disk, "qcow2")
                assert writer.is_saved()
            writer.start()
            writer.wait_writing(1)

        def test_a_guest_that_is_shut_down():
            virsh("destroy", writer.name)
            for which, method in ((agent, "stream"), (staged, "extract")):
                path = snapshot(which, "shut off", method)
                assert same_content(path, "qcow2", writer.disk, "qcow2")

        def test_a_raw_disk_stays_raw_whatever_its_guest_wrote():
            with Guest(folder, disk="raw", base=False, size_mib=64, data_mib=8) as guest:
                # CVE-2015-7548: a qcow2 header in a raw disk, whose backing file is of the host.
                trap = os.path.join(guest.folder, "trap.qcow2")
                qemu_img("create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd",
                         trap, "1M")
                with open(trap, "rb") as file, open(guest.disk, "r+b") as disk:
                    disk.write(file.read(65536))
                for state in ("shut off", "running"):
                    if state == "running":
                        guest.start()
                    image, _shown, _ = send(agent, guest)
                    assert glance.get(image)["disk_format"] == "raw"
                    assert same_content(glance.file(image), "raw", guest.disk, "raw")

        def test_the_root_disk_is_told_from_the_others():
            other = os.path.join(folder.path, "disk.config")
            qemu_img("create", "-q", "-f", "raw", other, "1M")
            extra = (f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
                     f"<source file='{other}'/><target dev='vdb' bus='virtio'/></disk>")
            with Guest(folder, extra_disks=extra, size_mib=64, data_mib=8) as guest:
                image, _shown, _ = send(agent, guest)
                assert same_content(glance.file(image), "qcow2", guest.disk, "qcow2")

        def test_an_instance_that_libvirt_does_not_know():
            guest = type("Gone", (), {"uuid": str(uuid.uuid4())})
            image, shown, status = send(agent, guest, check=False)
            assert status == 1 and "no domain with uuid" in shown, shown
            assert glance.get(image) is None

        def test_an_image_that_is_gone():
            image, shown, status = send(agent, writer, "--image", str(uuid.uuid4()), check=False)
            assert status == 1 and "404" in shown, shown
            assert glance.get(image) is None

        def test_a_job_of_somebody_else_is_left_alone():
            with Guest(folder, size_mib=64, data_mib=8) as guest:
                guest.start()
                mirror = os.path.join(guest.folder, "mirror.qcow2")
                virsh("blockcopy", guest.name, "vda", mirror, "--format", "qcow2",
                      "--transient-job", "--wait", "--verbose")
                for which in (agent, staged):
                    image, shown, status = send(which, guest, check=False)
                    assert status == 1 and "another program has started" in shown and mirror in shown, shown
                    assert guest.has_job()
                    assert glance.get(image) is None

        def test_a_backup_of_another_program_goes_on():
            with Guest(folder, size_mib=64, data_mib=8) as guest:
                guest.start()
                target = os.path.join(guest.folder, "backup.qcow2")
                backup = os.path.join(guest.folder, "backup.xml")
                with open(backup, "w") as file:
                    file.write(f"<domainbackup mode='pull'><server transport='unix' "
                               f"socket='{guest.folder}/socket'/><disks><disk name='vda' "
                               f"backup='yes' type='file'><scratch file='{target}'/></disk>"
                               "</disks></domainbackup>")
                os.chmod(guest.folder, 0o777)
                virsh("backup-begin", guest.name, backup)
                image, shown, status = send(agent, guest, check=False)
                assert status == 1 and "another program has started" in shown and "/socket" in shown, shown
                assert "pull" in virsh("backup-dumpxml", guest.name)
                assert glance.get(image) is None
                virsh("domjobabort", guest.name)
                send(agent, guest)

        def test_arguments_that_make_no_sense_are_kept_aside():
            cast = os.path.join(folder.path, "cast.json")
            with open(CAST) as file:
                message = json.load(file)
            message["args"]["instance"]["nova_object.data"]["uuid"] = "../../etc/passwd"
            message["_context_auth_token"] = "gAAAAAsecret"
            with open(cast, "w") as file:
                json.dump(message, file)
            agent.command("send", "snapshot_instance", "--file", cast, "--image",
                          str(uuid.uuid4()))
            rejected = os.path.join(agent.state, "rejected")
            tap.wait_for("rejected message", lambda: os.path.isdir(rejected) and
                         os.listdir(rejected))
            kept = os.path.join(rejected, os.listdir(rejected)[0])
            assert os.stat(kept).st_mode & 0o777 == 0o600
            with open(kept) as file:
                text = file.read()
            assert "uuid" in text and "gAAAAAsecret" not in text, text[:500]

        def test_it_stops_and_leaves_nothing():
            for which in (agent, staged, cold):
                assert which.stop() == 0
                assert os.listdir(which.snapshots) == []
                assert os.listdir(os.path.join(which.folder, "run")) == []
                assert os.listdir(os.path.join(which.state, "scratch")) == []
                assert "gAAAAABexample-token" not in which.text()

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [agent.log, staged.log, cold.log])


if __name__ == "__main__":
    sys.exit(main())
