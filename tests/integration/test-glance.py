#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Glance that fails: a real one, behind a proxy for the faults that it does not produce by itself."""
import contextlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import oslo_messaging  # noqa: E402

import tap  # noqa: E402
from compute import Compute, instance_of  # noqa: E402
from faulty_glance import FaultyGlance  # noqa: E402
from guest import Guest, same_content  # noqa: E402
from services import Agent, Folder, Glance, Libvirt, begin, broker_for_tests, free_port  # noqa: E402


def main():
    tap.handle_signals()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(Folder())
        broker = broker_for_tests(folder)
        glance = Glance(folder, size_cap=40 << 20)
        begin(stack, broker, glance)
        stack.enter_context(Libvirt(folder))
        broker.wait()
        glance.wait()
        proxy = stack.enter_context(FaultyGlance(glance))
        guest = stack.enter_context(Guest(folder, size_mib=64, data_mib=16))
        large = stack.enter_context(Guest(folder, size_mib=128, data_mib=64))
        # The first server is nobody's: the next is taken.
        servers = f"http://127.0.0.1:{free_port()},{proxy.url}"
        agent = stack.enter_context(Agent(folder, broker.url, servers, retries=6))
        direct = stack.enter_context(Agent(folder, broker.url, glance.url, name="direct"))

        def send(*more, which=agent, of=guest):
            proxy.seen.clear()
            image = glance.create()
            return which.snapshot(of.uuid, "--image", image, *more)

        def whole(image):
            assert glance.get(image)["status"] == "active"
            assert same_content(glance.file(image), "qcow2", guest.disk, "qcow2")

        def test_503_twice_then_well():
            proxy.faults[:] = [503, 503]
            image, shown, status = send()
            assert status == 0, shown
            assert proxy.puts() == [503, 503, None], proxy.seen
            whole(image)

        def test_503_always_is_a_failure_and_the_image_is_deleted():
            proxy.faults[:] = [503] * 20
            image, shown, status = send()
            proxy.faults.clear()
            assert status == 1 and "503: an injected fault" in agent.text(), shown
            assert glance.get(image) is None

        def test_cut_in_the_body_begins_at_byte_0():
            proxy.faults[:] = ["cut"]
            image, shown, status = send()
            assert status == 0, (shown, agent.text()[-1500:])
            assert proxy.puts()[0] == "cut" and proxy.puts()[-1] is None, proxy.seen
            whole(image)

        def test_a_lost_reply_is_no_second_upload():
            proxy.faults[:] = ["cut-reply"]
            image, shown, status = send()
            assert status == 0, (shown, agent.text()[-1500:])
            assert proxy.puts() == ["cut-reply"], proxy.seen
            whole(image)

        def test_409_an_image_that_has_data_already():
            image = glance.create()
            with open(guest.disk, "rb") as file:
                glance.request("PATCH", f"/v2/images/{image}",
                               [{"op": "replace", "path": "/disk_format", "value": "qcow2"},
                                {"op": "replace", "path": "/container_format", "value": "bare"}],
                               "application/openstack-images-v2.1-json-patch")
                glance.put(image, file.read(4096))
            _image, shown, status = direct.snapshot(guest.uuid, "--image", image)
            assert status == 1 and "409" in shown, shown

        def test_413_an_image_that_is_too_large():
            image, shown, status = send(which=direct, of=large)
            assert status == 1 and "413" in shown, shown
            assert glance.get(image) is None

        def test_five_uploads_hold_up_nothing_but_a_sixth():
            with contextlib.ExitStack() as guests:
                others = [guests.enter_context(Guest(folder, size_mib=32, data_mib=2))
                          for _ in range(7)]
                *busy, waiting, quick = others
                quick.start()
                compute = Compute(broker.url, agent.host)
                proxy.seen.clear()
                proxy.faults[:] = ["hold"] * 5
                sent = [glance.create() for _ in range(6)]
                for image, other in zip(sent, [*busy, waiting]):
                    compute.cast("snapshot_instance", instance=instance_of(other), image_id=image)
                tap.wait_for("five uploads", lambda: len(proxy.puts()) == 5, 60)
                for method, state in (("pause_instance", "paused"), ("unpause_instance", "running"),
                                      ("suspend_instance", "shut off"),
                                      ("resume_instance", "running")):
                    compute.cast(method, instance=instance_of(quick))
                    tap.wait_for(f"{state} guest", lambda state=state: quick.state() == state, 60)
                # A call is answered, with a refusal; and the sixth snapshot still waits for its place.
                try:
                    compute.call("quiesce_instance", instance=instance_of(quick))
                except oslo_messaging.RemoteError as error:
                    assert error.exc_type == "QemuGuestAgentNotEnabled", error
                assert len(proxy.puts()) == 5, proxy.puts()
                proxy.release.set()
                for image in sent:
                    tap.wait_for("active image", lambda image=image:
                                 glance.get(image)["status"] == "active", 90)

        def test_an_image_that_is_deleted_during_its_upload_is_no_failure():
            proxy.release.clear()
            proxy.seen.clear()
            proxy.faults[:] = ["hold"]
            image = glance.create()
            before = agent.text()
            Compute(broker.url, agent.host).cast("snapshot_instance", instance=instance_of(guest),
                                                 image_id=image)
            tap.wait_for("upload", lambda: proxy.puts() == ["hold"], 60)
            glance.request("DELETE", f"/v2/images/{image}")
            proxy.release.set()
            tap.wait_for("end", lambda: f"image {image} went away when uploading"
                         in agent.text()[len(before):], 60)
            assert glance.get(image) is None

        def test_401_without_a_token_of_our_own():
            proxy.faults[:] = [401]
            image, shown, status = send()
            assert status == 1 and "401" in shown, shown
            assert glance.get(image) is None

        def test_glance_goes_away_and_comes_back():
            glance.stop()
            _image, shown, status = direct.snapshot(
                guest.uuid, "--image", "00000000-0000-4000-8000-000000000001")
            assert status == 1 and "127.0.0.1" in shown, shown
            glance.start()
            image, shown, status = send(which=direct)
            assert status == 0, shown
            whole(image)

        tests = [value for name, value in list(locals().items()) if name.startswith("test_")]
        return tap.run(tests, [agent.log, direct.log, glance.log])


if __name__ == "__main__":
    sys.exit(main())
