#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Allows a program only the system calls that conf/novasnapd.service allows, for a test without systemd:
    sandbox.py FILE PROGRAM [ARGUMENT ...]
runs a program with the calls alone that write_calls has written into the file, of these address families, and with
no memory that is written and run."""
import json
import os
import socket
import subprocess
import sys

FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
WRITE, EXECUTE = 2, 4


def _expand(name):
    if not name.startswith("@"):
        return {name}
    shown = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True,
                           text=True).stdout.split("\n")[1:]
    return {call for line in shown if line.strip() and not line.strip().startswith("#")
            for call in _expand(line.strip())}


def write_calls(unit, path):
    allowed = set()
    with open(unit) as file:
        keys = [line.strip().split("=", 1) for line in file if "=" in line]
    for value in (value for key, value in keys if key == "SystemCallFilter"):
        for name in value.lstrip("~").split():
            allowed = allowed - _expand(name) if value.startswith("~") else allowed | _expand(name)
    families = [value for key, value in keys if key == "RestrictAddressFamilies"]
    assert families == ["AF_UNIX AF_INET AF_INET6"] and ["MemoryDenyWriteExecute", "yes"] in keys, keys
    with open(path, "w") as file:
        json.dump(sorted(allowed), file)


def main():
    import seccomp
    with open(sys.argv[1]) as file:
        calls = json.load(file)
    rules = seccomp.SyscallFilter(defaction=seccomp.ERRNO(1))
    special = {
        "socket": [(0, 0xffffffff, family) for family in FAMILIES],
        "mmap": [(2, WRITE | EXECUTE, value) for value in (0, WRITE, EXECUTE)],
        "mprotect": [(2, EXECUTE, 0)], "pkey_mprotect": [(2, EXECUTE, 0)],
        "shmat": [(2, 0o100000, 0)],
    }
    for call in calls:
        try:
            number = seccomp.resolve_syscall(seccomp.Arch(), call)
        except (ValueError, RuntimeError):
            continue
        if number < 0:
            continue
        for argument in special.get(call, [None]):
            condition = [] if argument is None else [
                seccomp.Arg(argument[0], seccomp.MASKED_EQ, argument[1], argument[2])]
            rules.add_rule(seccomp.ALLOW, call, *condition)
    rules.load()
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
