# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many novasnapds on one machine, each with a host name, a configuration, folders and a journal of its own."""
import contextlib
import os
import sqlite3
import statistics
import time

import meter
from agent import Agent
from process import end

READY, CONSUMES, PUBLISHES = " ready after ", "consuming again at", "publishing again at"


class Fleet:
    def __init__(self, folder, count, broker_url, libvirt_uri, **sections):
        images = folder.make("images")
        self.agents = [Agent(folder, broker_url, images=images, libvirt_uri=libvirt_uri, name=f"agents/h{number:05}",
                             DEFAULT={"host": f"h{number:05}", "debug": "false"}, **sections) for number in range(count)]

    def start(self, limit_s=600):
        """Starts all at once. Returns the seconds until each was ready, in order."""
        began = time.monotonic()
        for agent in self.agents:
            agent.start(wait=False)
        return self.wait_log((READY,), [0] * len(self.agents), began, limit_s)

    def marks(self):
        """Returns where each log ends now, for wait_log."""
        return [os.path.getsize(agent.log) for agent in self.agents]

    def wait_log(self, words, marks, began, limit_s=600):
        """Waits until each log has all of these words after its mark. Returns the seconds since `began`, in order."""
        waiting, done = dict(enumerate(marks)), []
        while waiting:
            for number, mark in list(waiting.items()):
                agent = self.agents[number]
                with open(agent.log, errors="replace") as file:
                    file.seek(mark)
                    text = file.read()
                if all(word in text for word in words):
                    done.append(time.monotonic() - began)
                    del waiting[number]
                elif not agent.is_running():
                    raise RuntimeError(f"{agent.host} has ended:\n{agent.text()[-1000:]}")
            if time.monotonic() - began > limit_s:
                raise RuntimeError(f"{len(waiting)} agents did not log {words} within {limit_s} s, for example:\n"
                                   f"{self.agents[next(iter(waiting))].text()[-1000:]}")
            time.sleep(max(0.1, len(waiting) / 1000))  # reading all the logs takes CPU from the agents
        return done

    def memory(self):
        """Returns the anonymous and the PSS MiB of each."""
        sizes = [meter.memory(agent.process.pid) for agent in self.agents]
        return [size[0] for size in sizes], [size[1] for size in sizes]

    def handles(self):
        """Returns how many threads and descriptors an agent has."""
        counts = {what: [len(os.listdir(f"/proc/{agent.process.pid}/{folder}")) for agent in self.agents]
                  for what, folder in (("threads", "task"), ("descriptors", "fd"))}
        return {what: statistics.median(each) for what, each in counts.items()}

    def cpu(self):
        """Returns the CPU seconds of all."""
        return sum(meter.cpu(agent.process.pid) for agent in self.agents)

    def journaled(self):
        """Returns the ids of all messages in all journals."""
        ids = []
        for agent in self.agents:
            path = os.path.join(agent.state, "journal", "journal.db")
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
                ids += [row[0] for row in journal.execute("SELECT unique_id FROM jobs")]
        return ids

    def open_jobs(self):
        count = 0
        for agent in self.agents:
            path = os.path.join(agent.state, "journal", "journal.db")
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
                count += journal.execute("SELECT count(*) FROM jobs WHERE ended_at IS NULL").fetchone()[0]
        return count

    def stop(self):
        running = [agent.process for agent in self.agents if agent.process]
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process in running:
            end(process, 60)
