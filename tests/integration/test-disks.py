#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks of each kind become images of each format: chains, raw files, containers. What novasnap refuses
is tested too. `novasnap snapshot` takes them, which needs no broker. The last test records and replays a cast. libvirt
and QEMU are real, and so is RabbitMQ in the last test."""
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
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from environment import Environment  # noqa: E402
from images import qemu_img, same_content  # noqa: E402
from paths import CAST, TOP  # noqa: E402


class Disks(Environment):
    services = ("broker", "libvirt")

    def set_up(self):
        self.images = self.folder.make("images")

    def agent(self, live=True, staged=False, **libvirt):
        """`staged`: use the methods that copy the disk first; `libvirt`: keys of that section, and its "uri"."""
        sections = {"images": self.images, "libvirt": libvirt, **({} if live else NO_LIVE_SNAPSHOT)}
        if "uri" in libvirt:
            sections["libvirt_uri"] = libvirt.pop("uri")
        return self.make_agent(sections=sections,
                               **({"live_method": "rebase", "cold_method": "extract"} if staged else {}))

    def snapshot(self, agent, name):
        """Returns the path of the image, its format, and the output."""
        done = agent.command("snapshot", name, check=False)
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert os.listdir(agent.snapshots) == [], os.listdir(agent.snapshots)
        path = os.path.join(self.images, done.stdout.split("\n")[0])
        with open(path + ".json") as file:
            record = json.load(file)
        assert record["status"] == "active" and record["size"] == os.path.getsize(path), record
        return path, record["disk_format"], done.stdout

    def refused(self, agent, name, *words):
        done = agent.command("snapshot", name, check=False)
        said = done.stdout + done.stderr
        assert done.returncode != 0 and all(word in said for word in words), said
        assert not os.path.exists(os.path.join(self.images, done.stdout.split("\n")[0] or "none")), said
        assert os.listdir(agent.snapshots) == [], os.listdir(agent.snapshots)

    def image(self, name):
        return os.path.join(self.images, name)


def info(path, image_format):
    return json.loads(qemu_img("info", "-f", image_format, "--output=json", path))


def lengthen(guest, layers):
    """Adds layers with data to a guest's disk."""
    for number in range(layers):
        path = os.path.join(guest.folder, f"layer{number}.qcow2")
        qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", guest.disk, path)
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P {number + 1} {number}M 1M", path],
                       check=True, capture_output=True, timeout=60)
        guest.disk = path
    guest.define()


def test_every_format_from_a_long_chain(env):
    guest = env.make_guest(size_mib=64, data_mib=8)
    lengthen(guest, 4)
    for state in ("shut off", "running"):
        guest.set_condition(state)
        for staged in (False, True):
            for wanted in ("raw", "qcow2", "vmdk", "vdi", None):
                agent = env.agent(staged=staged, **({"snapshot_image_format": wanted} if wanted else {}))
                path, disk_format, shown = env.snapshot(agent, guest.name)
                streamed = not staged and wanted not in ("vmdk", "vdi")
                assert streamed == ("method: stream" in shown), shown
                assert disk_format == (wanted or "qcow2"), (disk_format, wanted)
                assert "backing-filename" not in info(path, wanted or "qcow2")
                assert same_content(path, wanted or "qcow2", guest.disk, "qcow2"), wanted


def test_compressed(env):
    guest = env.make_guest(size_mib=64, data_mib=8)
    plain, _, _ = env.snapshot(env.agent(), guest.name)
    for state in ("shut off", "running"):
        guest.set_condition(state)
        for kind, staged in (("zlib", False), ("zstd", False), ("zlib", True), ("zstd", True)):
            agent = env.agent(staged=staged, snapshot_compression="true")
            agent.configure("novasnap", compression_type=kind)
            small, _, shown = env.snapshot(agent, guest.name)
            assert staged != ("method: stream" in shown), shown
            assert os.path.getsize(small) < os.path.getsize(plain) * 3 // 4
            data = info(small, "qcow2")["format-specific"]["data"]
            assert data["compression-type"] == kind, (data, kind, staged)
            qemu_img("check", "-f", "qcow2", small)
            assert same_content(small, "qcow2", guest.disk, "qcow2")


