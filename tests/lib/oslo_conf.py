# SPDX-License-Identifier: LGPL-2.1-or-later
"""A configuration for the real oslo.messaging, which does not log the connections that a test cuts."""
import logging

from oslo_config import cfg
from oslo_messaging._metrics import client as oslo_metrics

for name in ("oslo", "oslo_messaging", "oslo.messaging", "amqp"):
    logging.getLogger(name).setLevel(logging.CRITICAL)


def make_conf():
    conf = cfg.ConfigOpts()
    conf([])
    # In this release a program has to register these itself.
    conf.register_opts(oslo_metrics.oslo_messaging_metrics, group="oslo_messaging_metrics")
    return conf
