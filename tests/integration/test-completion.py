#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The completion of novasnap's command line in bash and in an interactive zsh: each command and each option of the help,
and what belongs to an option. Jobs come from a journal that a stand-in of `novasnap jobs` reads out: the real one needs a
broker and a guest (test-top.py has its output)."""
import os
import re
import shlex
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from paths import BUILD, TOP  # noqa: E402
from screen import Screen  # noqa: E402

COMPLETION = os.path.join(TOP, "conf/completion")
IMAGES = "1a2b3c4d-0000-4000-8000-00000000000a", "1a2b3c4d-0000-4000-8000-00000000000b"
INSTANCES = "2a2b3c4d-0000-4000-8000-00000000000a", "2a2b3c4d-0000-4000-8000-00000000000b"
STAND_IN = """#!/bin/sh
case "$*" in
*--help) exec {novasnap} "$@" ;;
*"jobs --json --open") printf '%s\\n' '{leftover}' '{second}' ;;
*"jobs --json") printf '%s\\n' '{second}' '{first}' ;;
esac
"""


def job(number, state="open"):
    return (f'{{"job":{number + 16},"state":"{state}","method":"snapshot_instance","instance":"{INSTANCES[number]}",'
            f'"image":"{IMAGES[number]}","received":1,"ended":null}}')


class Completion(Environment):
    def set_up(self):
        self.programs = self.folder.make("programs")
        path = os.path.join(self.programs, "novasnap")
        with open(path, "w") as file:
            file.write(STAND_IN.format(novasnap=os.path.join(BUILD, "novasnap"), first=job(0), second=job(1),
                                       leftover=job(0, "failed")))
        os.chmod(path, 0o755)
        self.env = {"PATH": f"{self.programs}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        # The list of commands, and for each its options with what they take, by the help alone.
        self.commands = re.findall(r"^  ([a-z]+)  ", self.help().split("Commands:\n")[1].split("\n\n")[0], re.M)
        assert len(self.commands) >= 12, self.commands
        self.options = {"": self.options_of(self.help())}
        self.options.update((command, self.options_of(self.help(command))) for command in self.commands)
        for name in ("a-file", "another-file"):
            open(self.folder.file(name), "w").close()
        self.folder.make("a-folder")

    def help(self, *command):
        return subprocess.run([os.path.join(BUILD, "novasnap"), *command, "--help"], check=True, timeout=20,
                              capture_output=True, text=True).stdout

    @staticmethod
    def options_of(text):
        """Returns the long options of a help, and what each takes ("" if nothing)."""
        return dict(re.findall(r"^  (?:-\w, )?--([\w-]+)=?(\S*)", text, re.M))

    def bash(self, lines):
        """Returns what bash offers for each line, whose last word is to be completed."""
        script = [f"source {shlex.quote(os.path.join(COMPLETION, 'novasnap.bash'))}"]
        for line in lines:
            words = re.findall(r"=|[^\s=]+", line) + ([""] if line[-1] in " =" and not line.endswith("=") else [])
            script.append(f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}; "
                          "COMPREPLY=(); _novasnap; printf '%s\\n' \"${COMPREPLY[*]}\"")
        done = subprocess.run(["bash", "--norc", "-c", "\n".join(script)], check=True, capture_output=True, text=True,
                              timeout=120, env={**os.environ, **self.env}, cwd=self.folder.path)
        assert not done.stderr, done.stderr
        offered = [set(line.split()) for line in done.stdout.split("\n")[:-1]]
        assert len(offered) == len(lines), done
        return dict(zip(lines, offered, strict=True))

    def zsh(self, lines):
        """The same of an interactive zsh."""
        path = self.folder.file("offered")
        open(path, "w").close()
        script = os.path.join(TOP, "tests/lib/complete.zsh")
        argv = ["env", "-C", self.folder.path, "zsh", "-f", "-i"]
        env = {**self.env, "OFFERED": path, "FUNCTIONS": COMPLETION, "HOME": self.folder.path}
        answers = {}
        with Screen(argv, columns=1000, rows=200, env=env) as screen:
            screen.type(f"source {script}\n")
            self.read_offered(path, screen)
            for line in lines:
                open(path, "w").close()
                screen.type(f"{line}\t")
                answers[line] = {word.removesuffix("/") for word in self.read_offered(path, screen)}
        return answers

    @staticmethod
    def read_offered(path, screen):
        end = time.monotonic() + 60
        while True:
            with open(path) as file:
                words = file.read().split()
            if words and words[-1] == "<end>":
                return words[:-1]
            assert time.monotonic() < end, screen.text()
            time.sleep(0.02)


def test_every_command_and_option_in_bash(env):
    check_words(env, env.bash)


def test_every_command_and_option_in_zsh(env):
    check_words(env, env.zsh)


def check_words(env, complete):
    lines = {"": "novasnap --", **{command: f"novasnap {command} --" for command in env.commands}}
    answers = complete(["novasnap ", *lines.values(), "novasnap s"])
    assert set(env.commands) <= answers["novasnap "], answers["novasnap "]
    assert answers["novasnap s"] == {word for word in env.commands if word[0] == "s"}, answers["novasnap s"]
    for command, line in lines.items():
        words = {word.rstrip("=") for word in answers[line]}
        assert words == {f"--{option}" for option in env.options[command]}, (line, words)


def test_values_in_bash(env):
    check_values(env, env.bash)


def test_values_in_zsh(env):
    check_values(env, env.zsh)


def check_values(env, complete):
    files, ids = {"a-file", "another-file"}, {*IMAGES, *INSTANCES}
    expected = {"novasnap show ": {"16", "17", *ids}, "novasnap show 1a": set(IMAGES),
                "novasnap cancel ": {"17", IMAGES[1], INSTANCES[1]}, "novasnap watch --image ": {IMAGES[1], INSTANCES[1]},
                "novasnap watch --instance=": {INSTANCES[1]}, "novasnap replay --job ": {"16", "17", *ids},
                "novasnap send ": {"snapshot_instance"},
                "novasnap -c a-file show 17": {"17"}, "novasnap --config-file another-file jobs --o": {"--open"}}
    answers = complete([*expected, "novasnap decode a", "novasnap record an", "novasnap --config-file a",
                        "novasnap send --file=a", "novasnap snapshot --to ", "novasnap --config-dir a"])
    for line, words in expected.items():
        assert answers[line] == words, (line, answers[line])
    assert answers["novasnap decode a"] >= files and answers["novasnap record an"] == {"another-file"}, answers
    assert answers["novasnap --config-file a"] >= files and answers["novasnap send --file=a"] >= files, answers
    assert {"a-folder", "glance"} <= answers["novasnap snapshot --to "] and \
        not answers["novasnap snapshot --to "] & files, answers
    assert "a-folder" in answers["novasnap --config-dir a"] and not answers["novasnap --config-dir a"] & files, answers


def test_every_kind_of_value_is_known(env):
    """A new kind of argument needs a line in both scripts, or here."""
    without = {"SECONDS", "N", "NAME", "HOST", ""}  # nothing is offered for these
    for name in ("novasnap.bash", "_novasnap"):
        with open(os.path.join(COMPLETION, name)) as file:
            cases = [case for line in re.findall(r"^\t([^\s(]*(?: \| [^\s(]*)*)\)", file.read(), re.M)
                     for case in line.split(" | ")]
        for command, options in env.options.items():
            for option, kind in options.items():
                known = kind in without or any(re.fullmatch(case.replace("*", ".*"), kind) for case in cases if case != "*")
                assert known, (name, command, option, kind)


if __name__ == "__main__":
    tap.main(Completion)