def test_zeros_that_a_guest_wrote_are_found(env):
    guest = env.make_guest(disk="raw", base=False, size_mib=64, data_mib=8)
    # All of it is allocated, so only reading shows what is zero.
    subprocess.run(["fallocate", "-l", "64M", guest.disk + ".full"], check=True)
    subprocess.run(["dd", f"if={guest.disk}", f"of={guest.disk}.full", "bs=1M", "conv=notrunc", "status=none"],
                   check=True, timeout=60)
    os.replace(guest.disk + ".full", guest.disk)
    sizes = {}
    for how in ("extents", "scan"):
        agent = env.agent(snapshot_image_format="qcow2")
        agent.configure("novasnap", detect_zeroes=how)
        path, _, _ = env.snapshot(agent, guest.name)
        assert same_content(path, "qcow2", guest.disk, "raw")
        sizes[how] = os.path.getsize(path)
    assert sizes["extents"] > 64 << 20 and sizes["scan"] < 10 << 20, sizes


def test_a_backing_file_outside_backing_dirs_is_not_followed(env):
    elsewhere = env.enter(tempfile.TemporaryDirectory(dir=env.folder.path))
    os.chmod(elsewhere, 0o755)
    guest = env.make_guest(size_mib=32, data_mib=1)
    moved = shutil.move(guest.base, elsewhere)
    qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", moved, guest.disk)
    env.refused(env.agent(), guest.name, moved, "backing_dirs")
    agent = env.agent()
    agent.configure("novasnap", backing_dirs=f"/nonexistent, {elsewhere}")
    path, _, _ = env.snapshot(agent, guest.name)
    assert same_content(path, "qcow2", guest.disk, "qcow2")


def test_a_raw_file_into_qcow2(env):
    guest = env.make_guest(disk="raw", base=False, size_mib=32, data_mib=4)
    guest.start()
    path, disk_format, shown = env.snapshot(env.agent(snapshot_image_format="qcow2"), guest.name)
    assert disk_format == "qcow2" and "method: stream" in shown
    assert same_content(path, "qcow2", guest.disk, "raw")


def test_the_root_disk_is_the_first_of_the_definition(env):
    """As nova's find_disk: whatever its device type, its target or the name of its file. Each guest has a second disk,
    which has the target that the recorded cast names as the root device."""
    cases = {"a server booted from an ISO image, with a volume": {"device": "cdrom"},
             "an outdated root device name": {},
             "a root file named like an auxiliary disk": {"file": "disk.swapped"}}
    for case, how in cases.items():
        guest, other = env.make_guest(size_mib=32, data_mib=2), env.make_guest(size_mib=32, data_mib=1)
        os.rename(guest.disk, os.path.join(guest.folder, how.get("file", "disk")))
        guest.disk = os.path.join(guest.folder, how.get("file", "disk"))
        second = (f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{other.disk}'/>"
                  "<target dev='vda' bus='virtio'/></disk>")
        guest.define(guest.xml().replace("device='disk'", f"device='{how.get('device', 'disk')}'").replace(
            "<target dev='vda' bus='virtio'/></disk>", f"<target dev='hda' bus='ide'/></disk>{second}"))
        for state in ("shut off", "running"):
            guest.set_condition(state)
            for staged, live in ((False, True), (True, True), (True, False)):
                agent, image = env.agent(live=live, staged=staged), str(uuid.uuid4())
                done = agent.command("replay", "--local", "--instance", guest.uuid, "--image", image,
                                     os.path.join(TOP, "tests/data/wire/26.2/live.jsonl"), check=False)
                assert done.returncode == 0, (case, state, staged, live, done.stdout, done.stderr)
                assert same_content(env.image(image), "qcow2", guest.disk, "qcow2"), (case, state, staged, live)
                assert guest.state() == state and not guest.is_saved()


def test_a_disk_of_a_storage_pool_is_refused(env):
    guest = env.make_guest(size_mib=32, data_mib=1)
    guest.define(guest.xml().replace("type='file' device='disk'", "type='volume' device='disk'").replace(
        f"<source file='{guest.disk}'/>", "<source pool='default' volume='disk'/>"))
    env.refused(env.agent(), guest.name, "volume of a storage pool")


def test_a_container_is_copied_as_it_is(env):
    name = f"novasnap-{uuid.uuid4().hex[:8]}"
    home, uri = env.folder.make(name), env.libvirt.uri_of("lxc:///")
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
    env.libvirt.virsh("define", xml, uri=uri)
    env.callback(env.libvirt.virsh, "undefine", name, uri=uri)
    path, disk_format, shown = env.snapshot(env.agent(virt_type="lxc", images_type="raw", uri=uri), name)
    assert disk_format == "raw" and "method: extract" in shown, shown
    assert same_content(path, "raw", disk, "raw")


