# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of one file run in. Private services start side by side and serve the whole file. Agents and guests
that a test starts end with that test."""
import contextlib

import guest
from agent import Agent
from broker import Broker, broker_for_tests
from ceph import Ceph
from glance import Glance
from libvirtd import Libvirtd


class Environment:
    """A file's own environment names the services that it needs, and may override the hooks."""
    services = ()  # of "broker", "glance", "libvirt", "ceph", "conductor", "kernel" (the tiny guest's)
    own_broker = False  # tests stop or starve it, so a given broker is not used
    glance_options = {}

    def __init__(self, folder, stack):
        self.folder = folder
        self._stack = self._file_stack = stack
        self._pending, self._count = [], 0
        self._file_logs, self._test_logs = [], []
        self.broker = self.glance = self.libvirt = self.ceph = self.conductor = None
        if "ceph" in self.services:
            self.ceph = self._start(Ceph(folder))
        if "broker" in self.services:
            self.broker = self._start(self.make_broker())
        if "libvirt" in self.services:
            self.libvirt = self._start(Libvirtd(folder))
        if "glance" in self.services:
            self.glance = self._start(self.make_glance())
        if "kernel" in self.services:
            guest.build_kernel()

    def _start(self, service):
        self._file_logs.append(service.log)
        self._stack.callback(service.stop)
        service.start(wait=False)
        self._pending.append(service)
        return service

    def wait_services(self):
        """Waits until all services serve. Do what is slow and needs none of them before this."""
        for service in self._pending:
            service.wait()
        self._pending.clear()
        if "conductor" in self.services and not self.conductor:
            from standin_conductor import ConductorStandIn  # it needs oslo.messaging
            self.conductor = self.enter(ConductorStandIn(self.broker.url))

    def make_broker(self):
        """Hook: returns the RabbitMQ to use."""
        return Broker(self.folder) if self.own_broker else broker_for_tests(self.folder)

    def make_glance(self):
        """Hook: returns the Glance to use. One with a store in Ceph needs that first: self.ceph.wait()."""
        return Glance(self.folder, **self.glance_options)

    def set_up(self):
        """Hook: makes what the whole file uses."""

    def before_test(self):
        """Hook: brings what the tests share into the state that each test expects."""

    @contextlib.contextmanager
    def test_scope(self):
        """The scope of one test: what is entered in it ends with it."""
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

    def start_beside_agent(self, **more):
        """The same as start_agent, beside a nova-compute, and enabled. What nova-compute would have declared is declared
        here, and nothing consumes it."""
        agent = self.make_agent(mode="beside", **more)
        names = f"compute.{agent.host}", f"novasnap.{agent.host}"
        connection = self.enter(self.broker.connection())
        channel = connection.channel()
        channel.exchange_declare("nova", "topic", durable=False, auto_delete=False)
        channel.queue_declare(names[0], auto_delete=False)
        channel.queue_bind(names[0], "nova", names[0])
        for name in names:
            self.callback(lambda name=name: connection.channel().queue_delete(name))
        self.callback(lambda: connection.channel().exchange_delete(f"nova.{agent.host}"))
        self.enter(agent)
        done = agent.command("beside", "--enable", "--wait", "0", check=False)
        assert done.returncode == 3, done  # only nova-compute's restart is missing
        return agent

    @property
    def logs(self):
        """Returns the logs that are useful when a test has failed."""
        return self._test_logs[-3:] or self._file_logs

    def make_guest(self, **kind):
        """Makes a guest of that kind (see Guest), which is shut off."""
        if self.libvirt in self._pending:
            self.libvirt.wait()
        return self.enter(guest.Guest(self.libvirt, self.folder, **kind))

    def make_agent(self, name="agent", sections=None, **novasnap):
        """Makes an Agent of these services, which does not run yet. `sections`: of its configuration, "url" and other
        arguments of Agent; `novasnap`: keys of the section of that name."""
        self._count += 1
        more = {"broker_url": self.broker and self.broker.url, "glance_url": self.glance and self.glance.url,
                "libvirt_uri": self.libvirt and self.libvirt.uri, **(sections or {})}
        control = {"control": "conductor"} if self.conductor else {}
        more["novasnap"] = {**control, **more.get("novasnap", {}), **novasnap}
        agent = Agent(self.folder, name=f"{name}{self._count}", **more)
        self._test_logs.append(agent.log)
        return agent

    def start_agent(self, *args, **more):
        """The same as make_agent. The agent runs until the end of the test (or file), and must then stop with status 0
        and leave nothing."""
        return self.enter(self.make_agent(*args, **more))


class WriterEnvironment(Environment):
    """An environment with a running guest that writes numbered blocks."""

    def set_up(self):
        self.guest = self.make_guest(writer=True, size_mib=128, data_mib=36)
        self.guest.start()
        self.wait_services()

    def before_test(self):
        self.guest.reset()
        self.guest.wait_writing(1)
