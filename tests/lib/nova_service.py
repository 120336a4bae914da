# SPDX-License-Identifier: LGPL-2.1-or-later
"""The messaging of a service of nova, by the real oslo.messaging and with the options of a layout: an RPC server, a
client and notifications, as nova.service and nova.rpc set them up."""
import os
import socket
import uuid

import oslo_messaging

from layouts import SECTION
from oslo_conf import make_conf

LIMIT_S = 30
oslo_messaging.set_transport_defaults("nova")  # the control exchange, as nova does


class Endpoint:
    """Has the methods "test_*", which return their name, and keeps the names of those that were called."""
    target = oslo_messaging.Target(version="6.0")

    def __init__(self):
        self.called = []

    def __getattr__(self, name):
        if not name.startswith("test_"):
            raise AttributeError(name)

        def method(_context):
            self.called.append(name)
            return name
        return method


def configure(folder, url, options, process, exchange=None):
    """Returns the configuration of a service, and the names that its queue manager uses: (host, process) or None."""
    manager = None
    if "use_queue_manager" in options:
        from oslo_concurrency import lockutils  # Debian 12's oslo.messaging does without
        lockutils.set_defaults(folder.make("oslo-locks"))
        options = {"hostname": socket.gethostname(), "processname": process, **options}
        manager = options["hostname"], options["processname"]
    path = folder.file(f"oslo-{uuid.uuid4().hex}.conf")
    with open(path, "w") as file:
        # With one thread the methods are called in the order in which the requests arrive.
        file.write(f"[DEFAULT]\ntransport_url = {url}\nexecutor_thread_pool_size = 1\n")
        if exchange:
            file.write(f"control_exchange = {exchange}\n")
        file.write("[oslo_messaging_notifications]\ndriver = messagingv2\n")
        file.write(f"[{SECTION}]\n")
        file.writelines(f"{name} = {value}\n" for name, value in options.items())
    return make_conf(path), manager


class NovaService:
    """A service with one transport for all that it does. It serves after serve(); close() ends it.

    `options`: of [oslo_messaging_rabbit]. `exchange`: [DEFAULT]control_exchange, if it is not nova's. `folder`: for its
    configuration, and for the locks of the queue manager."""

    def __init__(self, folder, url, options, topic="compute", host="node1", process="nova-compute", exchange=None):
        self.topic, self.host, self.endpoint = topic, host, Endpoint()
        self.more_endpoints = []
        self.conf, self.manager = configure(folder, url, options, process, exchange)
        self.transport = oslo_messaging.get_rpc_transport(self.conf)
        self.server = self.notifications = None

    def serve(self):
        """Starts its RPC server, whose queues exist when this returns. Raises an exception where the broker refuses
        what it declares."""
        server = oslo_messaging.get_rpc_server(
            self.transport, oslo_messaging.Target(topic=self.topic, server=self.host),
            [self.endpoint, *self.more_endpoints], executor="threading")
        server.start()
        self.server = server
        return self

    def _client(self, topic, **target):
        return oslo_messaging.get_rpc_client(
            self.transport, oslo_messaging.Target(topic=topic, version="6.0", **target), timeout=LIMIT_S)

    def call(self, topic, host, method):
        return self._client(topic, server=host).call({}, method)

    def cast(self, topic, host, method):
        """`host`: None for any host."""
        self._client(topic, server=host).cast({}, method)

    def fanout(self, topic, method):
        self._client(topic, fanout=True).cast({}, method)

    def notify(self, *priorities):
        """Emits a notification of each format, as nova does with notification_format = both."""
        if not self.notifications:
            self.notifications = oslo_messaging.get_notification_transport(self.conf)
        for topic in ("notifications", "versioned_notifications"):
            notifier = oslo_messaging.Notifier(self.notifications, publisher_id=f"{self.topic}.{self.host}",
                                               topics=[topic])
            for priority in priorities:
                getattr(notifier, priority)({}, "compute.instance.snapshot.start", {})

    def close(self):
        """Ends it. It may be called twice."""
        if self.server:
            self.server.stop()
            self.server.wait()
            self.server = None
        for transport in filter(None, (self.transport, self.notifications)):
            transport.cleanup()
        self.transport = self.notifications = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def forget_queue_manager(names):
    """Removes the counter of a queue manager, which starts again when a service starts: its queues get the same
    names."""
    path = "/dev/shm/{}_{}_qmanager".format(*names)
    if os.path.exists(path):
        os.unlink(path)
