#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Uploads into a Glance that fails, refuses or goes away. They are retried from byte 0 and never run twice at the same
time, or they fail and the image is deleted. Glance is real and stands behind a stand-in that injects the faults that it
does not produce by itself. RabbitMQ, libvirt and QEMU are real."""
import json
import os
import re
import sys
import time

import oslo_messaging

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from compute import Compute, instance_of  # noqa: E402
from environment import Environment  # noqa: E402
from images import MIB, qemu_img, same_content  # noqa: E402
from paths import CAST  # noqa: E402
from process import free_port  # noqa: E402
from standin_glance import GlanceStandIn  # noqa: E402
from standin_keystone import KeystoneStandIn  # noqa: E402

LARGEST = 40 * MIB  # image that this Glance takes


class Uploads(Environment):
    services = ("broker", "glance", "libvirt")
    glance_options = {"size_cap": LARGEST}

    def set_up(self):
        self.guest = self.make_guest(size_mib=64, data_mib=16)
        self.wait_services()
        self.front = self.enter(GlanceStandIn(self.glance))

    def before_test(self):
        self.front.reset()
        self.agent = self.start_agent(sections={"glance_url": self.front.url, "retries": 6})

    def send(self, *faults):
        """Sends a snapshot whose uploads meet these faults. Returns the image, the output, and the exit status."""
        self.front.reset(*faults)
        return self.agent.snapshot(self.guest.uuid, "--image", self.glance.create())

    def send_directly(self, guest=None, image=None):
        agent = self.start_agent()
        return agent.snapshot((guest or self.guest).uuid, "--image", image or self.glance.create())

    def check_whole(self, image):
        assert self.glance.get(image)["status"] == "active"
        assert same_content(self.glance.file(image), "qcow2", self.guest.disk, "qcow2")


def test_of_two_servers_the_first_is_away(env):
    servers = f"http://127.0.0.1:{free_port()},{env.front.url}"
    agent = env.start_agent(sections={"glance_url": servers})
    image, shown, status = agent.snapshot(env.guest.uuid, "--image", env.glance.create())
    assert status == 0, (shown, agent.text()[-1500:])
    env.check_whole(image)


def test_a_record_that_glance_takes_at_the_second_try(env):
    """As many refusals as one try takes: the number of retries and one."""
    env.front.reset()
    env.front.patches[:] = [503] * 7
    image, shown, status = env.agent.snapshot(env.guest.uuid, "--image", env.glance.create())
    assert status == 0, (shown, env.agent.text()[-1500:])
    env.check_whole(image)


def test_a_guest_is_not_stopped_while_glance_does_not_take_the_record(env):
    agent = env.start_agent(sections={"glance_url": env.front.url, **NO_LIVE_SNAPSHOT}, cold_method="extract")
    env.guest.start()
    env.front.reset()
    env.front.patches[:] = ["hold"]
    image = env.glance.create()
    agent.command("send", "snapshot_instance", "--file", CAST, "--instance", env.guest.uuid, "--image", image)
    tap.wait_for("the change of the record", lambda: "PATCH" in {command for command, *_ in env.front.seen}, 30)
    time.sleep(2)  # for a managed save, which takes less
    assert env.guest.state() == "running" and not env.guest.is_saved(), agent.text()
    env.front.release.set()
    tap.wait_for("the end", lambda: agent.has_ended(image), 60)
    assert "method extract" in agent.text() and env.guest.state() == "running", agent.text()
    env.guest.virsh("destroy")
    env.check_whole(image)


def test_503_twice(env):
    image, shown, status = env.send(503, 503)
    assert status == 0, shown
    assert env.front.puts() == [503, 503, None], env.front.seen
    env.check_whole(image)


def test_503_always_is_a_failure_and_the_image_is_deleted(env):
    image, shown, status = env.send(*[503] * 20)
    assert status == 1 and "503: an injected fault" in env.agent.text(), shown
    assert env.glance.get(image) is None


def test_after_a_cut_in_the_body_the_upload_begins_at_byte_0(env):
    image, shown, status = env.send("cut")
    assert status == 0, (shown, env.agent.text()[-1500:])
    assert env.front.puts()[0] == "cut" and env.front.puts()[-1] is None, env.front.seen
    env.check_whole(image)


def test_after_a_lost_reply_there_is_no_second_upload(env):
    image, shown, status = env.send("cut-reply")
    assert status == 0, (shown, env.agent.text()[-1500:])
    assert env.front.puts() == ["cut-reply"], env.front.seen
    env.check_whole(image)


def test_409_for_an_image_that_has_data_already(env):
    image = env.glance.create()
    env.glance.request("PATCH", f"/v2/images/{image}",
                       [{"op": "replace", "path": "/disk_format", "value": "qcow2"},
                        {"op": "replace", "path": "/container_format", "value": "bare"}],
                       "application/openstack-images-v2.1-json-patch")
    other = env.folder.file("other.qcow2")
    qemu_img("create", "-q", "-f", "qcow2", other, "1M")
    with open(other, "rb") as file:
        env.glance.put(image, file.read())
    _image, shown, status = env.send_directly(image=image)
    assert status == 1 and "409" in shown, shown


def test_413_for_an_image_that_is_too_large(env):
    large = env.make_guest(size_mib=128, data_mib=64)
    image, shown, status = env.send_directly(large)
    assert status == 1 and "413" in shown and "too large" in shown, shown
    assert env.glance.get(image) is None


def test_only_the_first_upload_waits_for_a_glance_that_does_not_say_continue(env):
    agent = env.start_agent()
    for _ in range(3):
        image, shown, status = agent.snapshot(env.guest.uuid, "--image", env.glance.create())
        assert status == 0, (shown, agent.text()[-1500:])
        env.check_whole(image)
    waited = agent.text().count('has not answered "Expect: 100-continue"')
    assert waited == (0 if env.glance.says_continue() else 1), agent.text()[-3000:]


def test_five_uploads_hold_up_nothing_but_a_sixth(env):
    *busy, waiting, quick = [env.make_guest(size_mib=32, data_mib=2) for _ in range(7)]
    quick.start()
    # The uploads are held until the guest has gone through all states, which takes minutes on a busy machine.
    agent = env.start_agent(sections={"glance_url": env.front.url}, stall_timeout="600")
    compute = env.enter(Compute(env.broker.url, agent.host))
    env.front.reset(*["hold"] * 5)
    sent = [env.glance.create() for _ in range(6)]
    for image, other in zip(sent, [*busy, waiting]):
        compute.cast("snapshot_instance", instance=instance_of(other), image_id=image)
    tap.wait_for("five uploads", lambda: len(env.front.puts()) == 5, 60)
    for method, state in (("pause_instance", "paused"), ("unpause_instance", "running"),
                          ("suspend_instance", "shut off"), ("resume_instance", "running")):
        compute.cast(method, instance=instance_of(quick))
        tap.wait_for(f"{state} guest", lambda: quick.state() == state, 60)
    # A call is answered with a refusal, and the sixth snapshot still waits for its turn.
    try:
        compute.call("quiesce_instance", instance=instance_of(quick))
        raise AssertionError("it was frozen")
    except oslo_messaging.RemoteError as error:
        assert error.exc_type == "QemuGuestAgentNotEnabled", error
    assert len(env.front.puts()) == 5, env.front.puts()
    env.front.release.set()
    for image in sent:
        tap.wait_for("active image", lambda: env.glance.get(image)["status"] == "active", 90)


def test_an_image_that_is_deleted_during_its_upload_is_no_failure(env):
    env.front.reset("hold")
    image = env.glance.create()
    compute = env.enter(Compute(env.broker.url, env.agent.host))
    compute.cast("snapshot_instance", instance=instance_of(env.guest), image_id=image)
    tap.wait_for("upload", lambda: env.front.puts() == ["hold"], 60)
    env.glance.delete(image)
    env.front.release.set()
    tap.wait_for("end", lambda: f"image {image} no longer exists, noticed while uploading" in env.agent.text(), 60)
    assert env.glance.get(image) is None


def test_401_without_a_token_of_our_own(env):
    image, shown, status = env.send(401)
    assert status == 1 and "401" in shown, shown
    assert env.glance.get(image) is None


def test_each_request_has_the_id_of_the_cast(env):
    keystone = env.enter(KeystoneStandIn(nova=("secret", "own"), service=("hidden", "of-service")))
    agent = env.start_agent(sections={
        "glance_url": env.front.url, "keystone_authtoken": keystone.section(),
        "service_user": keystone.section("service", send_service_user_token="true")})
    env.front.reset(503, 401)
    env.front.request_ids.clear()
    _image, shown, status = agent.snapshot(env.guest.uuid, "--image", env.glance.create())
    assert status == 0, (shown, agent.text()[-1500:])
    with open(CAST) as file:
        wanted = json.load(file)["_context_request_id"]
    assert len(env.front.request_ids) >= 6 and set(env.front.request_ids) == {wanted}, env.front.request_ids
    assert len(keystone.request_ids) >= 2 and set(keystone.request_ids) == {wanted}, keystone.request_ids


def test_a_request_without_a_cast_has_an_id_of_its_own(env):
    keystone = env.enter(KeystoneStandIn())
    agent = env.start_agent(sections={"glance_url": env.front.url, "keystone_authtoken": keystone.section()})
    env.front.request_ids.clear()
    agent.command("check", check=False)
    ids = env.front.request_ids + keystone.request_ids
    assert env.front.request_ids and keystone.request_ids and len(set(ids)) == len(ids), ids
    assert all(re.fullmatch("req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each or "") for each in ids), ids


def test_glance_goes_away_and_comes_back(env):
    env.glance.stop()
    try:
        _image, shown, status = env.send_directly(image="00000000-0000-4000-8000-000000000001")
        assert status == 1 and "127.0.0.1" in shown, shown
    finally:
        env.glance.start()
    image, shown, status = env.send_directly()
    assert status == 0, shown
    env.check_whole(image)


if __name__ == "__main__":
    tap.main(Uploads)
