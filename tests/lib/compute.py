# SPDX-License-Identifier: LGPL-2.1-or-later
"""What nova-api and Cinder's drivers send to a compute host, by the real oslo.messaging."""
import json

import oslo_messaging

from oslo_conf import make_conf
from paths import CAST
from standin_cinder import PROJECT

CONTEXT = {"project_id": PROJECT, "user_id": "u1", "roles": ["admin"]}


class Compute:
    """A client of one compute host."""

    def __init__(self, url, host):
        self.transport = oslo_messaging.get_rpc_transport(make_conf(), url)
        self.host = host
        self.context = dict(CONTEXT)
        self.client = self.make_client("6.0")

    def make_client(self, version):
        target = oslo_messaging.Target(exchange="nova", topic="compute", version=version, server=self.host)
        return oslo_messaging.get_rpc_client(self.transport, target, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.transport.cleanup()

    def cast(self, method, **args):
        self.client.cast(self.context, method, **args)

    def call(self, method, **args):
        return self.client.call(self.context, method, **args)


def instance_of(guest, **system_metadata):
    """Returns the instance of the recorded cast, with the uuid of a guest."""
    with open(CAST) as file:
        instance = json.load(file)["args"]["instance"]
    instance["nova_object.data"]["uuid"] = guest.uuid
    instance["nova_object.data"]["system_metadata"].update(system_metadata)
    return instance
