#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The package's scripts for removal and purge, with a real journal: that of a novasnapd which had an open job. They run
in a mount namespace with an empty /run and a /var/lib of its own. That dpkg calls them is in make check-package."""
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from paths import BUILD, CAST, TOP  # noqa: E402

# $1: the folder that stands for /var/lib/novasnap, before and afterwards; $2: the script; $3: its argument.
IN_NAMESPACE = """set -e
mount -t tmpfs none /run
mount -t tmpfs none /var/lib
if [ -e "$1" ]; then cp -a "$1" /var/lib/novasnap; fi
sh "$2" "$3"
rm -rf "$1"
if [ -e /var/lib/novasnap ]; then cp -a /var/lib/novasnap "$1"; fi
"""


class Removal(Environment):
    services = ("broker",)

    def set_up(self):
        self.wait_services()

    def before_test(self):
        """An agent whose conductor never answers, so that its job stays open. `novasnap` in PATH has its
        configuration."""
        self.agent = self.make_agent(sections={"libvirt_uri": "test:///default", "images": self.folder.make("images")},
                                     control="conductor")
        self.bin = self.folder.make(f"bin-{uuid.uuid4().hex[:8]}")
        path = os.path.join(self.bin, "novasnap")
        with open(path, "w") as file:
            file.write(f"#!/bin/sh\nexec {os.path.join(BUILD, 'novasnap')} {' '.join(self.agent.files)} \"$@\"\n")
        os.chmod(path, 0o755)

    def run_script(self, name, argument):
        """Returns what the script says."""
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", IN_NAMESPACE, "sh", self.agent.state,
             os.path.join(TOP, "conf/debian", f"novasnap.{name}"), argument], check=True, capture_output=True,
            text=True, env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"}, timeout=60)
        return done.stdout + done.stderr

    def stop_with_an_open_job(self):
        instance = str(uuid.uuid4())
        with self.agent:
            self.agent.command("send", "snapshot_instance", "--file", CAST, "--instance", instance, "--image",
                               str(uuid.uuid4()))
            tap.wait_for("job", lambda: " open " in self.agent.shown(instance), 20)
            self.agent.kill()
        return instance

    def stop_with_a_leftover(self):
        """A job that has ended while libvirt was away: its guest is still saved."""
        instance = str(uuid.uuid4())
        with self.agent:
            pass  # makes the journal
        with contextlib.closing(sqlite3.connect(os.path.join(self.agent.state, "journal/journal.db"))) as db:
            job = db.execute(
                "INSERT INTO jobs (method, instance, message, runs, came_at, ended_at, reason) "
                "VALUES ('snapshot_instance', ?, '{}', 1, ?, ?, 'libvirt was away')",
                (instance, int(time.time()), int(time.time()))).lastrowid
            db.execute("INSERT INTO steps (job, name, undo, at) VALUES (?, 'save', '{\"paused\":false}', 1)", (job,))
            db.commit()
        return instance

    def has(self, name):
        return os.path.exists(os.path.join(self.agent.state, name))


def test_open_jobs_are_named_and_their_journal_is_kept(env):
    instance = env.stop_with_an_open_job()
    said = env.run_script("prerm", "remove")
    assert instance in said and "install novasnap again" in said, said
    assert "keeping /var/lib/novasnap" in env.run_script("postrm", "purge")
    assert instance in env.agent.shown(instance)


def test_the_journal_of_an_ended_job_with_an_open_step_is_kept(env):
    instance = env.stop_with_a_leftover()
    said = env.run_script("prerm", "remove")
    assert instance in said and "1 step still to be rolled back" in said and "install novasnap again" in said, said
    assert "keeping /var/lib/novasnap" in env.run_script("postrm", "purge")
    assert instance in env.agent.shown(instance)
    jobs = [json.loads(line) for line in env.agent.command("jobs", "--open", "--json").stdout.splitlines()]
    assert [(job["instance"], job["state"], job["leftover"], job["open_steps"]) for job in jobs] == \
        [(instance, "failed", True, 1)], jobs
    # Nobody would undo the step once novasnapd is stopped.
    done = env.agent.command("beside", "--disable", "--wait", "0", check=False)
    assert done.returncode == 3 and "has not undone all steps of 1 request that has ended" in done.stderr, done


def test_the_journal_of_jobs_that_have_ended_is_purged(env):
    with env.agent:
        pass
    assert env.has("journal/journal.db")
    # One of an earlier removal.
    with open(os.path.join(env.agent.state, "open-jobs"), "w"):
        pass
    assert env.run_script("prerm", "remove") == ""
    env.run_script("postrm", "purge")
    assert not os.path.exists(env.agent.state)


def test_a_journal_that_cannot_be_read_is_kept(env):
    """Whether jobs are open is then unknown."""
    env.stop_with_an_open_job()
    journal = os.path.join(env.agent.state, "journal")
    for path in (env.agent.conf, os.path.join(journal, "journal.db")):
        if os.path.exists(f"{path}-wal"):
            os.remove(f"{path}-wal")
        shutil.copy(path, f"{path}.saved")
        with open(path, "w") as file:
            file.write("neither a database nor a configuration\n" * 100)
        said = env.run_script("prerm", "remove")
        assert "cannot be read" in said, said
        assert "keeping /var/lib/novasnap" in env.run_script("postrm", "purge")
        assert env.has("journal/journal.db")
        os.replace(f"{path}.saved", path)
        os.remove(os.path.join(env.agent.state, "open-jobs"))


def test_an_upgrade_says_nothing(env):
    env.stop_with_an_open_job()
    assert env.run_script("prerm", "upgrade") == ""
    assert not env.has("open-jobs")


if __name__ == "__main__":
    tap.main(Removal)
