# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of one file run in: private services that start side by side and serve the whole file, and agents and
guests. Whatever is entered while a test runs ends with that test; the rest ends with the file."""
import contextlib

import guest
from agent import Agent
from broker import Broker, broker_for_tests
from glance import Glance
from libvirtd import Libvirtd


class Environment:
    """A file's own environment names the services that it needs, and may override the hooks."""
    services = ()  # of "broker", "glance", "libvirt", "conductor", "kernel" (the tiny guest's)
    own_broker = False  # it is stopped or starved: one that is given is not used
    glance_options = {}

    def __init__(self, folder, stack):
        self.folder = folder
        self._stack = self._file_stack = stack
        self._pending, self._count = [], 0
        self._file_logs, self._test_logs = [], []
        self.broker = self.glance = self.libvirt = self.conductor = None
        if "broker" in self.services:
            self.broker = self._start(self.make_broker())
        if "libvirt" in self.services:
            self.libvirt = self._start(Libvirtd(folder))
        if "glance" in self.services:
            self.glance = self._start(Glance(folder, **self.glance_options))
        if "kernel" in self.services:
            guest.build_kernel()

    def _start(self, service):
        self._file_logs.append(service.log)
        self._stack.callback(service.stop)
        service.start(wait=False)
        self._pending.append(service)
        return service

    def wait_services(self):
        """Until all of them serve. What is slow and needs none of them is better done before."""
        for service in self._pending:
            service.wait()
        self._pending.clear()
        if "conductor" in self.services and not self.conductor:
            from standin_conductor import ConductorStandIn  # it needs oslo.messaging
            self.conductor = self.enter(ConductorStandIn(self.broker.url))

    def make_broker(self):
        """Hook: which RabbitMQ it has."""
        return Broker(self.folder) if self.own_broker else broker_for_tests(self.folder)

    def set_up(self):
        """Hook: what is made once for the file."""

    def before_test(self):
        """Hook: brings what the tests share into the state in which each test may find it."""

    @contextlib.contextmanager
    def test_scope(self):
        """While a test runs: what is entered ends with it."""
        self._test_logs.clear()
        try:
            with contextlib.ExitStack() as self._stack:
                yield
        finally:
            self._stack = self._file_stack

    def enter(self, manager):
        return self._stack.enter_context(manager)

    def callback(self, function, *args, **more):
        self._stack.callback(function, *args, **more)

    @property
    def logs(self):
        """Those that are worth a look when a test has failed."""
        return self._test_logs[-3:] or self._file_logs

    def make_guest(self, **kind):
        """A guest of that kind (see Guest), which is shut off."""
        if self.libvirt in self._pending:
            self.libvirt.wait()
        return self.enter(guest.Guest(self.libvirt, self.folder, **kind))

    def make_agent(self, name="agent", sections=None, **novasnap):
        """An Agent of these services, which does not run yet. `sections`: of its configuration, "url" and what else
        Agent takes; `novasnap`: keys of the section of that name."""
        self._count += 1
        more = {"broker_url": self.broker and self.broker.url, "glance_url": self.glance and self.glance.url,
                "libvirt_uri": self.libvirt and self.libvirt.uri, **(sections or {})}
        control = {"control": "conductor"} if self.conductor else {}
        more["novasnap"] = {**control, **more.get("novasnap", {}), **novasnap}
        agent = Agent(self.folder, name=f"{name}{self._count}", **more)
        self._test_logs.append(agent.log)
        return agent

    def start_agent(self, *args, **more):
        """As make_agent; it runs until the end of the test (or file), and must then stop well and leave nothing."""
        return self.enter(self.make_agent(*args, **more))
