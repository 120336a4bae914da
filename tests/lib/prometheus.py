# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private Prometheus and a private node_exporter, of Debian's packages, that read what agents of a test give out."""
import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from process import end, free_port, spawn, wait_port

SCRAPE_S = 1


class NodeExporter:
    """Only its textfile collector, as most hosts run it: with the metrics of its own process."""
    def __init__(self, folder, textfiles):
        self.textfiles, self.port, self.process = textfiles, free_port(), None
        self.log = os.path.join(folder.make(f"node-exporter{self.port}"), "node-exporter.log")

    def __enter__(self):
        self.process = spawn(["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{self.port}",
                              "--collector.disable-defaults", "--collector.textfile",
                              f"--collector.textfile.directory={self.textfiles}"], self.log)
        wait_port(self.port, self.process, "node_exporter", self.log)
        return self

    def __exit__(self, *_):
        end(self.process)


class Prometheus:
    def __init__(self, folder, targets, rules=(), nodes=()):
        """`targets`: host and port of each agent's endpoint. `rules`: files with rules. `nodes`: host and port of each
        node_exporter."""
        self.port, self.process = free_port(), None
        self.folder = folder.make(f"prometheus{self.port}")  # with only what this one has recorded
        self.log = os.path.join(self.folder, "prometheus.log")
        self.conf = os.path.join(self.folder, "prometheus.yml")
        with open(self.conf, "w") as file:
            json.dump({"global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
                       "rule_files": list(rules),
                       "scrape_configs": [{"job_name": "novasnap", "static_configs": [{"targets": targets}]},
                                          {"job_name": "node", "static_configs": [{"targets": list(nodes)}]}]}, file)

    def start(self):
        self.process = spawn(["prometheus", f"--config.file={self.conf}", f"--storage.tsdb.path={self.folder}/data",
                              f"--web.listen-address=127.0.0.1:{self.port}"], self.log)
        wait_port(self.port, self.process, "prometheus", self.log)
        until = time.monotonic() + 60
        while not self._is_ready():
            if time.monotonic() > until:
                raise RuntimeError(f"prometheus did not become ready; see {self.log}")
            time.sleep(0.1)

    def _is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=20):
                return True
        except urllib.error.HTTPError:
            return False

    def stop(self):
        end(self.process)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def ask(self, path, **parameters):
        """Returns the data of an answer of its HTTP API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=20) as reply:
            return json.load(reply)["data"]

    def query(self, expression):
        """Returns the series of an expression, each as its labels and its value."""
        found = self.ask("query", query=expression)
        return [(series["metric"], float(series["value"][1])) for series in found["result"]]

    def range(self, expression, begin, stop, step=1):
        """Returns [(labels, [(time, value)])]."""
        found = self.ask("query_range", query=expression, start=begin, end=stop, step=step)
        return [(series["metric"], [(at, float(value)) for at, value in series["values"]])
                for series in found["result"]]


def promtool(*arguments, text=None):
    return subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, timeout=60)
