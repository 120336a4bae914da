#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnap check: all well, and each thing that is not. RabbitMQ, libvirt and Glance are real, Keystone is a
stand-in. (By TLS: test-tls; as a user who is not root: test-user.)"""
import contextlib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from picky_keystone import PickyKeystone  # noqa: E402
from services import Agent, Folder, Glance, Libvirt, begin, broker_for_tests, free_port  # noqa: E402


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        broker, glance = broker_for_tests(folder), Glance(folder)
        begin(stack, broker, glance)
        stack.enter_context(Libvirt(folder))
        broker.wait()
        glance.wait()
        keystone = stack.enter_context(PickyKeystone({"ours": ("right", "token")}))
        count = iter(range(1000))

        def user(password="right"):
            return {"auth_url": keystone.url, "username": "ours", "password": password}

        def agent(url=glance.url, broker_url=broker.url, **sections):
            return Agent(folder, broker_url, url, name=f"agent{next(count)}", **sections)

        def check(which, env=None):
            """(exit status, the lines by what they are about, all)"""
            done = subprocess.run([*(env or []), os.path.join(which.programs, "novasnap"), *which.files,
                                   "check"], capture_output=True, text=True, timeout=60, check=False)
            assert not done.stderr, done.stderr
            lines = done.stdout.splitlines()
            assert all(line[:6].strip() in ("ok", "warn", "FAIL") for line in lines[:-1]), lines
            return done.returncode, {line.split()[1].strip(":"): line for line in lines[:-1]}, lines

        def fails(which, name, *words, env=None):
            status, lines, _ = check(which, env)
            assert status == 1 and lines[name].startswith("FAIL"), lines
            assert all(word in lines[name] for word in words), (words, lines[name])

        def test_all_is_well():
            which = agent(keystone_authtoken=user(), service_user={
                **user(), "send_service_user_token": "true"})
            with which:
                before = which.text()
                status, lines, shown = check(which)
                assert status == 0 and shown[-1].startswith("0 failed"), shown
                for name in ("configuration", "qemu-img", "qemu-nbd", "novasnap-thaw", "libvirt",
                             "state_dir", "journal", "run_dir", "scratch_dir",
                             "snapshots_directory", "RabbitMQ", "[keystone_authtoken]",
                             "[service_user]", "Glance"):
                    assert lines[name].startswith("ok "), lines[name]
                assert "MiB free" in lines["scratch_dir"] and "QEMU runs as" in lines["libvirt"]
                # Who serves is not disturbed.
                assert "rpc:" not in which.text()[len(before):], which.text()[len(before):]

        def test_nothing_is_made():
            which = agent()
            before = sorted(os.listdir(which.folder))
            status, lines, _ = check(which)
            assert status == 0 and lines["state_dir"].startswith("warn"), lines
            assert "novasnapd creates it" in lines["run_dir"]
            assert sorted(os.listdir(which.folder)) == before

        def test_the_configuration():
            for text, word in (("[novasnap]\nstatedir = /x\n", "statedir"),
                               ("[novasnap]\nrun_dir = x\n", "absolute"), ("nonsense\n", ":")):
                which = agent()
                with open(which.conf, "a") as file:
                    file.write(text)
                done = which.command("check", check=False)
                assert done.returncode == 1 and "FAIL  configuration" in done.stdout, done
                assert word in done.stdout and which.conf in done.stdout, done
            assert agent().command("check", "more", check=False).returncode == 2

        def test_folders():
            which = agent()
            run, state, journal = (os.path.join(which.folder, name)
                                   for name in ("run", "state", "state/journal"))
            for path in (run, state, journal):
                os.mkdir(path)
            os.chmod(journal, 0o755)
            fails(which, "journal", "other users may read", "0700")
            os.chmod(journal, 0o700)
            os.chmod(state, 0o777)
            fails(which, "state_dir", "everybody may write", "0777")
            os.chmod(state, 0o711)
            os.chmod(run, 0o700)
            fails(which, "run_dir", "QEMU's user", run, "mode 0700", "tmpfiles")
            os.chmod(run, 0o711)
            assert check(which)[0] == 0
            # Somewhere above it.
            os.chmod(which.folder, 0o700)
            fails(which, "run_dir", f"cannot pass through {which.folder} ")
            os.chmod(which.folder, 0o755)
            os.rmdir(run)
            open(run, "w").close()
            fails(which, "run_dir", "is not a folder")

        def test_no_room():
            small = folder.make("small")
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=711", "none", small],
                           check=True, timeout=20)
            stack.callback(subprocess.run, ["umount", small], check=False, timeout=20)
            fails(agent(novasnap={"scratch_dir": small}), "scratch_dir", "make room")

        def test_libvirt():
            fails(agent(libvirt={"connection_uri": "qemu+unix:///system?socket=/nonexistent"}),
                  "libvirt", "/nonexistent", "group libvirt")
            fails(agent(novasnap={"live_method": "magic"}), "libvirt", "magic")

        def test_rabbitmq():
            fails(agent(broker_url=f"rabbit://guest:guest@127.0.0.1:{free_port()}/"), "RabbitMQ",
                  "is RabbitMQ running there")
            if broker.own:
                fails(agent(broker_url=broker.url.replace("guest:guest", "guest:wrong")), "RabbitMQ",
                      "cannot log in", "guest")
                fails(agent(broker_url=broker.url + "no-such-vhost"), "RabbitMQ", "no-such-vhost")

        def test_glance_and_keystone():
            away = f"http://127.0.0.1:{free_port()}"
            which = agent(f"{glance.url},{away}")
            status, _, shown = check(which)
            found = [line[:4].strip() for line in shown if "  Glance at" in line]
            assert status == 1 and found == ["ok", "FAIL"], shown
            fails(agent(keystone_authtoken=user("wrong")), "[keystone_authtoken]", "401")
            fails(agent(keystone_authtoken={**user(), "auth_url": away}), "[keystone_authtoken]", away)
            fails(agent(service_user={"send_service_user_token": "true"}), "[service_user]",
                  "auth_url")

        def test_programs():
            tools = folder.make("tools")
            os.symlink("/usr/bin/qemu-img", os.path.join(tools, "qemu-img"))
            fails(agent(), "qemu-nbd", "install it", env=["env", f"PATH={tools}"])

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests)


if __name__ == "__main__":
    sys.exit(main())
