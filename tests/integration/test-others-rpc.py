#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Broker and conductor fail while a snapshot is under way: guest, image and task state must come out right, and the
next cast be served. A private RabbitMQ; the conductor is the stand-in."""
import contextlib
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case, set_up  # noqa: E402
from faulty_glance import FaultyGlance  # noqa: E402
from proxy import Proxy  # noqa: E402
from services import Agent  # noqa: E402

HEARTBEAT = 2
STATES = ["image_snapshot", "image_pending_upload", "image_uploading", None]


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder, broker, glance, _libvirt, guests, conductor = set_up(stack, len(STATES), size_mib=64, data_mib=4)
        guest = guests[0]
        faulty = stack.enter_context(FaultyGlance(glance))

        def make_agent(name, url=broker.url, timeout=2, **rabbit):
            """Whose uploads are held up, where that is asked for."""
            return stack.enter_context(Agent(
                folder, url, faulty.url, name=name, oslo_messaging_rabbit=rabbit,
                DEFAULT={"transport_url": url, "debug": "true", "rpc_response_timeout": str(timeout)},
                novasnap={"control": "conductor"}))
        agent = make_agent("agent", heartbeat_timeout_threshold=str(HEARTBEAT))
        patient = make_agent("patient", timeout=10)

        def upload_begun(which=agent):
            faulty.release.clear()
            faulty.seen.clear()
            faulty.faults[:] = ["hold"]
            case = Case(glance, conductor, which, guest).send()
            tap.wait_for("upload", lambda: faulty.puts() == ["hold"], 30)
            return case

        def ends_well(case):
            faulty.release.set()
            case.is_whole()
            Case(glance, conductor, case.agent, guest).send().is_whole()

        def proxied(*proxies):
            hosts = ",".join(f"guest:guest@127.0.0.1:{proxy.port}" for proxy in proxies)
            return f"rabbit://{hosts}/"

        def test_the_broker_is_killed_and_started_again():
            case = upload_begun(patient)
            broker.kill()
            tap.wait_for("loss", lambda: "connection is lost" in patient.text(), 20)
            broker.start()
            ends_well(case)

        def test_the_broker_hangs_for_longer_than_a_heartbeat():
            tap.wait_for("broker", lambda: agent.command("cancel", guest.uuid, check=False), 20)
            case = upload_begun()
            mark = len(agent.text())
            broker.signal(signal.SIGSTOP)
            try:
                tap.wait_for("loss", lambda: agent.text()[mark:].count("connection is lost") > 1, 30)
            finally:
                broker.signal(signal.SIGCONT)
            ends_well(case)

        def test_a_connection_is_cut_between_publishing_and_its_confirm():
            with Proxy(broker.port) as proxy:
                which = make_agent("cut", proxied(proxy))
                case = upload_begun(which)
                proxy.silence(deaf=True)
                before = len(conductor.states())
                faulty.release.set()
                # Published, and neither confirmed nor answered.
                tap.wait_for("last state", lambda: len(conductor.states()) > before, 20)
                proxy.cut()
                proxy.resume()
                ends_well(case)
                which.stop()

        def test_one_of_two_brokers_dies():
            """Two addresses of one broker stand in for a cluster."""
            with Proxy(broker.port) as other:
                with Proxy(broker.port) as proxy:
                    which = make_agent("two", proxied(proxy, other))
                    case = upload_begun(which)
                ends_well(case)
                assert f"127.0.0.1:{other.port}" in which.text(), which.text()
                which.stop()

        def test_the_broker_blocks_publishers():
            case = upload_begun(patient)
            broker.ctl("set_vm_memory_high_watermark", "0")
            try:
                faulty.release.set()
                time.sleep(6)
                assert not case.has_ended()
            finally:
                broker.ctl("set_vm_memory_high_watermark", "0.4")
            ends_well(case)

        def test_the_conductor_is_away_for_twice_its_timeout():
            case = upload_begun()
            conductor.stop()
            try:
                faulty.release.set()
                time.sleep(4)
                assert not case.has_ended()
            finally:
                conductor.start()
            ends_well(case)

        def test_the_conductor_is_away_when_a_cast_comes():
            conductor.stop()
            timer = threading.Timer(1.5, conductor.start)
            case = Case(glance, conductor, agent, guest)
            timer.start()
            case.send()
            timer.join()
            case.is_whole()

        def test_a_reply_to_each_save_is_late_or_lost():
            late = dict(zip((one.uuid for one in guests), STATES))

            def delay(uuid, wanted):
                if uuid in late and late[uuid] == wanted:
                    del late[uuid]
                    conductor.late = 1
            conductor.before_save = delay
            conductor.late_seconds = 3
            cases = [Case(glance, conductor, agent, one).send() for one in guests]
            for case in cases:
                case.wait_end()
            conductor.before_save = None
            assert not late, late
            for case in cases:
                case.is_whole()

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [agent.log, broker.log])


if __name__ == "__main__":
    sys.exit(main())
