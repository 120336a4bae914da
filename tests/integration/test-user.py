#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnapd as conf/novasnapd.service runs it: as a user who is not root, without capabilities, with the system calls
that the unit leaves it, in the folders that conf/novasnap.tmpfiles makes; with a libvirtd of the test's own. All
methods, and refusals that say what is missing. The user is nobody, in the groups of nova."""
import contextlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from guest import Guest, same_content, virsh  # noqa: E402
from own_libvirt import OwnLibvirt  # noqa: E402
from sandbox import write_calls  # noqa: E402
from services import BUILD, CAST, TOP, Agent, Folder, broker_for_tests  # noqa: E402

USER, GROUP = "nobody", "nogroup"
RUN_AS = ["setpriv", "--reuid", USER, "--regid", GROUP, "--groups", "libvirt,libvirt-qemu", "--no-new-privs",
          "--bounding-set", "-all", "--inh-caps", "-all"]


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        broker = stack.enter_context(broker_for_tests(folder))
        libvirt = stack.enter_context(OwnLibvirt(folder))
        programs = folder.make("bin")
        for name in ("novasnapd", "novasnap", "novasnap-thaw"):
            shutil.copy(os.path.join(BUILD, name), programs)
        shutil.copy(os.path.join(TOP, "tests/lib/sandbox.py"), programs)
        calls = folder.file("calls.json")
        write_calls(os.path.join(TOP, "conf/novasnapd.service"), calls)
        # A sanitizer needs more of the kernel.
        sandbox = [] if "address" in BUILD else [os.path.join(programs, "sandbox.py"), calls]
        run_as = [*RUN_AS, *sandbox]
        images = folder.make("images")
        shutil.chown(images, USER)
        state, run = folder.file("state"), folder.file("run")
        with open(os.path.join(TOP, "conf/novasnap.tmpfiles")) as file:
            text = file.read().replace("/var/lib/novasnap", state).replace("/run/novasnap", run)
        path = folder.file("novasnap.conf")
        with open(path, "w") as file:
            file.write(text.replace("nova libvirt-qemu", f"{USER} libvirt-qemu").replace(
                "nova nova", f"{USER} {GROUP}"))
        subprocess.run(["systemd-tmpfiles", "--create", path], check=True, timeout=20)
        tap.wait_for("libvirtd", lambda: subprocess.run(
            [*RUN_AS, "virsh", "-q", "-c", libvirt.uri, "list"], capture_output=True,
            check=False).returncode == 0, 30)
        count = iter(range(1000))

        def agent(live=True, **novasnap):
            sections = {} if live else {"workarounds": {"disable_libvirt_livesnapshot": "true"}}
            which = Agent(folder, broker.url, images=images, name=f"agent{next(count)}",
                          libvirt={"connection_uri": libvirt.uri},
                          novasnap={"state_dir": state, "run_dir": run, **novasnap}, **sections)
            # stream has no place to which it could fall back.
            if novasnap or not live:
                shutil.chown(which.snapshots, USER)
            with open(which.conf, "a") as file:
                file.write(f"[libvirt]\nsnapshots_directory = {which.snapshots}\n")
            which.programs, which.run_as = programs, run_as
            return which

        def nothing_left(which):
            assert os.listdir(run) == [] and os.listdir(f"{state}/scratch") == []
            assert os.listdir(which.snapshots) == []

        def taken(which, guest, method):
            done = which.command("snapshot", guest.name, check=False)
            assert done.returncode == 0 and f"method: {method}" in done.stdout, done
            image = os.path.join(images, done.stdout.split("\n")[0])
            with open(image + ".json") as file:
                assert same_content(image, json.load(file)["disk_format"], guest.disk, guest.format)
            nothing_left(which)

        def refused(which, guest, *words):
            done = which.command("snapshot", guest.name, check=False)
            assert done.returncode == 1 and all(word in done.stdout for word in words), done
            nothing_left(which)
            return done.stdout

        def checked(which):
            return {line.split()[1].strip(":"): line for line in
                    which.command("check", check=False).stdout.splitlines() if "  " in line}

        def test_every_method():
            for disk in ("qcow2", "raw"):
                with Guest(folder, disk=disk, base=disk == "qcow2", size_mib=32, data_mib=4) as guest:
                    taken(agent(), guest, "stream")
                    taken(agent(cold_method="extract"), guest, "extract")
                    guest.start()
                    taken(agent(), guest, "stream")
                    taken(agent(live_method="rebase"), guest, "rebase")
                    taken(agent(live=False, cold_method="extract"), guest, "extract")
                    assert guest.state() == "running" and not guest.is_saved()
                    # A snapshot inside the disk has to be written there, which this user may not.
                    if disk == "qcow2":
                        refused(agent(live=False, cold_method="internal"), guest, "Permission denied")
                        assert guest.state() == "running" and not guest.is_saved()

        def test_check_is_content():
            which = agent(live_method="stream")
            shown = checked(which)
            for name in ("state_dir", "run_dir", "scratch_dir", "snapshots_directory", "libvirt",
                         "RabbitMQ", "images"):
                assert shown[name].startswith("ok "), shown[name]
            assert "QEMU runs as libvirt-qemu" in shown["libvirt"]
            assert which.command("check", check=False).returncode == 0

        def test_a_cast_and_who_may_look_at_it():
            with Guest(folder, size_mib=32, data_mib=4) as guest, agent() as which:
                image = str(uuid.uuid4())
                done = which.command("send", "snapshot_instance", "--file", CAST, "--instance",
                                     guest.uuid, "--image", image, "--watch", "--timeout", "60",
                                     check=False)
                assert done.returncode == 0, (done, which.text())
                assert same_content(os.path.join(images, image), "qcow2", guest.disk, "qcow2")
                assert f"{image}" in which.command("jobs").stdout
                # Not its own user: it is not dumpable.
                assert os.stat(f"/proc/{which.process.pid}/environ").st_uid != pwd.getpwnam(USER).pw_uid
                assert os.stat(f"{state}/journal").st_mode & 0o777 == 0o700

        def test_a_run_dir_that_is_not_shared():
            with Guest(folder, size_mib=32, data_mib=4) as guest:
                guest.start()
                try:
                    os.chmod(run, 0o770)
                    said = refused(agent(), guest, "does not run as root", "setgid", "tmpfiles")
                    assert run in said
                    assert "setgid" in checked(agent())["run_dir"]
                    shutil.chown(run, USER, GROUP)
                    os.chmod(run, 0o2771)
                    refused(agent(), guest, f"QEMU's user is not in its group {GROUP}")
                    # root's group: neither is ours.
                    shutil.chown(run, USER, "libvirt-qemu")
                    os.chmod(run, 0o2770)
                    which = agent()
                    which.run_as = [arg.replace(",libvirt-qemu", "") for arg in run_as]
                    refused(which, guest, "novasnapd's user is not in its group libvirt-qemu")
                    # The other ways need no socket.
                    os.chmod(run, 0o700)
                    taken(agent(live_method="rebase"), guest, "rebase")
                finally:
                    shutil.chown(run, USER, "libvirt-qemu")
                    os.chmod(run, 0o2770)
                taken(agent(), guest, "stream")
                assert guest.state() == "running"

        def test_a_disk_that_the_user_cannot_read():
            with Guest(folder, size_mib=32, data_mib=4) as guest:
                os.chmod(guest.disk, 0o600)
                for method in ("stream", "extract", "internal"):
                    refused(agent(cold_method=method), guest, guest.disk, "Permission denied",
                            "does not run as root")
                guest.start()
                # QEMU reads it.
                done = agent().command("snapshot", guest.name, check=False)
                assert done.returncode == 0 and "method: stream" in done.stdout, done
                virsh("destroy", guest.name)

        def test_the_unit_and_the_profile():
            subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=18",
                            os.path.join(TOP, "conf/novasnapd.service")], check=True,
                           capture_output=True, timeout=60)
            path = folder.file("profile")
            with open(os.path.join(TOP, "conf/apparmor-libvirt-qemu")) as file, \
                    open(path, "w") as profile:
                profile.write(f"profile novasnap-test {{\n{file.read()}}}\n")
            subprocess.run(["apparmor_parser", "--skip-kernel-load", "--skip-cache", path], check=True,
                           capture_output=True, timeout=20)

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [libvirt.log])


if __name__ == "__main__":
    sys.exit(main())
