#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnap's commands, used wrongly: options, arguments, configurations and files that make no sense, a novasnapd that has
never run, and a broker that is away. Each mistake is one line on standard error that names what is wrong."""
import concurrent.futures
import contextlib
import os
import shutil
import subprocess
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from services import BUILD, CAST, Folder, free_port  # noqa: E402

COMMANDS = ("check", "snapshot", "send", "watch", "jobs", "show", "cancel", "record", "replay", "decode")
NOBODY = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        # Where nobody reaches it too.
        novasnap = shutil.copy(os.path.join(BUILD, "novasnap"), folder.path)

        def write(name, text, mode=0o644):
            path = folder.file(name)
            with open(path, "w") as file:
                file.write(text)
            os.chmod(path, mode)
            return path

        state = folder.file("state")
        good = write("good.conf", f"[DEFAULT]\nhost = h\ntransport_url = rabbit://u:p@127.0.0.1:{free_port()}/\n"
                     f"[novasnap]\nstate_dir = {state}\nrun_dir = {state}/run\nimages = directory\n"
                     f"images_dir = {folder.file('images')}\n")
        not_json = write("not.json", "no json\n")
        no_instance = write("no-instance.json", '{"method": "snapshot_instance", "args": {}}\n')
        half = write("half.jsonl", '{"method": "x", "args": {}}\nno json\n')
        empty = write("empty", "")

        def run(*arguments, conf=good, prefix=()):
            options = ["--config-file", conf] if conf else []
            return subprocess.run([*prefix, novasnap, *options, *arguments], capture_output=True, text=True, timeout=60,
                                  stdin=subprocess.DEVNULL, check=False)

        def fails(status, words, *arguments, **more):
            done = run(*arguments, **more)
            assert done.returncode == status and not done.stdout, (arguments, done)
            assert done.stderr.count("\n") == 1, (arguments, done.stderr)
            assert all(word in done.stderr for word in ([words] if isinstance(words, str) else words)), (arguments, done)

        def test_help():
            for command in COMMANDS:
                done = run(command, "--help", conf=None)
                assert done.returncode == 0 and not done.stderr and done.stdout.isascii(), done
                for part in (f"Usage:\n  novasnap {command} [OPTION]...", "\nOptions:\n", "\nExit status:\n  0    ",
                             f"\nExample:\n  {'runuser -u nova -- ' if command == 'check' else ''}novasnap {command}"):
                    assert part in done.stdout, (command, part, done.stdout)
            done = run("--help", conf=None)
            assert done.returncode == 0 and not done.stderr, done
            listed = [line.split()[0] for line in done.stdout.split("Commands:\n")[1].split("\n\n")[0].split("\n")]
            assert sorted(listed) == sorted(COMMANDS), listed
            assert run("--version", conf=None).stdout.startswith("novasnap ")

        def test_options_before_the_command():
            done = run(conf=None)
            assert done.returncode == 2 and not done.stdout and "Commands:" in done.stderr, done
            fails(2, 'no command "frob"', "frob")
            fails(2, "--frob", "--frob", "jobs")
            fails(2, "Missing argument", "--config-file", conf=None)
            # Behind the command stand the command's own options.
            fails(2, "--config-file", "jobs", "--config-file", good, conf=None)
            fails(2, "--version", "jobs", "--version")

        def test_options_of_the_commands():
            for command in COMMANDS:
                fails(2, ["--frob", f"novasnap {command} --help"], command, "--frob")
            for arguments in (["check", "x"], ["jobs", "x"], ["watch", "x"], ["show"], ["show", "1", "2"], ["cancel"],
                              ["cancel", "x"], ["record"], ["record", "a", "b"], ["replay"], ["decode"], ["snapshot"],
                              ["send"], ["send", "snapshot_instance"], ["send", "reboot_instance", "--domain", "x"],
                              ["send", "snapshot_instance", "--domain", "x", "--file", "y"],
                              ["send", "snapshot_instance", "--domain", "x", "--image", "y"],
                              ["send", "snapshot_instance", "--domain", "x", "--timeout", "5"],
                              ["replay", "x", "--instance", "y"], ["replay", "x", "--local", "--host", "y"],
                              ["record", "--count", "-1", "x"], ["record", "--count", "many", "x"],
                              ["watch", "--timeout", "-1"], ["snapshot", "--to", "relative", "x"]):
                fails(2, f"see novasnap {arguments[0]} --help", *arguments)

        def test_configurations():
            for conf, words in ((folder.file("missing.conf"), "No such file"), (folder.path, "Is a directory"),
                                ("/dev/zero", "larger than"), (write("1.conf", "nonsense\n"), "1.conf:1: neither"),
                                (write("2.conf", "[novasnap]\n\nstatedir = /x\n"), '2.conf:3: [novasnap] has no key "statedir"'),
                                (write("3.conf", "[DEFAULT]\nreport_interval = often\n"), "3.conf:2: [DEFAULT]report_interval")):
                for command in (["jobs"], ["show", "1"], ["watch"], ["cancel", str(uuid.uuid4())], ["snapshot", "x"],
                                ["record", "x"], ["replay", "x"], ["send", "snapshot_instance", "--domain", "x"]):
                    fails(2, [words, conf], *command, conf=conf)
                done = run("check", conf=conf)
                assert done.returncode == 1 and "FAIL  configuration" in done.stdout and words in done.stdout, done
            secret = write("secret.conf", "[DEFAULT]\n", 0o600)
            fails(2, ["Permission denied", secret], "jobs", conf=secret, prefix=NOBODY)

        def test_files():
            for command in ("decode", "replay"):
                fails(1, ["/nonexistent", "No such file"], command, "/nonexistent")
                fails(1, [folder.path, "Is a directory"], command, folder.path)
                fails(1, ["/dev/zero", "256 MiB"], command, "/dev/zero")
                fails(1, [not_json, "not JSON"], command, not_json)
                fails(1, empty, command, empty)
            done = run("decode", half)
            assert done.returncode == 1 and '"method"' in done.stdout and "line 2" in done.stderr, done
            fails(1, [half, "line 2"], "replay", half)
            for more in ([], ["--local"]):
                fails(1, [no_instance, "no instance"], "replay", *more, no_instance)
            fails(1, [good, "File exists"], "record", good)
            fails(1, ["/nonexistent/x", "No such file"], "record", "/nonexistent/x")

        def test_no_journal():
            for command in (["jobs"], ["show", "1"]):
                fails(1, ["there is no journal", state], *command)
            journal = os.path.join(state, "journal")
            os.makedirs(journal)
            write("state/journal/journal.db", "no database")
            fails(1, "not a database", "jobs")
            os.chmod(journal, 0o700)
            fails(1, "may not read the journal", "jobs", prefix=NOBODY)

        def test_no_broker():
            """Each waits for it, says why it is away, and leaves nothing behind."""
            recording = folder.file("recording.jsonl")
            commands = (["watch"], ["cancel", str(uuid.uuid4())], ["record", recording], ["replay", CAST],
                        ["send", "snapshot_instance", "--file", CAST])
            with concurrent.futures.ThreadPoolExecutor(len(commands)) as pool:
                for command, done in zip(commands, pool.map(lambda command: run(*command), commands), strict=True):
                    lines = done.stderr.splitlines()
                    assert done.returncode == 1 and not done.stdout, done
                    assert lines[-1].startswith(f"novasnap {command[0]}: could not log in to RabbitMQ within 30 s: "), done
                    assert "transport_url" in lines[-1], done
                    # What is tried again and again is said once.
                    assert len(set(lines)) == len(lines) <= 5, lines
            assert not os.path.exists(recording) and not os.path.exists(folder.file("images"))

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests)


if __name__ == "__main__":
    sys.exit(main())
