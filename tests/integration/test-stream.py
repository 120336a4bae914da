#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What may happen to a guest, its image and its host while its disk is streamed: slow uploads into a real Glance,
by a limit of ours."""
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import uuid

import psutil

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from faulty_glance import FaultyGlance  # noqa: E402
from guest import (Guest, WRITTEN, build_kernel, is_one_instant, qemu_img, rounds_in,  # noqa: E402
                   same_content, virsh)
from own_libvirt import OwnLibvirt  # noqa: E402
from services import CAST, Agent, Folder, Glance, begin, broker_for_tests  # noqa: E402

SLOW = str(12 << 20)  # bytes a second: four seconds for a guest of 48 MiB


class Upload(threading.Thread):
    """A snapshot under way."""

    def __init__(self, agent, guest):
        super().__init__()
        self.agent, self.guest = agent, guest
        self.image = self.shown = self.status = None
        self.offset = len(agent.text())

    def run(self):
        self.image, self.shown, self.status = self.agent.snapshot(self.guest.uuid)

    def said(self):
        return self.agent.text()[self.offset:]

    def __enter__(self):
        self.start()
        tap.wait_for("upload", lambda: "bytes to upload" in self.said(), 30, 0.05)
        time.sleep(0.7)
        assert self.is_alive(), (self.shown, self.said())
        return self

    def __exit__(self, *_):
        self.join(120)

    def end(self, seconds=120):
        """Waits for the end, and returns how long that took."""
        begin = time.monotonic()
        self.join(seconds)
        assert not self.is_alive(), self.said()
        return time.monotonic() - begin


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        broker = broker_for_tests(folder)
        glance = Glance(folder)
        begin(stack, broker, glance)
        small = folder.make("small")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=711", "none", small], check=True,
                       timeout=20)
        stack.callback(subprocess.run, ["umount", small], check=False, timeout=20)
        libvirt = stack.enter_context(OwnLibvirt(folder))
        build_kernel()
        broker.wait()
        glance.wait()
        faulty = stack.enter_context(FaultyGlance(glance))
        guest = stack.enter_context(Guest(folder, writer=True, data_mib=48))

        def make_agent(name, url=glance.url, **more):
            keys = {"upload_bytes_per_second": SLOW, "image_poll_interval": "1", **more}
            return stack.enter_context(Agent(folder, broker.url, url, name=name, novasnap=keys,
                                             libvirt={"connection_uri": libvirt.uri}))
        agent = make_agent("agent")
        agents = [agent]

        def check(upload, method, whole=False):
            assert upload.status == 0, (upload.shown, upload.said())
            path = glance.file(upload.image)
            assert glance.get(upload.image)["status"] == "active"
            assert f"method: {method}" in upload.shown, upload.shown
            qemu_img("check", "-f", "qcow2", path)
            rounds = rounds_in(path, "qcow2")
            assert is_one_instant(rounds) and max(rounds) > 0, rounds
            assert same_content(path, "qcow2", guest.disk, "qcow2", 0 if whole else WRITTEN)

        def nothing_left():
            assert not guest.has_job()
            for which in agents:
                assert which.left() == [], which.left()
            assert os.listdir(small) == []

        def failed(upload, words):
            assert upload.status == 1 and words in upload.shown, (upload.shown, upload.said())
            tap.wait_for("deletion of the image", lambda: glance.get(upload.image) is None, 10)
            nothing_left()

        def test_a_guest_that_writes_meanwhile():
            guest.start()
            guest.wait_writing()
            with Upload(agent, guest) as upload:
                assert guest.has_job()
                before = guest.rounds()
                upload.end()
                assert guest.rounds() > before
            check(upload, "stream")
            assert "s left" in upload.shown, upload.shown
            assert "does not report when the scratch file grows" not in upload.said(), upload.said()
            nothing_left()

        def test_a_guest_that_is_paused_and_goes_on_meanwhile():
            virsh("suspend", guest.name)
            with Upload(agent, guest) as upload:
                virsh("resume", guest.name)
                upload.end()
            check(upload, "stream")
            guest.wait_writing(1)

        def test_a_guest_that_stops_meanwhile_is_begun_anew():
            with Upload(agent, guest) as upload:
                virsh("destroy", guest.name)
                upload.end()
            assert "begun anew" in upload.said(), upload.said()
            check(upload, "stream", whole=True)
            nothing_left()

        def test_a_guest_that_starts_meanwhile_is_not_kept_from_it():
            with Upload(agent, guest) as upload:
                begin = time.monotonic()
                guest.start()
                assert time.monotonic() - begin < 20
                upload.end()
            assert "begun anew" in upload.said(), upload.said()
            check(upload, "stream")
            guest.wait_writing(1)

        def server_of(which):
            """The qemu-nbd that serves a cold guest's disk."""
            return tap.wait_for("qemu-nbd", lambda: next(
                (child for child in psutil.Process(which.process.pid).children()
                 if child.name() == "qemu-nbd"), None), 30, 0.001)

        def test_an_export_that_hangs_is_killed():
            virsh("destroy", guest.name)
            which = make_agent("hanging", nbd_timeout="2")
            agents.append(which)
            with Upload(which, guest) as upload:
                server = server_of(which)
                server.suspend()
                upload.end()
            # The next attempt has a server of its own.
            assert "no answer in 2 s" in upload.said() and "it is killed" in upload.said()
            assert not server.is_running()
            check(upload, "stream", whole=True)
            nothing_left()

        def test_an_image_that_is_deleted_before_its_upload():
            which = make_agent("looking", detect_zeroes="scan")
            agents.append(which)
            upload = Upload(which, guest)
            upload.start()
            server = server_of(which)
            server.suspend()
            glance.request("DELETE", "/v2/images/" +
                           upload.said().split("snapshot into image ")[1][:36])
            assert upload.end() < 15
            failed(upload, "was deleted")
            assert "bytes to upload" not in upload.said()
            assert not server.is_running()
            guest.start()
            guest.wait_writing(1)

        def test_a_store_that_fails_once_gets_the_same_instant():
            faulty.faults.append("cut")
            through = make_agent("through", faulty.url, upload_bytes_per_second="0")
            agents.append(through)
            image, shown, status = through.snapshot(guest.uuid)
            assert status == 0, (shown, through.text())
            assert "attempts 2" in through.text() and "begun anew" not in through.text()
            rounds = rounds_in(glance.file(image), "qcow2")
            assert is_one_instant(rounds), rounds

        def test_cancelled():
            with Upload(agent, guest) as upload:
                agent.command("cancel", guest.uuid)
                assert upload.end() < 4
            failed(upload, "cancelled")
            other = agent.command("cancel", str(uuid.uuid4()), check=False)
            assert other.returncode == 1 and "under way" in other.stderr, other
            assert agent.command("cancel", "nonsense", check=False).returncode == 2

        def test_cancelled_by_the_broker():
            with Upload(agent, guest) as upload:
                agent.command("cancel", guest.uuid, "--host", agent.host)
                assert upload.end() < 4
            failed(upload, "cancelled")

        def test_how_far_it_is():
            with Upload(agent, guest) as upload:
                time.sleep(0.5)
                listed = agent.command("jobs", "--open").stdout
                shown = agent.command("show", guest.uuid).stdout
                upload.end()
            assert re.search(r"uploading the image, [1-9]\d? %\)", listed), listed
            assert re.search(r"now       uploading the image, [1-9]\d? %\n", shown), shown
            assert "now" not in agent.command("show", guest.uuid).stdout
            check(upload, "stream")

        def test_nonsense_at_the_status_socket():
            def visit(*packets):
                visitor = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                # Waits while others are before it, as one with a time limit of Python's would not.
                visitor.connect(os.path.join(agent.state, "journal", "status"))
                visitor.settimeout(10)
                for packet in packets:
                    visitor.send(packet)
                return visitor
            for packet in (b"nonsense", b"[" * 1000, b"{" + b" " * 5000, b'{"ask": 1}', b'{"ask": "cancel"}',
                           b'{"ask": "cancel", "id": {}}', b"\0\xff"):
                assert b'"error"' in visit(packet).recv(1 << 16), packet
            # Who does not ask is sent away, and while there are many of them whoever comes next.
            silent = [visit() for _ in range(20)]
            assert all(visitor.recv(1) == b"" for visitor in silent)
            status = json.loads(visit(b'{"ask": "status"}').recv(1 << 16))
            assert status["ready"] and not status["held"] and status["jobs"] == [], status
            assert status["pid"] == agent.process.pid, status

        def test_an_image_that_is_deleted_meanwhile():
            with Upload(agent, guest) as upload:
                image = upload.said().split("snapshot into image ")[1][:36]
                glance.request("DELETE", f"/v2/images/{image}")
                assert upload.end() < 5
            failed(upload, "deleted during its upload")

        def test_a_backup_that_somebody_ends_is_begun_anew():
            with Upload(agent, guest) as upload:
                virsh("domjobabort", guest.name)
                upload.end()
            assert "begun anew" in upload.said(), upload.said()
            check(upload, "stream")

        def test_no_room_to_begin_with():
            which = make_agent("tight", scratch_dir=small, scratch_percent="10")
            _image, shown, status = which.snapshot(guest.uuid)
            assert status == 1 and "scratch_dir" in shown and "make room" in shown, shown
            assert guest.state() == "running"
            nothing_left()

        def test_a_scratch_file_that_grows_does_not_stop_the_guest():
            which = make_agent("growing", scratch_dir=small, scratch_percent="0",
                               scratch_reserve="1", upload_bytes_per_second=str(1 << 19))
            guest.wait_writing(1)
            upload = Upload(which, guest)
            upload.run()
            failed(upload, "nearly full")
            assert "has taken half of its room" in upload.said(), upload.said()
            assert guest.state() == "running"
            guest.wait_writing(2)

        def test_another_hash_is_said_and_the_size_compared():
            which = make_agent("sha256", hash_algo="sha256", upload_bytes_per_second="0")
            _image, _shown, status = which.snapshot(guest.uuid)
            assert status == 0 and "size alone was compared" in which.text(), which.text()
            assert "attempts 1, sha256 " in which.text()

        def test_killed_its_export_is_ended_at_the_next_start():
            victim = make_agent("victim")
            agents.append(victim)
            victim.command("send", "snapshot_instance", "--file", CAST, "--instance", guest.uuid)
            tap.wait_for("upload", lambda: "bytes to upload" in victim.text(), 30, 0.05)
            # The export of a process that lives is not ended by another.
            said = victim.command("snapshot", guest.name, "--to", folder.make("there"), check=False)
            assert said.returncode == 1 and "another program has started" in said.stdout, said
            assert guest.has_job()
            victim.process.kill()
            victim.process.wait(20)
            assert guest.has_job()
            os.remove(victim.log)
            os.mkdir(os.path.join(victim.folder, "run", "nbd-stale"))
            victim.start()
            tap.wait_for("end of the export", lambda: not guest.has_job(), 20)
            assert "taken up again" in victim.text(), victim.text()
            tap.wait_for("end of its second life", lambda: " is active: " in victim.text(), 60)
            tap.wait_for("end of the folders", lambda: victim.left() == [], 10)
            assert guest.state() == "running"
            nothing_left()

        def test_a_guest_that_is_deleted_meanwhile():
            with Upload(agent, guest) as upload:
                virsh("destroy", guest.name)
                virsh("undefine", guest.name)
                assert upload.end() < 4
            assert upload.status == 1, upload.shown
            tap.wait_for("deletion of the image", lambda: glance.get(upload.image) is None, 10)

        def test_they_stop():
            for which in agents:
                assert which.stop() == 0

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [agent.log])


if __name__ == "__main__":
    sys.exit(main())
