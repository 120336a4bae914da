# SPDX-License-Identifier: LGPL-2.1-or-later
"""A cluster of three RabbitMQs."""
import os
import secrets
import shutil

from broker import Broker
from process import end, spawn


class _Node(Broker):
    def _start_epmd(self):
        """All nodes use the cluster's."""


class Cluster:
    def __init__(self, folder, options=()):
        self.nodes = [_Node(folder, options=options, name=f"rabbit{number}") for number in range(3)]
        self.epmd = self.nodes[0].epmd
        self.log = os.path.join(self.nodes[0].folder, "epmd.log")
        self.process = None
        cookie = secrets.token_hex(16)
        for node in self.nodes:
            node.env["ERL_EPMD_PORT"] = str(self.epmd)
            self._write(node, ".erlang.cookie", cookie, 0o400)
            with open(os.path.join(node.folder, "rabbitmq.conf"), "a") as conf:
                conf.write("cluster_formation.peer_discovery_backend = classic_config\n")
                conf.writelines(f"cluster_formation.classic_config.nodes.{number} = {each.node}\n"
                                for number, each in enumerate(self.nodes, 1))
        self.url = "rabbit://" + ",".join(f"guest:guest@127.0.0.1:{node.port}" for node in self.nodes) + "/"

    @staticmethod
    def _write(node, name, text, mode):
        path = os.path.join(node.folder, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        shutil.chown(path, "rabbitmq", "rabbitmq")

    def start(self):
        self.process = spawn(["epmd", "-port", str(self.epmd), "-address", "127.0.0.1"], self.log)
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait()
        self.nodes[0].ctl("await_online_nodes", "3")

    def stop(self):
        for node in self.nodes:
            if node.is_up():
                node.stop()
        end(self.process)
        self.process = None
