# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnapd with a configuration and folders of its own, and novasnap with the same configuration."""
import os
import subprocess
import time
import uuid

from paths import BUILD, CAST
from process import end, running_in, spawn

# Sections with which a running guest is saved for a snapshot.
NO_LIVE_SNAPSHOT = {"workarounds": {"disable_libvirt_livesnapshot": "true"}}


def write_sections(path, sections, mode="w"):
    """Writes a configuration file of section -> key -> value."""
    with open(path, mode) as file:
        for section, keys in sections.items():
            file.write(f"[{section}]\n")
            file.writelines(f"{key} = {value}\n" for key, value in keys.items())


class Agent:
    def __init__(self, folder, broker_url=None, glance_url=None, images=None, libvirt_uri=None, name="agent",
                 retries=3, base=None, **sections):
        """`images`: the folder of a directory store, where there is no `glance_url`. `retries`: of uploads. `base`: a
        configuration that is read first, and has everything that is not in `sections`."""
        self.folder = folder.make(name)
        self.host = sections.get("DEFAULT", {}).get("host", f"h{uuid.uuid4().hex[:8]}")
        self.log = os.path.join(self.folder, "novasnapd.log")
        self.conf = os.path.join(self.folder, "novasnap.conf")
        self.snapshots = sections.get("libvirt", {}).get("snapshots_directory") or folder.make(f"{name}/snapshots")
        self.scratch = os.path.join(os.path.dirname(self.snapshots), "novasnap-scratch")
        self.state = os.path.join(self.folder, "state")
        self.run_dir = os.path.join(self.folder, "run")
        self.images = images
        self.process, self.pids = None, set()  # of all its processes, also of those that have ended
        self.programs, self.run_as = BUILD, []
        self.files = [*(["--config-file", base] if base else []), "--config-file", self.conf]
        config = {"DEFAULT": {"debug": "true"},
                  "novasnap": {"mode": "exclusive", "report_state": "false", "state_dir": self.state,
                               "run_dir": self.run_dir}}
        if not base:
            config["DEFAULT"].update(transport_url=broker_url, host=self.host)
            config["oslo_messaging_notifications"] = {"driver": "messagingv2"}
            config["notifications"] = {"notification_format": "both"}
            config["libvirt"] = {"snapshots_directory": self.snapshots}
            config["novasnap"]["control"] = "none"
            if libvirt_uri:
                config["libvirt"]["connection_uri"] = libvirt_uri
            if glance_url:
                config["glance"] = {"api_servers": glance_url, "num_retries": str(retries)}
            else:
                config["novasnap"].update(images="directory", images_dir=images)
        for section, keys in sections.items():
            config.setdefault(section, {}).update(keys)
        write_sections(self.conf, config)

    def configure(self, section, **keys):
        """Adds to the configuration, before the start."""
        write_sections(self.conf, {section: keys}, "a")

    def start(self, env=None, wait=True):
        """Starts it and waits until it is ready. Raises RuntimeError if it ends before."""
        before = len(self.text())
        self.process = spawn([*self.run_as, os.path.join(self.programs, "novasnapd"), *self.files], self.log, env)
        self.pids.add(self.process.pid)
        until = time.monotonic() + 60
        while wait and " ready after " not in self.text()[before:]:
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"novasnapd did not come up:\n{self.text()[-3000:]}")
            time.sleep(0.02)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def text(self):
        """Returns the log of all its processes."""
        try:
            with open(self.log, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def stop(self):
        """Stops it by SIGTERM. Returns the exit status."""
        status = end(self.process, 90)
        self.process = None
        return status

    def kill(self):
        """Kills it by SIGKILL, which it cannot handle."""
        self.process.kill()
        self.process.wait(20)
        self.process = None

    def left(self):
        """Returns what is in the folders that are empty when nothing is under way, and the programs that its processes
        started."""
        files = [os.path.join(folder, name)
                 for folder in (self.snapshots, self.run_dir, self.scratch)
                 if os.path.isdir(folder) for name in os.listdir(folder)]
        if self.images and os.path.isdir(self.images):
            files += [os.path.join(self.images, name) for name in os.listdir(self.images) if name.endswith(".part")]
        return files + [f"{name}, process {pid}" for pid, name in running_in(self.pids) if pid not in self.pids]

    def command(self, *args, check=True, seconds=180, text=None, env=()):
        """Runs novasnap with these arguments. `env`: a command that runs it."""
        return subprocess.run([*env, *self.run_as, os.path.join(self.programs, "novasnap"), *self.files, *args],
                              check=check, capture_output=True, text=True, timeout=seconds, input=text)

    def shown(self, what):
        """Returns the journal's line on the cast of an image (or of an instance, if it has only one), or "" if there is
        none."""
        return "".join(line for line in self.command("jobs", check=False).stdout.split("\n") if what in line)

    def has_ended(self, what):
        """Returns whether the job of an image or an instance has ended, and no step is open."""
        shown = self.shown(what)
        return shown and " open " not in shown and "rolled back" not in shown

    def snapshot(self, instance, *more):
        """Sends the recorded cast for an instance, and waits for the end of its snapshot. Returns the image's id, the
        output, and the exit status."""
        done = self.command("send", "snapshot_instance", "--file", CAST, "--instance", instance,
                            "--watch", "--timeout", "120", *more, check=False)
        return done.stdout.split("\n")[0], done.stdout, done.returncode

    def __enter__(self):
        """Runs until the end of the block. It must then stop with status 0 and leave nothing, unless the block has
        failed."""
        self.start()
        return self

    def __exit__(self, kind, *_):
        running = self.is_running()
        status = self.stop()
        if kind is None and running:
            assert status == 0, f"novasnapd ended with {status}: {self.text()[-3000:]}"
            assert self.left() == [], self.left()