def test_a_guest_with_host_devices_is_not_saved(env):
    # libvirt's test driver: no device of this machine can be given away for it.
    guest = env.make_guest(size_mib=32, data_mib=1)
    domain, node = guest.folder + "/device.xml", guest.folder + "/node.xml"
    with open(domain, "w") as file:
        file.write(f"""<domain type='test'><name>with-device</name><uuid>{guest.uuid}</uuid>
<memory>65536</memory><os><type>hvm</type></os><devices><disk type='file' device='disk'>
<driver name='qemu' type='qcow2'/><source file='{guest.disk}'/><target dev='vda'/></disk>
<hostdev mode='subsystem' type='pci' managed='no'><source>
<address domain='0' bus='0' slot='9' function='0'/></source></hostdev></devices></domain>""")
    with open(node, "w") as file:
        file.write(f"<node><domain file='{domain}'/></node>")
    env.refused(env.agent(live=False, uri=f"test://{node}"), "with-device", "host devices")


def test_an_encrypted_disk_is_refused(env):
    guest, secret = env.make_guest(size_mib=32, data_mib=1), str(uuid.uuid4())
    guest.define(guest.xml().replace(
        f"<source file='{guest.disk}'/>",
        f"<source file='{guest.disk}'><encryption format='luks'><secret type='passphrase' uuid='{secret}'/>"
        "</encryption></source>"))
    env.refused(env.agent(), guest.name, "encrypted")


def test_a_network_disk_is_refused(env):
    guest = env.make_guest(size_mib=32, data_mib=1)
    guest.define(guest.xml().replace("type='file' device='disk'", "type='network' device='disk'").replace(
        f"<source file='{guest.disk}'/>",
        "<source protocol='nbd' name='x_disk'><host name='127.0.0.1' port='10809'/></source>"))
    env.refused(env.agent(), guest.name, "network disk")


def test_no_room_is_reported_and_rolled_back(env):
    guest, agent = env.make_guest(size_mib=64, data_mib=24), env.agent(staged=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "none", agent.snapshots], check=True, timeout=20)
    env.callback(subprocess.run, ["umount", agent.snapshots], check=True, timeout=20)
    env.refused(agent, guest.name, "No space left")
    assert guest.state() == "shut off"


def test_a_cast_is_recorded_and_replayed(env):
    guest, agent = env.make_guest(size_mib=32, data_mib=4), env.agent()
    recording = env.folder.file("recording.jsonl")
    recorder = threading.Thread(target=lambda: agent.command("record", "--count", "1", recording, seconds=60))
    env.enter(agent)
    recorder.start()
    tap.wait_for("recorder", lambda: os.path.exists(recording), 20)
    image, replayed, local = (str(uuid.uuid4()) for _ in range(3))

    def sent():
        agent.command("send", "snapshot_instance", "--file", CAST, "--instance", guest.uuid, "--image", image,
                      check=False)
        return os.path.getsize(recording) > 0
    # The recorder's queue comes a moment after its file.
    tap.wait_for("recorded cast", sent, 30, 1)
    recorder.join(30)
    tap.wait_for("image", lambda: os.path.exists(env.image(image)))
    assert os.stat(recording).st_mode & 0o777 == 0o600
    with open(recording) as file:
        text = file.read()
    assert "gAAAAA" not in text and "snapshot_instance" in text, text[:500]
    agent.command("replay", recording, "--image", replayed)
    tap.wait_for("image", lambda: os.path.exists(env.image(replayed)))
    assert agent.stop() == 0
    done = agent.command("replay", "--local", "--instance", guest.uuid, "--image", local,
                         os.path.join(TOP, "tests/data/wire/26.2/live.jsonl"), check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert same_content(env.image(local), "qcow2", guest.disk, "qcow2")


def test_an_error_is_one_line(env):
    agent, nonsense = env.agent(), env.folder.file("nonsense")
    with open(nonsense, "w") as file:
        file.write("no json\n")
    for arguments in (["snapshot", "no-such-domain"], ["snapshot"], ["replay", nonsense],
                      ["replay", "/nonexistent"], ["record"], ["record", "/nonexistent/x"],
                      ["replay", "--local", nonsense], ["snapshot", "x", "--to", "relative"]):
        done = agent.command(*arguments, check=False)
        assert done.returncode in (1, 2), (arguments, done.returncode)
        assert done.stderr.count("\n") == 1, (arguments, done.stderr)


if __name__ == "__main__":
    tap.main(Disks)
