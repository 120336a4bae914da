#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Wrong use of novasnap's commands: options, arguments, configurations and files that make no sense, a novasnapd that
has never run, and a broker that is away. Each mistake must give one line on standard error that names what is wrong."""
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from paths import BUILD, CAST  # noqa: E402
from process import free_port  # noqa: E402

COMMANDS = ("check", "beside", "snapshot", "send", "top", "watch", "jobs", "show", "cancel", "record", "replay", "decode")
NOBODY = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
AS_NOVA = "runuser -u nova -g nova -G libvirt -G libvirt-qemu -- "


class Commands(Environment):
    def set_up(self):
        # The user nobody can reach this folder too.
        self.novasnap = shutil.copy(os.path.join(BUILD, "novasnap"), self.folder.path)
        self.not_json = self.write("not.json", "no json\n")
        self.no_instance = self.write("no-instance.json", '{"method": "snapshot_instance", "args": {}}\n')
        self.half = self.write("half.jsonl", '{"method": "x", "args": {}}\nno json\n')
        self.empty = self.write("empty", "")
        self.two = self.write("two.jsonl", '{"method": "x", "args": {}}\n{"method": "y", "args": {}}\n')
        self.rejected = self.write("rejected", '# no method x\n{"method": "x", "args": {}}\n')

    def before_test(self):
        """Writes a configuration with empty folders."""
        place = uuid.uuid4().hex[:8]
        self.state, self.images = self.folder.file(f"state-{place}"), self.folder.file(f"images-{place}")
        self.good = self.write("good.conf", f"""[DEFAULT]
