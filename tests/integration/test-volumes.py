#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of volumes that Cinder keeps in files: the broker, oslo.messaging, libvirt and QEMU are real, Cinder's
API is the stand-in of tests/lib/cinder.py."""
import contextlib
import json
import os
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import oslo_messaging  # noqa: E402

import tap  # noqa: E402
from cinder import StandInCinder  # noqa: E402
from compute import Compute, instance_of  # noqa: E402
from guest import Guest, qemu_img, virsh  # noqa: E402
from services import Agent, Folder, Libvirt, broker_for_tests  # noqa: E402

def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        broker = stack.enter_context(broker_for_tests(folder))
        stack.enter_context(Libvirt(folder))
        cinder = stack.enter_context(StandInCinder())
        volume = str(uuid.uuid4())
        share = folder.make("share")
        os.chmod(share, 0o777)
        base = os.path.join(share, f"volume-{volume}")
        qemu_img("create", "-q", "-f", "qcow2", base, "32M")
        extra = (f"<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/>"
                 f"<source file='{base}'/><target dev='vdb' bus='virtio'/><serial>{volume}</serial>"
                 "</disk>")
        guest = stack.enter_context(Guest(folder, size_mib=32, data_mib=1, extra_disks=extra))
        guest.start()
        agent = stack.enter_context(Agent(folder, broker.url, images=folder.make("images"),
                                          cinder={"endpoint_template": cinder.template},
                                          novasnap={"quiesce_timeout": "8"}))
        compute = Compute(broker.url, agent.host)

        def overlay(name, below):
            """The file that Cinder's driver makes over a volume's."""
            path = os.path.join(share, name)
            qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below, path)
            os.chmod(path, 0o666)
            return path

        def chain():
            xml = virsh("dumpxml", guest.name)
            disk = [part for part in xml.split("<disk ") if f"<serial>{volume}</serial>" in part][0]
            return [piece.split("'")[0] for piece in disk.split("file='")[1:]
                    if piece.startswith(share)]

        def create(new_file, instance=None):
            snapshot = str(uuid.uuid4())
            cinder.statuses[snapshot] = "creating"
            cinder.updates.clear()
            compute.cast("volume_snapshot_create", instance=instance or instance_of(guest),
                         volume_id=volume, create_info={"snapshot_id": snapshot, "type": "qcow2",
                                                        "new_file": new_file})
            tap.wait_for("word to Cinder", lambda: cinder.updates, 60)
            cinder.statuses[snapshot] = "available"
            return snapshot, cinder.updates[0]

        def delete(merge, target):
            snapshot = str(uuid.uuid4())
            cinder.updates.clear()
            compute.cast("volume_snapshot_delete", instance=instance_of(guest), volume_id=volume,
                         snapshot_id=snapshot, delete_info={"type": "qcow2", "file_to_merge": merge,
                                                            "merge_target_file": target})
            tap.wait_for("word to Cinder", lambda: cinder.updates, 60)
            return cinder.updates[0][1:]

        def test_a_snapshot_puts_a_file_over_the_volume():
            first = overlay("first.qcow2", base)
            snapshot, told = create("first.qcow2")
            assert told == (snapshot, "creating", "90%"), told
            assert chain() == [first, base], chain()
            assert "novasnap" not in virsh("snapshot-list", guest.name)

        def test_more_of_them():
            for name, below in (("second.qcow2", "first.qcow2"), ("third.qcow2", "second.qcow2")):
                overlay(name, os.path.join(share, below))
                _, told = create(name)
                assert told[1] == "creating", told
            assert [os.path.basename(path) for path in chain()] == [
                "third.qcow2", "second.qcow2", "first.qcow2", os.path.basename(base)], chain()

        def test_one_in_the_middle_is_merged_down():
            assert delete("second.qcow2", "first.qcow2") == ("deleting", "90%")
            assert [os.path.basename(path) for path in chain()] == [
                "third.qcow2", "first.qcow2", os.path.basename(base)], chain()

        def test_the_last_is_merged_up():
            assert delete(os.path.basename(base), None) == ("deleting", "90%")
            assert [os.path.basename(path) for path in chain()] == [
                "third.qcow2", os.path.basename(base)], chain()

        def test_of_a_guest_that_does_not_run():
            virsh("destroy", guest.name)
            assert delete(None, None) == ("deleting", "90%")
            info = json.loads(qemu_img("info", "-f", "qcow2", "--output=json",
                                       os.path.join(share, "third.qcow2")))
            assert "backing-filename" not in info, info
            guest.start()

        def test_of_a_guest_that_does_not_run_down_to_a_file():
            third = os.path.join(share, "third.qcow2")
            for name, below in (("fourth.qcow2", third), ("fifth.qcow2", os.path.join(share, "fourth.qcow2"))):
                overlay(name, below)
                assert create(name)[1][1] == "creating"
            virsh("destroy", guest.name)
            # Neither what is not in the chain, nor into a file below.
            for merge, target in (("second.qcow2", None), ("fourth.qcow2", "third.qcow2")):
                assert delete(merge, target) == ("error_deleting", "90%")
            assert "is not in the chain" in agent.text() and "below the one" in agent.text()
            assert delete("third.qcow2", None) == ("deleting", "90%")
            info = json.loads(qemu_img("info", "-f", "qcow2", "--output=json",
                                       os.path.join(share, "fifth.qcow2")))
            assert info["full-backing-filename"] == third, info
            assert info["backing-filename-format"] == "qcow2", info
            guest.start()

        def test_what_fails_is_told():
            _, told = create("missing.qcow2")
            assert told[1] == "error", told
            assert delete("nowhere.qcow2", "neither.qcow2") == ("error_deleting", "90%")
            assert "/missing.qcow2" in agent.text()

        def test_a_path_is_no_name():
            before = agent.text()
            compute.cast("volume_snapshot_create", instance=instance_of(guest), volume_id=volume,
                         create_info={"snapshot_id": str(uuid.uuid4()), "type": "qcow2",
                                      "new_file": "../../etc/passwd"})
            tap.wait_for("refusal", lambda: "beside the volume's" in agent.text()[len(before):], 20)

        def test_quiesce_is_required_and_cannot_be():
            overlay("sixth.qcow2", os.path.join(share, "fifth.qcow2"))
            before = chain()
            _, told = create("sixth.qcow2", instance_of(guest, image_os_require_quiesce="yes"))
            assert told[1] == "error", told
            assert chain() == before, chain()

        def test_quiesce_without_an_agent_is_refused():
            for metadata, kind in (({}, "QemuGuestAgentNotEnabled"),
                                   ({"image_hw_qemu_guest_agent": "yes"}, "InternalError")):
                try:
                    compute.call("quiesce_instance", instance=instance_of(guest, **metadata))
                    raise AssertionError("it was frozen")
                except oslo_messaging.RemoteError as error:
                    assert error.exc_type == kind, error

        def test_a_resize_that_is_not_ours_is_refused():
            try:
                compute.call("prep_snapshot_based_resize_at_source", instance=instance_of(guest),
                             migration={}, snapshot_id=None)
                raise AssertionError("it was done")
            except oslo_messaging.RemoteError as error:
                assert error.exc_type == "InstanceFaultRollback", error
                assert "neither ports nor volumes" in error.value, error.value

        def test_unquiesce_does_not_wait_for_ever():
            snapshot = str(uuid.uuid4())
            cinder.statuses[snapshot] = "creating"
            before, asked = agent.text(), cinder.asked
            compute.cast("unquiesce_instance", instance=instance_of(guest),
                         mapping=[{"source_type": "volume"},
                                  {"source_type": "snapshot", "snapshot_id": snapshot}])
            tap.wait_for("end of the wait", lambda: "is still being created; the guest is thawed"
                         in agent.text()[len(before):], 40)
            assert cinder.asked > asked + 5

        def test_it_stops():
            assert agent.stop() == 0

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [agent.log])


if __name__ == "__main__":
    sys.exit(main())
