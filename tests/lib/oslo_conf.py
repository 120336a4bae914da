# SPDX-License-Identifier: LGPL-2.1-or-later
"""A configuration for the real oslo.messaging, which does not log the connections that a test cuts."""
import importlib
import logging

from oslo_config import cfg

for name in ("oslo", "oslo_messaging", "oslo.messaging", "amqp"):
    logging.getLogger(name).setLevel(logging.CRITICAL)


def make_conf(*files):
    conf = cfg.ConfigOpts()
    conf([], default_config_files=list(files))
    # oslo.messaging registers these only with the global configuration. Older releases have no tracing.
    for name in ("metrics", "tracing"):
        try:
            client = importlib.import_module(f"oslo_messaging._{name}.client")
        except ModuleNotFoundError:
            continue
        group = f"oslo_messaging_{name}"
        conf.register_opts(getattr(client, group), group=group)
    return conf
