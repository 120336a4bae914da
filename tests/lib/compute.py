# SPDX-License-Identifier: LGPL-2.1-or-later
"""What nova-api and Cinder's drivers send to a compute host, by the real oslo.messaging."""
import json
import logging

import oslo_messaging
from cinder import PROJECT
from oslo_config import cfg
from oslo_messaging._metrics import client as oslo_metrics
from services import CAST

# At the end the broker goes before the client, which says so.
for name in ("oslo", "oslo_messaging", "oslo.messaging", "amqp"):
    logging.getLogger(name).setLevel(logging.CRITICAL)

CONTEXT = {"project_id": PROJECT, "user_id": "u1", "roles": ["admin"]}


class Compute:
    def __init__(self, url, host):
        conf = cfg.ConfigOpts()
        conf([])
        # Left to the program, in this release.
        conf.register_opts(oslo_metrics.oslo_messaging_metrics, group="oslo_messaging_metrics")
        transport = oslo_messaging.get_rpc_transport(conf, url)
        target = oslo_messaging.Target(exchange="nova", topic="compute", version="6.0", server=host)
        self.client = oslo_messaging.get_rpc_client(transport, target, timeout=60)

    def cast(self, method, **args):
        self.client.cast(CONTEXT, method, **args)

    def call(self, method, **args):
        return self.client.call(CONTEXT, method, **args)


def instance_of(guest, **system_metadata):
    """The instance of the recorded cast, for a guest of ours."""
    with open(CAST) as file:
        instance = json.load(file)["args"]["instance"]
    instance["nova_object.data"]["uuid"] = guest.uuid
    instance["nova_object.data"]["system_metadata"].update(system_metadata)
    return instance