host = h
transport_url = rabbit://u:p@127.0.0.1:{free_port()}/
[novasnap]
state_dir = {self.state}
run_dir = {self.state}/run
images = directory
images_dir = {self.images}
""")

    def write(self, name, text, mode=0o644):
        path = self.folder.file(name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def run(self, *arguments, conf="", prefix=()):
        """`conf`: a configuration instead of the correct one; None: no configuration is named."""
        options = [] if conf is None else ["--config-file", conf or self.good]
        return subprocess.run([*prefix, self.novasnap, *options, *arguments], capture_output=True, text=True,
                              timeout=60, stdin=subprocess.DEVNULL, check=False)

    def fails(self, status, words, *arguments, **more):
        done = self.run(*arguments, **more)
        assert done.returncode == status and not done.stdout, (arguments, done)
        assert done.stderr.count("\n") == 1, (arguments, done.stderr)
        assert all(word in done.stderr for word in ([words] if isinstance(words, str) else words)), (arguments, done)


def test_help(env):
    for command in COMMANDS:
        done = env.run(command, "--help", conf=None)
        assert done.returncode == 0 and not done.stderr and done.stdout.isascii(), done
        for part in (f"Usage:\n  novasnap {command} [OPTION]...", "\nOptions:\n", "\nExit status:\n  0    ",
                     f"\nExample:\n  {AS_NOVA if command == 'check' else ''}novasnap {command}"):
            assert part in done.stdout, (command, part, done.stdout)
    done = env.run("--help", conf=None)
    assert done.returncode == 0 and not done.stderr, done
    listed = [line.split()[0] for line in done.stdout.split("Commands:\n")[1].split("\n\n")[0].split("\n")]
    assert sorted(listed) == sorted(COMMANDS), listed
    assert env.run("--version", conf=None).stdout.startswith("novasnap ")


def exit_statuses(text):
    """Returns the numbers that a help lists."""
    return re.findall(r"^  (\d+) ", text.split("Exit status:\n")[1].split("\n\n")[0], re.M)


def test_exit_statuses(env):
    """The commands have only the statuses that the program lists, and all of those that every command has."""
    known = exit_statuses(env.run("--help", conf=None).stdout)
    assert known == ["0", "1", "2", "3", "130"], known
    for command in COMMANDS:
        own = exit_statuses(env.run(command, "--help", conf=None).stdout)
        assert {"0", "1", "2"} <= set(own) <= set(known) and own == sorted(own, key=int), (command, own)
    # With these mistakes each command has the same status.
    for command in COMMANDS:
        assert env.run(command, "--frob").returncode == 2, command
        files = ["/nonexistent"] if command in ("decode", "snapshot", "show", "replay") else []
        arguments = {"cancel": [str(uuid.uuid4())], "record": ["x"], "beside": ["--status"],
                     "send": ["snapshot_instance", "--domain", "x"]}.get(command, files)
        if command != "decode":
            assert env.run(command, *arguments, conf="/nonexistent").returncode == 2, command


def test_json(env):
    """Each command that prints something for people has --json, and a page with its keys."""
    for command in COMMANDS:
        assert re.search(r"^  --json +Print", env.run(command, "--help", conf=None).stdout, re.M), command
        env.fails(2, "--frob", command, "--json", "--frob")
    assert json.loads(env.run("decode", "--json", CAST).stdout)["message"]["method"] == "snapshot_instance"
    two = env.run("decode", "--json", env.two)
    assert [json.loads(line)["message"]["method"] for line in two.stdout.splitlines()] == ["x", "y"], two
    assert json.loads(env.run("decode", "--json", env.rejected).stdout) == \
        {"message": {"method": "x", "args": {}}, "reason": "no method x"}
    assert env.run("decode", env.rejected).stdout.startswith("# no method x\n{")
    done = env.run("check", "--json", conf="/nonexistent")
    checked = json.loads(done.stdout)
    assert done.returncode == 2 and checked["failed"] == 1, done
    assert [checked["results"][0][key] for key in ("result", "subject")] == ["failed", "configuration"], checked
    checked = json.loads(env.run("check", "--json").stdout)
    assert checked["failed"] == sum(result["result"] == "failed" for result in checked["results"]) > 0, checked
    assert checked["warnings"] == sum(result["result"] == "warning" for result in checked["results"]), checked


def test_options_before_the_command(env):
    done = env.run(conf=None)
    assert done.returncode == 2 and not done.stdout and "Commands:" in done.stderr, done
    env.fails(2, 'no command "frob"', "frob")
    env.fails(2, "--frob", "--frob", "jobs")
    env.fails(2, "Missing argument", "--config-file", conf=None)
    # After the command only its own options are allowed.
    env.fails(2, "--config-file", "jobs", "--config-file", env.good, conf=None)
    env.fails(2, "--version", "jobs", "--version")


def test_options_of_the_commands(env):
    for command in COMMANDS:
        env.fails(2, ["--frob", f"novasnap {command} --help"], command, "--frob")
    for arguments in (["check", "x"], ["jobs", "x"], ["watch", "x"], ["show"], ["show", "1", "2"], ["cancel"], ["top", "x"],
                      ["top", "--interval", "0"], ["top", "--interval", "nan"], ["top", "--interval", "often"],
                      ["cancel", "x"], ["cancel", ""], ["cancel", "1", "--host", "h"], ["record"],
                      ["record", "a", "b"], ["replay"], ["replay", "--job", "1", "x"],
                      ["replay", "--job", "1", "--unhandled"], ["decode"], ["snapshot"],
                      ["send"], ["send", "snapshot_instance"], ["send", "reboot_instance", "--domain", "x"],
                      ["send", "snapshot_instance", "--domain", "x", "--file", "y"],
                      ["send", "snapshot_instance", "--domain", "x", "--image", "y"],
                      ["send", "snapshot_instance", "--domain", "x", "--timeout", "5"],
                      ["replay", "x", "--instance", "y"], ["replay", "x", "--local", "--host", "y"],
                      ["record", "--count", "-1", "x"], ["record", "--count", "many", "x"],
                      ["watch", "--timeout", "-1"], ["watch", "--image", "abc"], ["watch", "--instance", "name"],
                      ["snapshot", "--to", "relative", "x"]):
        env.fails(2, f"see novasnap {arguments[0]} --help", *arguments)


def test_configurations(env):
    for conf, words in ((env.folder.file("missing.conf"), "No such file"), (env.folder.path, "Is a directory"),
                        ("/dev/zero", "larger than"), (env.write("1.conf", "nonsense\n"), "1.conf:1: not a"),
                        (env.write("2.conf", "[novasnap]\n\nstatedir = /x\n"), '2.conf:3: [novasnap] has no key "statedir"'),
                        (env.write("3.conf", "[DEFAULT]\nreport_interval = often\n"), "3.conf:2: [DEFAULT]report_interval")):
        for command in (["jobs"], ["show", "1"], ["watch"], ["cancel", str(uuid.uuid4())], ["snapshot", "x"],
                        ["record", "x"], ["replay", "x"], ["send", "snapshot_instance", "--domain", "x"]):
            env.fails(2, [words, conf], *command, conf=conf)
        done = env.run("check", conf=conf)
        assert done.returncode == 2 and "FAIL  configuration" in done.stdout and words in done.stdout, done
    secret = env.write("secret.conf", "[DEFAULT]\n", 0o600)
    env.fails(2, ["Permission denied", secret], "jobs", conf=secret, prefix=NOBODY)


def test_files(env):
    for command in ("decode", "replay"):
        env.fails(1, ["/nonexistent", "No such file"], command, "/nonexistent")
        env.fails(1, [env.folder.path, "Is a directory"], command, env.folder.path)
        env.fails(1, ["/dev/zero", "256 MiB"], command, "/dev/zero")
        env.fails(1, [env.not_json, "not JSON"], command, env.not_json)
        env.fails(1, env.empty, command, env.empty)
    done = env.run("decode", env.half)
    assert done.returncode == 1 and '"method"' in done.stdout and "line 2" in done.stderr, done
    env.fails(1, [env.half, "line 2"], "replay", env.half)
    for more in ([], ["--local"]):
        env.fails(1, [env.no_instance, "no instance"], "replay", *more, env.no_instance)
    env.fails(1, [env.good, "File exists"], "record", env.good)
    env.fails(1, ["/nonexistent/x", "No such file"], "record", "/nonexistent/x")


def test_no_journal(env):
    for command in (["jobs"], ["show", "1"], ["cancel", "1"], ["replay", "--job", "1"]):
        env.fails(1, ["there is no journal", env.state], *command)
    journal = os.path.join(env.state, "journal")
    os.makedirs(journal)
    env.write(os.path.join(journal, "journal.db"), "no database")
    env.fails(1, "not a database", "jobs")
    os.chmod(journal, 0o700)
    env.fails(1, "may not read the journal", "jobs", prefix=NOBODY)


def test_no_broker(env):
    """Each command waits for the broker, says why it is away, and leaves nothing behind."""
    recording = env.folder.file("recording.jsonl")
    commands = (["watch"], ["cancel", str(uuid.uuid4())], ["record", recording], ["replay", CAST],
                ["send", "snapshot_instance", "--file", CAST])
    with concurrent.futures.ThreadPoolExecutor(len(commands)) as pool:
        for command, done in zip(commands, pool.map(lambda command: env.run(*command), commands), strict=True):
            lines = done.stderr.splitlines()
            assert done.returncode == 1 and not done.stdout, done
            assert lines[-1].startswith(f"novasnap {command[0]}: could not log in to RabbitMQ within 30 s: "), done
            assert "transport_url" in lines[-1], done
            # A retry is logged only once.
            assert len(set(lines)) == len(lines) <= 5, lines
    assert not os.path.exists(recording) and not os.path.exists(env.images)


if __name__ == "__main__":
    tap.main(Commands)
