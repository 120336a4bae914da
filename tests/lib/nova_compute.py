# SPDX-License-Identifier: LGPL-2.1-or-later
"""The messaging of a nova-compute, by the real oslo.messaging and nova's own base RPC API: its server, and the report of
its state to the conductor (nova.servicegroup.drivers.db), more often than each ten seconds."""
import threading

import oslo_messaging

from nova_service import NovaService

try:
    from nova.baserpc import BaseRPCAPI
except ImportError:  # the root of the release has no nova
    class BaseRPCAPI:
        target = oslo_messaging.Target(namespace="baseapi", version="1.1")

        def __init__(self, service_name, _backdoor_port):
            self.service_name = service_name

        def ping(self, _context, arg):
            return {"service": self.service_name, "arg": arg}

REPORT_S = 0.5


class NovaCompute(NovaService):
    """Serves and reports when it is entered, and until close(). `serves`: false while it is starting, when it talks only
    to the conductor. `reports`: false with another servicegroup_driver than db. `report_s`: how often it reports."""

    def __init__(self, *args, serves=True, reports=True, report_s=REPORT_S, **more):
        super().__init__(*args, **more)
        self.serves = serves
        self.more_endpoints = [BaseRPCAPI("compute", None)]
        self._stopped = threading.Event()
        self._reports, self._report_s = reports, report_s
        self._reporter = threading.Thread(target=self._report, daemon=True)

    def _report(self):
        client = oslo_messaging.get_rpc_client(self.transport, oslo_messaging.Target(topic="conductor", version="3.0"))
        record = {"nova_object.name": "Service", "nova_object.namespace": "nova", "nova_object.version": "1.22",
                  "nova_object.data": {"host": self.host, "binary": "nova-compute", "topic": self.topic},
                  "nova_object.changes": ["report_count"]}
        while not self._stopped.wait(self._report_s):
            try:
                client.cast({}, "object_action", objinst=record, objmethod="save", args=[], kwargs={})
            except oslo_messaging.MessagingException:
                pass  # the broker is away

    def __enter__(self):
        if self.serves:
            self.serve()
        if self._reports:
            self._reporter.start()
        return self

    def close(self):
        self._stopped.set()
        if self._reporter.is_alive():
            self._reporter.join(30)
        super().close()
