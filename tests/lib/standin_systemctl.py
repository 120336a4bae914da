# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for systemd, which can only be process 1: the programs systemctl and deb-systemd-invoke, for the maintainer
scripts of a package and for Ansible's modules. They start and stop the units that the test gives, and nothing else."""
import json
import os
import socketserver
import threading
import uuid

PROGRAMS = ("systemctl", "deb-systemd-invoke")
INACTIVE = 3  # the status of is-active
CLIENT = """#!/usr/bin/python3
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect({path!r})
    client.sendall(json.dumps([os.path.basename(sys.argv[0]), sys.argv[1:]]).encode() + b"\\n")
    status, text = json.loads(client.makefile().readline())
print(text, end="")
sys.exit(status)
"""


class Unit:
    """A unit that the stand-in knows: what starts it, what stops it, and whether its process runs. `activating`: it has
    not said that it has started."""

    def __init__(self, start, stop, is_active):
        self.start, self.stop, self.is_active = start, stop, is_active
        self.enabled = self.activating = False

    def state(self):
        if not self.is_active():
            return "inactive"
        return "activating" if self.activating else "active"


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        program, args = json.loads(self.rfile.readline())
        try:
            answer = self.server.standin.run(program, args)
        except Exception as error:
            answer = 1, f"{error}\n"
            self.server.standin.errors.append(error)
        self.wfile.write(json.dumps(answer).encode() + b"\n")


class SystemdStandIn:
    """`units`: Unit by name, with its suffix. `bin`: the folder for PATH. `calls`: what was called, as text."""

    def __init__(self, folder, units):
        self.units, self.calls, self.errors = units, [], []
        name = f"systemd-{uuid.uuid4().hex[:8]}"
        self.bin = folder.make(name)
        path = os.path.join(self.bin, "socket")
        for program in PROGRAMS:
            with open(os.path.join(self.bin, program), "w") as file:
                file.write(CLIENT.format(path=path))
            os.chmod(os.path.join(self.bin, program), 0o755)
        self.server = socketserver.ThreadingUnixStreamServer(path, Handler)
        self.server.standin = self
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def unit(self, name):
        """Returns None if there is none."""
        return self.units.get(name if "." in name else f"{name}.service")

    def run(self, program, args):
        """Returns the status and the output of a call."""
        self.calls.append(" ".join([program, *args]))
        quiet, now = {"-q", "--quiet"} & set(args), "--now" in args
        words = [word for word in args if not word.startswith("-")]
        if not words:  # systemctl --version
            return 0, "systemd 252\n"
        verb = words[0]
        if verb == "show" and any(self.unit(name) is None for name in words[1:]):
            return 0, "LoadState=not-found\n"
        units = [self.unit(name) for name in words[1:]]
        if verb in ("daemon-reload", "is-system-running"):
            return 0, "" if verb == "daemon-reload" else "running\n"
        if verb == "is-active":
            states = [unit.state() for unit in units]
            return 0 if "active" in states else INACTIVE, "" if quiet else "".join(f"{state}\n" for state in states)
        if verb == "is-enabled":
            enabled = any(unit.enabled for unit in units)
            return 0 if enabled else 1, "enabled\n" if enabled else "disabled\n"
        if verb == "show":
            if "--property=ActiveState" in args:
                return 0, "".join(f"ActiveState={unit.state()}\n" for unit in units)
            return 0, "".join(f"LoadState=loaded\nActiveState={unit.state()}\n"
                              f"UnitFileState={'enabled' if unit.enabled else 'disabled'}\n" for unit in units)
        for unit in units:
            self.change(verb, unit, now)
        return 0, ""

    @staticmethod
    def change(verb, unit, now):
        was_active = unit.is_active()
        if verb in ("enable", "disable"):
            unit.enabled = verb == "enable"
            verb = {"enable": "start", "disable": "stop"}[verb] if now else ""
        elif verb not in ("start", "stop", "restart", "try-restart"):
            raise AssertionError(f"no stand-in for {verb}")
        if was_active and verb in ("stop", "restart", "try-restart"):
            unit.stop()
        if verb in ("start", "restart") and not unit.is_active() or verb == "try-restart" and was_active:
            unit.start()
