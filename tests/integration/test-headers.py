#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a guest or an image writes into headers is never followed to a file of the host: a raw disk that begins
with a header is stored as the raw bytes that it is (CVE-2015-7548, CVE-2024-40767), and an image whose own header
names other files is refused (CVE-2024-32498). By `novasnap snapshot`, which needs no broker."""
import contextlib
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from guest import Guest, qemu_img, same_content, virsh  # noqa: E402
from services import Agent, Folder, Libvirt  # noqa: E402

MIB = 1 << 20
MARK = b"what only the host may read "
# (of a guest that runs, by live snapshots, methods, how it is told)
WAYS = [(False, True, {"cold_method": "stream"}, "stream"),
        (False, True, {"cold_method": "extract"}, "extract"),
        (False, True, {"cold_method": "internal"}, "internal"),
        (True, True, {"live_method": "stream"}, "stream"),
        (True, True, {"live_method": "rebase"}, "rebase"),
        (True, False, {"cold_method": "extract"}, "extract"),
        (True, False, {"cold_method": "internal"}, "internal")]


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        stack.enter_context(Libvirt(folder))
        images = folder.make("images")
        elsewhere = stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp",
                                                                    prefix="novasnap-test-"))
        os.chmod(elsewhere, 0o755)
        host_file = os.path.join(elsewhere, "host-file")
        count = iter(range(1000))

        def write_host_file():
            with open(host_file, "wb") as file:
                file.write((MARK * (4 * MIB // len(MARK) + 1))[:4 * MIB])
            os.chmod(host_file, 0o644)

        def agent(live=True, wanted=None, **methods):
            sections = {"novasnap": methods}
            if not live:
                sections["workarounds"] = {"disable_libvirt_livesnapshot": "true"}
            if wanted:
                sections["libvirt"] = {"snapshot_image_format": wanted}
            return Agent(folder, "rabbit://", images=images, name=f"agent{next(count)}", **sections)

        def snapshot(which, name):
            done = which.command("snapshot", name)
            image = os.path.join(images, done.stdout.split("\n")[0])
            with open(image + ".json") as file:
                return image, json.load(file)["disk_format"], done.stdout

        def refused(which, name, *words):
            before = set(os.listdir(images))
            done = which.command("snapshot", name, check=False)
            said = done.stdout + done.stderr
            assert done.returncode == 1 and all(word in said for word in words), said
            left = [name for name in set(os.listdir(images)) - before if not name.endswith(".json")]
            assert not left and os.listdir(which.snapshots) == [], (left, said)

        def header_backing(path):
            qemu_img("create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", host_file, path, "16M")

        def header_data_file(path):
            # Made anew by this: it is written to afterwards.
            qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={host_file},data_file_raw=on",
                     path, "16M")
            write_host_file()

        def header_vmdk(path):
            with open(path, "w") as file:
                file.write("# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
                           "createType=\"monolithicFlat\"\n"
                           f"RW {4 * MIB // 512} FLAT \"{host_file}\" 0\n"
                           "ddb.adapterType = \"ide\"\n")

        def write_raw(disk, header):
            """A header that leads to the host's file, and what the guest has otherwise."""
            head = os.path.join(elsewhere, "header")
            header(head)
            with open(head, "rb") as file:
                begin = file.read(MIB)
            assert host_file.encode() in begin
            with open(disk, "wb") as file:
                file.write(begin)
                file.write(os.urandom(2 * MIB))
                file.truncate(16 * MIB)
            # The header is good enough to be followed by whoever probes.
            followed = json.loads(qemu_img("info", "-U", "--output=json", disk))
            assert followed["format"] in ("qcow2", "vmdk"), followed

        def check_raw(guest):
            for runs, live, methods, told in WAYS:
                if runs != (guest.state() == "running"):
                    guest.start()
                for wanted in ("raw", "qcow2"):
                    image, disk_format, shown = snapshot(agent(live, wanted, **methods), guest.name)
                    assert disk_format == wanted and f"method: {told}" in shown, shown
                    assert same_content(image, wanted, guest.disk, "raw"), (told, wanted)
                    with open(image, "rb") as file:
                        assert MARK not in file.read(), (told, wanted)
                    os.remove(image)
                assert (guest.state() == "running") == runs
            virsh("destroy", guest.name)

        def test_a_raw_disk_with_the_header_of_a_qcow2_and_its_backing_file():
            write_host_file()
            with Guest(folder, disk="raw", base=False, size_mib=16, data_mib=0) as guest:
                write_raw(guest.disk, header_backing)
                check_raw(guest)

        def test_a_raw_disk_with_the_header_of_a_qcow2_and_its_data_file():
            with Guest(folder, disk="raw", base=False, size_mib=16, data_mib=0) as guest:
                write_raw(guest.disk, header_data_file)
                check_raw(guest)

        def test_a_raw_disk_with_the_description_of_a_vmdk():
            write_host_file()
            with Guest(folder, disk="raw", base=False, size_mib=16, data_mib=0) as guest:
                write_raw(guest.disk, header_vmdk)
                check_raw(guest)

        def test_a_qcow2_with_a_data_file_is_refused():
            with Guest(folder, base=False, size_mib=16, data_mib=1) as guest:
                header_data_file(guest.disk)
                for _, live, methods, _ in WAYS[:3]:
                    refused(agent(live, **methods), guest.name, "external data file")
                # Also where the domain itself tells the chain to its end.
                path = os.path.join(guest.folder, "whole.xml")
                with open(path, "w") as file:
                    file.write(guest.xml().replace(f"<source file='{guest.disk}'/>",
                                                   f"<source file='{guest.disk}'/><backingStore/>"))
                virsh("define", path)
                for _, live, methods, _ in WAYS[:3]:
                    refused(agent(live, **methods), guest.name, "external data file")

        def test_a_base_with_a_data_file_is_refused_while_the_guest_runs():
            with Guest(folder, size_mib=16, data_mib=1) as guest:
                header_data_file(guest.base)
                guest.start()
                # By stream QEMU itself reads it, which the guest does as well.
                for _, live, methods, _ in WAYS[4:]:
                    refused(agent(live, **methods), guest.name, "external data file")
                    assert guest.state() == "running" and not guest.is_saved()

        def test_a_qcow2_over_a_file_of_the_host_is_refused():
            write_host_file()
            with Guest(folder, base=False, size_mib=16, data_mib=1) as guest:
                header_backing(guest.disk)
                for _, live, methods, _ in WAYS[:3]:
                    refused(agent(live, **methods), guest.name, host_file, "backing_dirs")
                # Nor by a link that lies where files may be.
                link = os.path.join(guest.folder, "link")
                os.symlink(host_file, link)
                qemu_img("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", link, guest.disk)
                refused(agent(), guest.name, link, "backing_dirs")
                os.remove(link)
                subprocess.run(["cp", host_file, link], check=True)
                qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qed", "-b", link, guest.disk)
                refused(agent(), guest.name, "not supported")

        def test_a_vmdk_that_describes_other_files_is_refused():
            write_host_file()
            with Guest(folder, base=False, size_mib=16, data_mib=1) as guest:
                path = os.path.join(guest.folder, "vmdk.xml")
                with open(path, "w") as file:
                    file.write(guest.xml().replace("type='qcow2' cache", "type='vmdk' cache"))
                virsh("define", path)
                os.remove(guest.disk)
                header_vmdk(guest.disk)
                for _, live, methods, _ in WAYS[:2]:
                    refused(agent(live, **methods), guest.name, "names other files")
                os.remove(guest.disk)
                qemu_img("create", "-q", "-f", "vmdk", guest.disk, "16M")
                image, disk_format, _ = snapshot(agent(wanted="raw"), guest.name)
                assert disk_format == "raw" and same_content(image, "raw", guest.disk, "vmdk")

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests)


if __name__ == "__main__":
    sys.exit(main())
