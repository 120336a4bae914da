# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands that the documents and the programs' help show."""
import glob
import os
import re
import subprocess
from collections import namedtuple

from paths import BUILD, TOP

PAGES = ("README.md", "HACKING.md", "tests/README.md", "conf/docs/*.md")
OWN = ("novasnap", "novasnapd")
OTHERS = ("ansible-playbook", "apt-get", "cat", "cd", "ceph", "checkmodule", "chgrp", "chmod", "curl", "docker", "echo",
          "git", "grep", "install", "journalctl", "make", "man", "openstack", "promtool", "qemu-img", "qemu-nbd", "rabbitmqctl",
          "rbd", "rpmbuild", "runuser", "semodule", "semodule_package", "setfacl", "systemctl", "systemd-sysusers",
          "systemd-tmpfiles", "udevadm", "virsh")
# Indented lines of a configuration file, a log or a drawing.
NO_COMMAND = (r"\[\w+\]", r"\w+ = .*", r"\w+:( .*)?", r"ENV\{.*", r"20\d\d-.*", r".*(-->|<--|<-calls|\s\|\s).*")

# `text`: on one line, without a comment. `is_whole`: it can be typed as it is, but for names in capital letters. Others
# are parts of sentences, such as `novasnap send --watch`.
Command = namedtuple("Command", "place text is_whole")


def program_of(text):
    """Returns the name of the program, after assignments, or the path of a script of the tests."""
    words = re.sub(r"^([A-Z_]+=\S+ )+", "", text).split()
    return words[0] if words else ""


def is_command(text):
    program = program_of(text)
    return program in OWN + OTHERS or re.fullmatch(r"tests/\S+\.(sh|py)", program) is not None


def blocks(page, text):
    """The commands on indented lines."""
    lines = iter(enumerate(text.split("\n"), 1))
    for number, line in lines:
        if not re.match(r" {4,}\S", line) or re.match(r" +([-*]|\d+\.) ", line):
            continue
        while line.endswith("\\"):
            line = line[:-1] + next(lines)[1]
        line = " ".join(re.sub(r"\s+# .*$", "", line).split())
        if is_command(line):
            yield Command(f"{page}:{number}", line, True)
        else:
            assert any(re.fullmatch(pattern, line) for pattern in NO_COMMAND), f"{page}:{number}: what is {line}?"


def _quoted(page, text):
    """Between backticks. In the first column of a table they are whole."""
    for found in re.finditer(r"`([^`]+)`", re.sub(r"^ {4,}\S.*$", "", text, flags=re.M)):
        quoted = " ".join(found[1].split())
        before = found.string[:found.start()].split("\n")
        if is_command(quoted) and " " in quoted:
            is_whole = re.fullmatch(r"\| (`[^`]+`, )*", before[-1]) is not None
            yield Command(f"{page}:{len(before)}", quoted, is_whole)


def of_pages():
    for pattern in PAGES:
        for path in sorted(glob.glob(os.path.join(TOP, pattern))):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            page = os.path.relpath(path, TOP)
            yield from blocks(page, text)
            yield from _quoted(page, text)


def of_section(page, title):
    """Returns the commands on the indented lines of a section, as text."""
    with open(os.path.join(TOP, page), encoding="utf-8") as file:
        section = re.search(rf"^## {title}\n(.*?)(^## |\Z)", file.read(), re.M | re.S)[1]
    return [command.text for command in blocks(page, section)]


def help_of(*command):
    return subprocess.run([os.path.join(BUILD, command[0]), *command[1:], "--help"], check=True, capture_output=True,
                          text=True, timeout=20).stdout


def subcommands():
    return re.findall(r"^  ([a-z]+)  ", help_of("novasnap").split("Commands:\n")[1].split("\n\n")[0], re.M)


def of_help():
    """The examples, which the manual pages have, too."""
    for command in [(name,) for name in OWN] + [("novasnap", name) for name in subcommands()]:
        for example in re.findall(r"^Example:\n((?:  .*\n)+)", help_of(*command), re.M):
            for line in example.splitlines():
                yield Command(f"{' '.join(command)} --help", line.strip(), True)
