#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A header that a guest or an image writes never leads to a file of the host. A raw disk that begins with a header is
stored as raw bytes (CVE-2015-7548, CVE-2024-40767). An image whose own header names other files is refused
(CVE-2024-32498). `novasnap snapshot` takes the images, which needs no broker; libvirt and QEMU are real."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from environment import Environment  # noqa: E402
from images import MIB, qemu_img, same_content  # noqa: E402

MARK = b"what only the host may read "
# (whether the guest runs, whether live snapshots are allowed, methods, the method that is used)
WAYS = [(False, True, {"cold_method": "stream"}, "stream"),
        (False, True, {"cold_method": "extract"}, "extract"),
        (False, True, {"cold_method": "internal"}, "internal"),
        (True, True, {"live_method": "stream"}, "stream"),
        (True, True, {"live_method": "rebase"}, "rebase"),
        (True, False, {"cold_method": "extract"}, "extract"),
        (True, False, {"cold_method": "internal"}, "internal")]


class Headers(Environment):
    services = ("libvirt",)

    def set_up(self):
        self.images = self.folder.make("images")
        # A test makes this file into one that only the host may read.
        self.host_file = os.path.join(self.folder.make("elsewhere"), "host-file")

    def before_test(self):
        self.write_host_file()

    def write_host_file(self):
        with open(self.host_file, "wb") as file:
            file.write((MARK * (4 * MIB // len(MARK) + 1))[:4 * MIB])
        os.chmod(self.host_file, 0o644)

    def agent(self, live=True, wanted=None, **methods):
        """`wanted`: the format of images."""
        sections = {"broker_url": "rabbit://", "images": self.images, **({} if live else NO_LIVE_SNAPSHOT)}
        if wanted:
            sections["libvirt"] = {"snapshot_image_format": wanted}
        return self.make_agent(sections=sections, **methods)

    def snapshot(self, agent, name):
        """Returns the path of the image, its format, and the output."""
        done = agent.command("snapshot", name)
        image = os.path.join(self.images, done.stdout.split("\n")[0])
        with open(image + ".json") as file:
            return image, json.load(file)["disk_format"], done.stdout

    def refused(self, agent, name, *words):
        before = set(os.listdir(self.images))
        done = agent.command("snapshot", name, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 1 and all(word in said for word in words), said
        left = [name for name in set(os.listdir(self.images)) - before if not name.endswith(".json")]
        assert not left and os.listdir(agent.snapshots) == [], (left, said)

    def write_header_with_backing_file(self, path):
        qemu_img("create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", self.host_file, path, "16M")

    def write_header_with_data_file(self, path):
        qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={self.host_file},data_file_raw=on", path, "16M")
        self.write_host_file()  # which that has overwritten

    def write_description_of_vmdk(self, path):
        with open(path, "w") as file:
            file.write("# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
                       "createType=\"monolithicFlat\"\n"
                       f"RW {4 * MIB // 512} FLAT \"{self.host_file}\" 0\n"
                       "ddb.adapterType = \"ide\"\n")

    def write_raw(self, disk, write_header):
        """Writes a header that leads to the host's file at the start of the guest's disk."""
        head = os.path.join(os.path.dirname(self.host_file), "header")
        write_header(head)
        with open(head, "rb") as file:
            begin = file.read(MIB)
        os.remove(head)
        assert self.host_file.encode() in begin
        with open(disk, "wb") as file:
            file.write(begin)
            file.write(os.urandom(2 * MIB))
            file.truncate(16 * MIB)
        # The header is good enough to be followed by any program that probes.
        followed = json.loads(qemu_img("info", "-U", "--output=json", disk))
        assert followed["format"] in ("qcow2", "vmdk"), followed

    def check_raw(self, write_header):
        """A guest with such a header in its raw disk is stored unchanged, by all methods and in both formats."""
        guest = self.make_guest(disk="raw", base=False, size_mib=16, data_mib=0)
        self.write_raw(guest.disk, write_header)
        for runs, live, methods, method in WAYS:
            guest.set_condition("running" if runs else "shut off")
            for wanted in ("raw", "qcow2"):
                image, disk_format, shown = self.snapshot(self.agent(live, wanted, **methods), guest.name)
                assert disk_format == wanted and f"method: {method}" in shown, shown
                assert same_content(image, wanted, guest.disk, "raw"), (method, wanted)
                with open(image, "rb") as file:
                    assert MARK not in file.read(), (method, wanted)
                os.remove(image)
            assert (guest.state() == "running") == runs


def test_a_raw_disk_with_the_header_of_a_qcow2_and_its_backing_file(env):
    env.check_raw(env.write_header_with_backing_file)


def test_a_raw_disk_with_the_header_of_a_qcow2_and_its_data_file(env):
    env.check_raw(env.write_header_with_data_file)


def test_a_raw_disk_with_the_description_of_a_vmdk(env):
    env.check_raw(env.write_description_of_vmdk)


def test_a_qcow2_with_a_data_file_is_refused(env):
    guest = env.make_guest(base=False, size_mib=16, data_mib=1)
    env.write_header_with_data_file(guest.disk)
    for _, live, methods, _ in WAYS[:3]:
        env.refused(env.agent(live, **methods), guest.name, "external data file")
    # Also when the domain itself says that the chain ends there.
    guest.define(guest.xml().replace(f"<source file='{guest.disk}'/>", f"<source file='{guest.disk}'/><backingStore/>"))
    for _, live, methods, _ in WAYS[:3]:
        env.refused(env.agent(live, **methods), guest.name, "external data file")


def test_a_base_with_a_data_file_is_refused_while_the_guest_runs(env):
    guest = env.make_guest(size_mib=16, data_mib=1)
    env.write_header_with_data_file(guest.base)
    guest.start()
    # With stream QEMU itself reads it, as it does for the guest.
    for _, live, methods, _ in WAYS[4:]:
        env.refused(env.agent(live, **methods), guest.name, "external data file")
        assert guest.state() == "running" and not guest.is_saved()


def test_a_qcow2_over_a_file_of_the_host_is_refused(env):
    guest = env.make_guest(base=False, size_mib=16, data_mib=1)
    env.write_header_with_backing_file(guest.disk)
    for _, live, methods, _ in WAYS[:3]:
        env.refused(env.agent(live, **methods), guest.name, env.host_file, "backing_dirs")
    # Also not by a link in a folder where backing files may be.
    link = os.path.join(guest.folder, "link")
    os.symlink(env.host_file, link)
    qemu_img("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", link, guest.disk)
    env.refused(env.agent(), guest.name, link, "backing_dirs")
    os.remove(link)
    subprocess.run(["cp", env.host_file, link], check=True)
    qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qed", "-b", link, guest.disk)
    env.refused(env.agent(), guest.name, "not supported")


def forget_backing_format(path):
    """qemu-img does not make an overlay without it any more: the header extension becomes one that nobody knows."""
    with open(path, "r+b") as file:
        at = file.read(4096).index(bytes.fromhex("e2792aca"))
        file.seek(at)
        file.write(bytes.fromhex("0badf00d"))
    assert "backing-filename-format" not in json.loads(qemu_img("info", "-f", "qcow2", "--output=json", path))


def test_an_overlay_that_does_not_name_the_format_below(env):
    """What libvirt takes it for, running and shut off."""
    for kind, seen in (("raw", "raw"), ("iso", "raw"), ("qcow2", "qcow2"), ("vdi", "vdi"), ("vhdx", "raw")):
        guest = env.make_guest(size_mib=16, data_mib=0)
        raw = guest.base + ".raw"
        with open(raw, "wb") as file:
            file.write(os.urandom(2 * MIB))
            file.truncate(16 * MIB)
            if kind == "iso":
                file.seek(32769)
                file.write(b"CD001")
        qemu_img("convert", "-f", "raw", "-O", "raw" if kind == "iso" else kind, raw, guest.base)
        size = json.loads(qemu_img("info", "-f", seen, "--output=json", guest.base))["virtual-size"]
        qemu_img("create", "-q", "-u", "-f", "qcow2", "-F", seen, "-b", guest.base, guest.disk, str(size))
        forget_backing_format(guest.disk)
        # QEMU does not save a guest with a VDI.
        for runs, live, methods, method in WAYS[:5] if kind == "vdi" else WAYS:
            guest.set_condition("running" if runs else "shut off")
            image, _, shown = env.snapshot(env.agent(live, **methods), guest.name)
            assert f"method: {method}" in shown, shown
            assert same_content(image, "qcow2", guest.base, seen), (kind, runs, method)
            os.remove(image)
        guest.set_condition("running")
        assert f"<format type='{seen}'/>" in guest.virsh("dumpxml").split("<backingStore")[1], kind
        guest.set_condition("shut off")


def test_an_overlay_without_format_over_a_file_that_names_another_is_refused(env):
    """As by libvirt, which does not start the guest."""
    guest = env.make_guest(size_mib=16, data_mib=0)
    env.write_header_with_backing_file(guest.base)
    forget_backing_format(guest.disk)
    for _, live, methods, _ in WAYS[:3]:
        env.refused(env.agent(live, **methods), guest.name, guest.base, "whose format no header names")
    try:
        guest.start()
    except RuntimeError as error:
        assert "was not specified in the image metadata" in str(error), error
    else:
        raise AssertionError("libvirt started it")


def test_a_vmdk_that_describes_other_files_is_refused(env):
    guest = env.make_guest(base=False, size_mib=16, data_mib=1)
    guest.define(guest.xml().replace("type='qcow2' cache", "type='vmdk' cache"))
    os.remove(guest.disk)
    env.write_description_of_vmdk(guest.disk)
    for _, live, methods, _ in WAYS[:2]:
        env.refused(env.agent(live, **methods), guest.name, "names other files")
    os.remove(guest.disk)
    qemu_img("create", "-q", "-f", "vmdk", guest.disk, "16M")
    image, disk_format, _ = env.snapshot(env.agent(wanted="raw"), guest.name)
    assert disk_format == "raw" and same_content(image, "raw", guest.disk, "vmdk")


if __name__ == "__main__":
    tap.main(Headers)
