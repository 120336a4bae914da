#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks of every kind into images of every format, by `novasnap snapshot`, which needs no broker: chains, raw
files, block devices, containers; and what is refused. Then record and replay."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from guest import Guest, qemu_img, same_content, virsh  # noqa: E402
from services import CAST, TOP, Agent, Folder, Libvirt, broker_for_tests  # noqa: E402


class LoopDevice:
    """A raw file as a block device, which is what nova takes for an LVM volume."""

    def __init__(self, path):
        self.device = subprocess.run(["losetup", "--find", "--show", path], check=True,
                                     capture_output=True, text=True).stdout.strip()

    def __enter__(self):
        return self.device

    def __exit__(self, *_):
        subprocess.run(["losetup", "--detach", self.device], check=False)


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        broker = stack.enter_context(broker_for_tests(folder))
        stack.enter_context(Libvirt(folder))
        images = folder.make("images")
        count = iter(range(1000))

        def agent(live=True, staged=False, **libvirt):
            sections = {"libvirt": libvirt} if libvirt else {}
            if staged:
                sections["novasnap"] = {"live_method": "rebase", "cold_method": "extract"}
            if not live:
                sections["workarounds"] = {"disable_libvirt_livesnapshot": "true"}
            return Agent(folder, broker.url, images=images, name=f"agent{next(count)}", **sections)

        def snapshot(which, name, check=True):
            done = which.command("snapshot", name, check=False)
            assert not check or done.returncode == 0, (done.stdout, done.stderr)
            assert os.listdir(which.snapshots) == [], os.listdir(which.snapshots)
            image = done.stdout.split("\n")[0]
            path = os.path.join(images, image)
            if not check:
                assert done.returncode != 0 and not os.path.exists(path), done.stdout
                return done.stdout + done.stderr
            with open(path + ".json") as file:
                record = json.load(file)
            assert record["status"] == "active" and record["size"] == os.path.getsize(path), record
            return path, record["disk_format"], done.stdout

        def lengthen(guest, layers):
            """Puts more layers on a guest's disk, with data in each."""
            below = guest.disk
            for number in range(layers):
                path = os.path.join(guest.folder, f"layer{number}.qcow2")
                qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below, path)
                subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P {number + 1} {number}M 1M",
                                path], check=True, capture_output=True, timeout=60)
                below = path
            guest.disk = below

        def test_every_format_from_a_chain_of_any_length():
            guest = Guest(folder, size_mib=64, data_mib=8)
            lengthen(guest, 4)
            with guest:
                for state in ("shut off", "running"):
                    if state == "running":
                        guest.start()
                    for wanted, staged in ((wanted, staged) for staged in (False, True)
                                           for wanted in ("raw", "qcow2", "vmdk", "vdi", None)):
                        which = agent(staged=staged, **({"snapshot_image_format": wanted}
                                                        if wanted else {}))
                        path, disk_format, shown = snapshot(which, guest.name)
                        streamed = not staged and wanted not in ("vmdk", "vdi")
                        assert streamed == ("method: stream" in shown), shown
                        assert disk_format == (wanted or "qcow2"), (disk_format, wanted)
                        info = json.loads(qemu_img("info", "-f", wanted or "qcow2", "--output=json",
                                                   path))
                        assert "backing-filename" not in info, info
                        assert same_content(path, wanted or "qcow2", guest.disk, "qcow2"), wanted

        def test_compressed():
            with Guest(folder, size_mib=64, data_mib=8) as guest:
                plain, _, _ = snapshot(agent(), guest.name)
                for state in ("shut off", "running"):
                    if state == "running":
                        guest.start()
                    for kind, staged in (("zlib", False), ("zstd", False), ("zlib", True)):
                        which = agent(staged=staged, snapshot_compression="true")
                        with open(which.conf, "a") as file:
                            file.write(f"[novasnap]\ncompression_type = {kind}\n")
                        small, _, shown = snapshot(which, guest.name)
                        assert staged != ("method: stream" in shown), shown
                        assert os.path.getsize(small) < os.path.getsize(plain) * 3 // 4
                        info = json.loads(qemu_img("info", "-f", "qcow2", "--output=json", small))
                        assert info["format-specific"]["data"]["compression-type"] == kind, info
                        qemu_img("check", "-f", "qcow2", small)
                        assert same_content(small, "qcow2", guest.disk, "qcow2")

        def test_zeros_that_a_guest_wrote_are_found():
            with Guest(folder, disk="raw", base=False, size_mib=64, data_mib=8) as guest:
                # All of it is there: nothing but reading tells what is zero.
                subprocess.run(["fallocate", "-l", "64M", guest.disk + ".full"], check=True)
                subprocess.run(["dd", f"if={guest.disk}", f"of={guest.disk}.full", "bs=1M",
                                "conv=notrunc", "status=none"], check=True, timeout=60)
                os.replace(guest.disk + ".full", guest.disk)
                sizes = {}
                for how in ("extents", "scan"):
                    which = agent(snapshot_image_format="qcow2")
                    with open(which.conf, "a") as file:
                        file.write(f"[novasnap]\ndetect_zeroes = {how}\n")
                    path, _, _ = snapshot(which, guest.name)
                    assert same_content(path, "qcow2", guest.disk, "raw")
                    sizes[how] = os.path.getsize(path)
                assert sizes["extents"] > 64 << 20 and sizes["scan"] < 10 << 20, sizes

        def test_a_backing_file_in_a_strange_place_is_not_followed():
            elsewhere = tempfile.mkdtemp(dir="/var/tmp", prefix="novasnap-test-")
            try:
                with Guest(folder, size_mib=32, data_mib=1) as guest:
                    moved = shutil.move(guest.base, elsewhere)
                    qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", moved, guest.disk)
                    said = snapshot(agent(), guest.name, check=False)
                    assert moved in said and "backing_dirs" in said, said
                    which = agent()
                    with open(which.conf, "a") as file:
                        file.write(f"[novasnap]\nbacking_dirs = /nonexistent, {elsewhere}\n")
                    path, _, _ = snapshot(which, guest.name)
                    assert same_content(path, "qcow2", guest.disk, "qcow2")
            finally:
                shutil.rmtree(elsewhere)

        def test_raw_file_into_qcow2():
            with Guest(folder, disk="raw", base=False, size_mib=32, data_mib=4) as guest:
                guest.start()
                path, disk_format, shown = snapshot(agent(snapshot_image_format="qcow2"), guest.name)
                assert disk_format == "qcow2" and "method: stream" in shown
                assert same_content(path, "qcow2", guest.disk, "raw")

        def test_a_block_device_is_taken_cold_and_raw():
            with Guest(folder, disk="raw", base=False, size_mib=32, data_mib=4) as guest:
                virsh("undefine", guest.name)
                with LoopDevice(guest.disk) as device:
                    os.chmod(device, 0o660)
                    xml = guest.xml().replace("type='file' device='disk'",
                                              "type='block' device='disk'").replace(
                        f"file='{guest.disk}'", f"dev='{device}'")
                    path = os.path.join(guest.folder, "block.xml")
                    with open(path, "w") as file:
                        file.write(xml)
                    virsh("define", path)
                    for state, method in (("shut off", "stream"), ("running", "extract")):
                        if state == "running":
                            guest.start()
                        taken, disk_format, shown = snapshot(agent(), guest.name)
                        assert disk_format == "raw" and f"method: {method}" in shown, shown
                        assert same_content(taken, "raw", guest.disk, "raw")
                        assert guest.state() == state and not guest.is_saved()
                    virsh("destroy", guest.name)

        def test_a_container_is_copied_as_it_is():
            name = f"novasnap-{uuid.uuid4().hex[:8]}"
            home = folder.make(name)
            os.mkdir(os.path.join(home, "rootfs"))
            disk = os.path.join(home, "disk")
            with open(disk, "wb") as file:
                file.write(os.urandom(4 << 20))
            xml = os.path.join(home, "domain.xml")
            with open(xml, "w") as file:
                file.write(f"<domain type='lxc'><name>{name}</name><memory unit='MiB'>32</memory>"
                           "<os><type>exe</type><init>/sbin/init</init></os><devices>"
                           f"<filesystem type='mount'><source dir='{home}/rootfs'/>"
                           "<target dir='/'/></filesystem></devices></domain>")
            subprocess.run(["virsh", "-q", "-c", "lxc:///", "define", xml], check=True, timeout=60)
            try:
                which = agent(virt_type="lxc", images_type="raw")
                path, disk_format, shown = snapshot(which, name)
                assert disk_format == "raw" and "method: extract" in shown, shown
                assert same_content(path, "raw", disk, "raw")
            finally:
                subprocess.run(["virsh", "-q", "-c", "lxc:///", "undefine", name], check=True,
                               timeout=60)

        def test_a_guest_with_host_devices_is_not_saved():
            # libvirt's test driver: no device of this machine can be given away for it.
            with Guest(folder, size_mib=32, data_mib=1) as guest:
                domain, node = guest.folder + "/device.xml", guest.folder + "/node.xml"
                with open(domain, "w") as file:
                    file.write(f"""<domain type='test'><name>with-device</name><uuid>{guest.uuid}</uuid>
<memory>65536</memory><os><type>hvm</type></os><devices><disk type='file' device='disk'>
<driver name='qemu' type='qcow2'/><source file='{guest.disk}'/><target dev='vda'/></disk>
<hostdev mode='subsystem' type='pci' managed='no'><source>
<address domain='0' bus='0' slot='9' function='0'/></source></hostdev></devices></domain>""")
                with open(node, "w") as file:
                    file.write(f"<node><domain file='{domain}'/></node>")
                which = agent(live=False, connection_uri=f"test://{node}")
                said = snapshot(which, "with-device", check=False)
                assert "devices of the host" in said, said

        def test_an_encrypted_disk_is_refused():
            with Guest(folder, size_mib=32, data_mib=1) as guest:
                path = os.path.join(guest.folder, "luks.xml")
                secret = str(uuid.uuid4())
                with open(path, "w") as file:
                    file.write(guest.xml().replace(
                        f"<source file='{guest.disk}'/>",
                        f"<source file='{guest.disk}'><encryption format='luks'><secret "
                        f"type='passphrase' uuid='{secret}'/></encryption></source>"))
                virsh("define", path)
                said = snapshot(agent(), guest.name, check=False)
                assert "encrypted" in said, said

        def test_a_network_disk_is_refused():
            with Guest(folder, size_mib=32, data_mib=1) as guest:
                path = os.path.join(guest.folder, "rbd.xml")
                with open(path, "w") as file:
                    file.write(guest.xml().replace("type='file' device='disk'",
                                                   "type='network' device='disk'").replace(
                        f"<source file='{guest.disk}'/>",
                        "<source protocol='rbd' name='vms/x_disk'><host name='127.0.0.1'/></source>"))
                virsh("define", path)
                said = snapshot(agent(), guest.name, check=False)
                assert "network disks" in said, said

        def test_no_room_is_said_and_undone():
            with Guest(folder, size_mib=64, data_mib=24) as guest:
                which = agent(staged=True)
                subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "none",
                                which.snapshots], check=True, timeout=20)
                try:
                    said = snapshot(which, guest.name, check=False)
                    assert "No space left" in said, said
                finally:
                    subprocess.run(["umount", which.snapshots], check=True, timeout=20)
                assert guest.state() == "shut off"

        def test_recorded_and_replayed():
            with Guest(folder, size_mib=32, data_mib=4) as guest:
                which = agent()
                taken = os.path.join(folder.path, "taken.jsonl")
                recorder = threading.Thread(target=lambda: which.command(
                    "record", "--count", "1", taken, seconds=60))
                which.start()
                recorder.start()
                tap.wait_for("recorder", lambda: os.path.exists(taken), 20)
                image = str(uuid.uuid4())

                def sent():
                    which.command("send", "snapshot_instance", "--file", CAST, "--instance",
                                  guest.uuid, "--image", image, check=False)
                    return os.path.getsize(taken) > 0
                # The recorder's queue comes a moment after its file.
                tap.wait_for("recorded cast", sent, 30, 1)
                recorder.join(30)
                tap.wait_for("image", lambda: os.path.exists(os.path.join(images, image)), 60)
                assert os.stat(taken).st_mode & 0o777 == 0o600
                with open(taken) as file:
                    text = file.read()
                assert "gAAAAA" not in text and "snapshot_instance" in text, text[:500]
                other = str(uuid.uuid4())
                which.command("replay", taken, "--image", other)
                tap.wait_for("image", lambda: os.path.exists(os.path.join(images, other)), 60)
                assert which.stop() == 0
                local = str(uuid.uuid4())
                done = which.command("replay", "--local", "--instance", guest.uuid, "--image", local,
                                     os.path.join(TOP, "tests/data/wire/live.jsonl"), check=False)
                assert done.returncode == 0, (done.stdout, done.stderr)
                assert same_content(os.path.join(images, local), "qcow2", guest.disk, "qcow2")

        def test_nonsense_is_told_in_one_line():
            which = agent()
            nonsense = os.path.join(folder.path, "nonsense")
            with open(nonsense, "w") as file:
                file.write("no json\n")
            for arguments in (["snapshot", "no-such-domain"], ["snapshot"], ["replay", nonsense],
                              ["replay", "/nonexistent"], ["record"], ["record", "/nonexistent/x"],
                              ["replay", "--local", nonsense], ["snapshot", "x", "--to", "relative"]):
                done = which.command(*arguments, check=False)
                assert done.returncode in (1, 2), (arguments, done.returncode)
                assert done.stderr.count("\n") == 1, (arguments, done.stderr)

        def test_nothing_is_left():
            assert not shutil.which("losetup") or subprocess.run(
                ["losetup", "-a"], capture_output=True, text=True,
                check=True).stdout.find(folder.path) < 0

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests)


if __name__ == "__main__":
    sys.exit(main())
