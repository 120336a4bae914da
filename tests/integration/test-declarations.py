#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnapd and the real oslo.messaging share a RabbitMQ in each queue layout that this oslo.messaging knows
(tests/lib/layouts.py), on a RabbitMQ that permits transient queues and, since 3.12, on one that denies them. Both start
in both orders, on a fresh vhost and on one with the queues of another layout. What novasnapd leaves is what a
nova-compute leaves. libvirt is its test driver."""
import concurrent.futures
import contextlib
import itertools
import json
import os
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from broker import Broker, installed_version  # noqa: E402
from environment import Environment  # noqa: E402
from layouts import SECTION, known_layouts  # noqa: E402
from nova_service import NovaService, configure, forget_queue_manager  # noqa: E402
from paths import CAST, TOP  # noqa: E402
from process import end, spawn  # noqa: E402
from standin_conductor import ConductorStandIn  # noqa: E402

LAYOUTS = known_layouts()
DENYING = ["deprecated_features.permit.transient_nonexcl_queues = false"]
DENIES = installed_version() >= (3, 12)  # whether this RabbitMQ can deny a feature
HOST, OSLO_HOST = "ours", "theirs"
NUMBERS = itertools.count(1)  # of agents, whose names are short because their sockets' are


class Declarations(Environment):
    services = ("broker",)
    own_broker = True

    def make_broker(self):
        return Broker(self.folder, management=True)

    def set_up(self):
        self.denying = None
        if DENIES:
            self.denying = self._start(Broker(self.folder, management=True, options=DENYING, name="denying"))
        self.images = self.folder.make("images")
        # Beside the tests, since it takes as long as half of them.
        self.recorded = self.folder.make("recorded")
        self.recorder = spawn([os.path.join(TOP, "tests/tools/record-declarations.py"), self.recorded],
                              self.folder.file("recorder.log"))
        self.callback(end, self.recorder)


class Host:
    """A vhost of its own, on which a nova-compute, a novasnapd and a nova-api have the options of a layout."""

    def __init__(self, env, broker, layout, case):
        self.env, self.broker, self.layout = env, broker, layout
        self.vhost = f"{layout}-{case}-{uuid.uuid4().hex[:4]}"
        self.url = broker.add_vhost(self.vhost)

    def other(self, layout):
        """Returns the same vhost for services with another layout."""
        host = Host.__new__(Host)
        host.__dict__.update(self.__dict__, layout=layout)
        return host

    def service(self, **more):
        return NovaService(self.env.folder, self.url, LAYOUTS[self.layout], **more)

    def options_of(self, process):
        """Of another service than the nova-compute, which must not share the names of its queues."""
        options = LAYOUTS[self.layout]
        return {**options, "processname": process} if "processname" in options else options

    @contextlib.contextmanager
    def oslo(self):
        """A nova-compute that has just started. The counter of a queue manager begins again."""
        with self.service(host=OSLO_HOST) as service:
            if service.manager:
                forget_queue_manager(service.manager)
            service.serve()
            yield service

    def ours(self):
        return self.env.make_agent(f"d{next(NUMBERS)}-", sections={
            "broker_url": self.url, "libvirt_uri": "test:///default", "images": self.env.images, "glance_url": None,
            "DEFAULT": {"host": HOST}, SECTION: LAYOUTS[self.layout]}, control="conductor")

    @contextlib.contextmanager
    def conductor(self):
        conf, manager = configure(self.env.folder, self.url, self.options_of("nova-conductor"), "nova-conductor")
        with ConductorStandIn(self.url, conf) as conductor:
            yield conductor
        if manager:
            forget_queue_manager(manager)

    def api(self):
        return NovaService(self.env.folder, self.url, self.options_of("nova-api"), topic="nova-api", host="controller",
                           process="nova-api")

    def objects(self):
        """Returns the shared objects as they are, and each kind of private queue, without its own part of the name.
        Those of the conductor are left out, and the queue of exclusive mode, which no service of nova has."""
        exchanges, queues, bindings = self.broker.objects(self.vhost)
        return {
            *(("exchange", each["name"], each["type"], each["durable"], each["auto_delete"], text(each["arguments"]))
              for each in exchanges if not is_left_out(each["name"])),
            *(("queue", public(each["name"]), each["durable"], each["auto_delete"], each["exclusive"],
               text(each["arguments"])) for each in queues if not is_left_out(each["name"])),
            *(("binding", each["source"], public(each["destination"]), public(each["routing_key"]),
               text(each["arguments"])) for each in bindings if not is_left_out(each["destination"]))}


def is_left_out(name):
    return name.split(".")[0].split("_")[0] == "conductor" or name.startswith("novasnap.unhandled.")


def text(arguments):
    return json.dumps(arguments, sort_keys=True)


def public(name):
    """Replaces what is private of a name, or of its host."""
    for prefix in ("reply_", "compute_fanout_"):
        if name.startswith(prefix):
            return prefix + "<id>"
    return name.replace(f".{OSLO_HOST}", ".<host>").replace(f".{HOST}", ".<host>")


def word():
    return f"test_{uuid.uuid4().hex}"


def served_by_oslo(api, service):
    method = word()
    api.cast("compute", OSLO_HOST, method)
    tap.wait_for("cast for the nova-compute", lambda: method in service.endpoint.called, 20)
    method = word()
    assert api.call("compute", OSLO_HOST, method) == method


def served_by_ours(api, agent):
    method = word()
    api.cast("compute", HOST, method)
    tap.wait_for("cast for novasnapd", lambda: f"the cast {method} " in agent.text(), 20)
    # It answers what it does not support.
    try:
        api.call("compute", HOST, word())
    except Exception as error:
        assert "NoSuchMethod" in f"{type(error)} {error}", error
    else:
        raise AssertionError("novasnapd has the method")


def fanout_arrives(api, service=None, agent=None):
    method = word()
    api.fanout("compute", method)
    if service:
        tap.wait_for("fanout cast for the nova-compute", lambda: method in service.endpoint.called, 20)
    if agent:
        tap.wait_for("fanout cast for novasnapd", lambda: f"the cast {method} " in agent.text(), 20)


def all_serve(api, service, agent):
    served_by_oslo(api, service)
    served_by_ours(api, agent)
    fanout_arrives(api, service, agent)
    # One of the two gets what is for any host.
    method = word()
    api.cast("compute", None, method)
    tap.wait_for("cast for any host", lambda: method in service.endpoint.called or
                 f"the cast {method} " in agent.text(), 20)


def oslo_serves(host, api):
    with host.oslo() as service:
        served_by_oslo(api, service)
        fanout_arrives(api, service)


def serve_on_used(api, service, agent):
    """Both get what is for their host, and novasnapd the fanouts. Returns whether the nova-compute gets those: where a
    queue has other arguments, oslo.messaging 16 opens its channel again without the prefetch that a stream demands."""
    served_by_oslo(api, service)
    served_by_ours(api, agent)
    fanout_arrives(api, agent=agent)
    try:
        fanout_arrives(api, service)
    except AssertionError:
        return False
    return True


def oslo_first(host):
    """Returns what a nova-compute alone leaves."""
    with host.oslo() as service:
        # Its client's and its notifications' declarations, too.
        method = word()
        assert service.call("compute", OSLO_HOST, method) == method
        service.notify("info", "error")
        left = host.objects()
        with host.api() as api:
            with host.ours() as agent:
                all_serve(api, service, agent)
                service.close()
                with host.oslo() as again:
                    all_serve(api, again, agent)
            oslo_serves(host, api)
    return left


def ours_first(host):
    """Returns what novasnapd alone leaves."""
    with host.ours() as agent:
        started = host.objects()
        with host.conductor() as conductor:
            with open(CAST) as file:
                message = json.load(file)
            conductor.task_states[message["args"]["instance"]["nova_object.data"]["uuid"]] = "image_snapshot_pending"
            host.broker.publish(message, f"compute.{HOST}", vhost=host.vhost)
            tap.wait_for("notification of the failure", lambda: any(
                each[0] == "binding" and each[2] == "versioned_notifications.error" for each in host.objects()))
        left = host.objects()
        assert started <= left, started - left
        with host.api() as api:
            with host.oslo() as service:
                all_serve(api, service, agent)
            agent.stop()
            oslo_serves(host, api)
            # On the broker that it has used before.
            agent.start()
            with host.oslo() as service:
                all_serve(api, service, agent)
    return left


def leave_queues(host):
    """Has a nova-compute and a nova-api work on the vhost, and end."""
    with host.api() as api:
        oslo_serves(host, api)


@contextlib.contextmanager
def oslo_if_it_can(host):
    """The same as Host.oslo, or None where the broker refuses what this nova-compute declares."""
    with contextlib.ExitStack() as stack:
        try:
            service = stack.enter_context(host.oslo())
        except Exception as error:  # of oslo.messaging or of py-amqp
            service = None
            print(f"# {host.vhost}: a nova-compute cannot serve: {str(error).split('tries: ')[-1]}", flush=True)
        yield service


def used_oslo_first(host, before):
    """`before`: the layout of the services that used the vhost. Returns whether a nova-compute can serve there now, and
    whether it gets fanouts."""
    leave_queues(host.other(before))
    gets_fanouts = False
    with oslo_if_it_can(host) as service:
        if service:
            with host.api() as api:
                with host.ours() as agent:
                    gets_fanouts = serve_on_used(api, service, agent)
                service.close()
                with host.oslo() as again:
                    served_by_oslo(api, again)
        return bool(service), gets_fanouts


def used_ours_first(host, before):
    """Returns whether a nova-compute can serve after novasnapd has started, whether it gets fanouts, and what novasnapd
    has added."""
    leave_queues(host.other(before))
    gets_fanouts = False
    found = host.objects()
    agent = host.ours()
    agent.start(wait=False)
    try:
        tap.wait_for("attempt to consume", lambda: not agent.is_running() or any(
            words in agent.text() for words in (" ready after ", "cannot consume")))
        now = host.objects()
        with oslo_if_it_can(host) as service:
            if service:
                with host.api() as api:
                    gets_fanouts = serve_on_used(api, service, agent)
    finally:
        assert agent.stop() == 0, agent.text()[-3000:]
    with oslo_if_it_can(host) as service:
        assert found <= now, f"gone: {found - now}"
        return (bool(service), gets_fanouts), now - found


def denied(host):
    """novasnapd meets a RabbitMQ that denies what its layout needs. A nova-compute cannot serve there. novasnapd serves
    if only its own queues are denied, and says why not if it cannot. It declares no fanout exchange, whose arguments
    would keep the services of a layout that this RabbitMQ permits from serving."""
    agent = host.ours()
    agent.start(wait=False)
    try:
        with host.api() as api:
            if has_durable_topics(host.layout):
                method = word()
                tap.wait_for("novasnapd", lambda: " ready after " in agent.text())
                api.cast("compute", HOST, method)
                tap.wait_for("cast for novasnapd", lambda: f"the cast {method} " in agent.text(), 20)
            else:
                tap.wait_for("words on it", lambda: "this broker denies transient queues" in agent.text())
            left = host.objects()
            assert not any(name == "compute_fanout" for _kind, name, *_ in left), left
    finally:
        assert agent.stop() == 0, agent.text()[-3000:]


def in_parallel(*cases):
    """Runs functions side by side. Returns what each returns, or raises the exception of the first that failed."""
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        futures = [pool.submit(*case) for case in cases]
        return [future.result() for future in futures]


def same(ours, theirs):
    assert ours == theirs, (f"only ours: {sorted(map(str, ours - theirs))}; "
                            f"only oslo's: {sorted(map(str, theirs - ours))}")


def share(env, layout, before):
    """`before`: the layouts of services that have used a vhost before."""
    def cases(broker, name=""):
        return ((oslo_first, Host(env, broker, layout, f"oslo-first{name}")),
                (ours_first, Host(env, broker, layout, f"ours-first{name}")))
    used = [case for each in before for case in (
        (used_oslo_first, Host(env, env.broker, layout, f"oslo-first-after-{each}"), each),
        (used_ours_first, Host(env, env.broker, layout, f"ours-first-after-{each}"), each))]
    on_denying = cases(env.denying, "-denied") if env.denying and not needs_transient(layout) else ()
    if env.denying and needs_transient(layout):
        used.append((denied, Host(env, env.denying, layout, "denied")))
    theirs, ours, *more = in_parallel(*cases(env.broker), *used, *on_denying)
    same(ours, theirs)
    if on_denying:
        *more, theirs_denied, ours_denied = more
        same(theirs_denied, theirs)
        same(ours_denied, theirs)
    for each, can, (still_can, added) in zip(before, more[::2], more[1::2]):
        assert can == still_can, (f"after {each}: a nova-compute serves, and gets fanouts: {can}; after novasnapd, too: "
                                  f"{still_can}")
        assert added <= theirs, f"after {each}: added {added - theirs}"


def has_durable_topics(layout):
    return "true" in (LAYOUTS[layout].get(name) for name in ("rabbit_quorum_queue", "amqp_durable_queues"))


def needs_transient(layout):
    """Returns whether its services need queues that are neither durable nor exclusive."""
    return not has_durable_topics(layout) or LAYOUTS[layout].get("rabbit_transient_quorum_queue") != "true"


def layout_test(layout, before):
    def test(env):
        share(env, layout, before)
    test.__name__ = f"test_{layout.replace('-', '_')}"
    return test


def layout_tests():
    """Each layout is also used after the defaults and after the one before it in the list, which resembles it."""
    names = list(LAYOUTS)
    return [layout_test(layout, [each for each in dict.fromkeys((names[0], names[max(0, number - 1)]))
                                 if each != layout]) for number, layout in enumerate(names)]


def test_the_recordings_are_of_this_oslo(env):
    """tests/data/declarations is what the installed oslo.messaging declares."""
    status = env.recorder.wait(300)
    with open(env.folder.file("recorder.log")) as log:
        assert status == 0, log.read()
    names = os.listdir(env.recorded)
    assert len(names) == len(LAYOUTS), names
    for name in names:
        new, kept = read(env.recorded, name), read(TOP, "tests/data/declarations", name)
        # A later version of the same release may declare the same.
        assert {**new, "oslo": None} == {**kept, "oslo": None}, name


def read(*path):
    with open(os.path.join(*path)) as file:
        return json.load(file)


if __name__ == "__main__":
    tap.main(Declarations, [*layout_tests(), test_the_recordings_are_of_this_oslo])
