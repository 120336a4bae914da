#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A cast becomes an image by a copy inside Ceph, whose location Glance gets. After every end the disk has no snapshot,
and the copy is the image's or gone. RabbitMQ, libvirt, QEMU, Ceph and Glance with a store in Ceph are real; Glance
stands behind a stand-in for lost and refused requests. The conductor is a stand-in."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import CaseEnvironment  # noqa: E402
from ceph import READ_ONLY_CAPS  # noqa: E402
from images import is_one_instant, rounds_in  # noqa: E402
from rbd_direct import MIB, DirectCase, DirectSite  # noqa: E402

# Seconds after which a request for a location is not answered any more, and will not arrive.
QUICK = {"request_timeout": "3", "saving_timeout": "10", "image_poll_interval": "1"}


class Streamed(DirectCase):
    """A snapshot that cannot be direct."""
    ways = ("stream",)


class InFile(Streamed):
    """The same, in a Glance whose store is a folder."""

    def check_data(self, record, there):
        assert not there, "the copy is left"
        with open(self.glance.file(self.image), "rb") as file:
            assert file.read() == self.ceph.read_image("vms", self.guest.image)


class Writing(DirectCase):
    """A snapshot of a guest that writes numbered blocks."""

    def check_bytes(self):
        path = os.path.join(self.agent.folder, "copy")
        self.ceph.export_file("images", f"{self.image}@snap", path)
        rounds = rounds_in(path, "raw")
        os.remove(path)
        assert is_one_instant(rounds) and max(rounds) > 0, rounds


class Direct(DirectSite, CaseEnvironment):
    services = ("ceph", "broker", "glance", "libvirt", "conductor", "kernel")

    def set_up(self):
        self.libvirt.wait()
        self.set_up_ceph()
        super().set_up()

    def make_guest(self, **kind):
        return self.make_rbd_guest(**{key: kind[key] for key in kind if key not in ("size_mib", "data_mib")})

    def make_agent(self, name="agent", sections=None, user=None, **novasnap):
        return super().make_agent(name, self.agent_sections(sections, user), **{**QUICK, **novasnap})

    def start_glance(self, name, takes_locations=True, **more):
        glance = self.new_glance(name, **more)
        if not takes_locations:
            # A newer one takes a location also by POST, of a service.
            with open(os.path.join(glance.folder, "policy.yaml"), "a") as file:
                file.write('"add_image_location": "!"\n')
        return self.enter(glance)

    def states(self):
        return [state for state, _expected in self.conductor.states()]

    def wait_copying(self, case):
        tap.wait_for("copy", lambda: case.image in self.ceph.images("images"), 30, 0.02)


def task_states(env):
    """The task states that were saved, without saves of other things."""
    return [state for index, state in enumerate(env.states()) if index == 0 or state != env.states()[index - 1]]


def test_a_running_guest(env):
    agent = env.start_agent()
    pid = env.guest.pid()
    case = DirectCase(env, agent).send()
    case.is_whole()
    assert "method direct" in case.said(), case.said()
    assert "its size is that of the disk" in case.said(), case.said()
    assert env.front.puts() == [], env.front.seen
    states = task_states(env)
    assert states.count("image_uploading") == 1 and states[-1] is None, states
    assert env.guest.pid() == pid
    case.forget()


def test_a_guest_that_is_shut_off(env):
    env.guest.set_condition("shut off")
    case = DirectCase(env, env.start_agent()).send()
    case.is_whole()
    assert env.front.puts() == []
    case.forget()


def test_a_guest_that_writes(env):
    """Its disk was never a clone, so the base image tells Glance's pool."""
    guest = env.make_rbd_guest(writer=True, size_mib=96, data_mib=8, parent=None)
    guest.start()
    guest.wait_writing(1)
    case = Writing(env, env.start_agent(), guest, image_ref=env.base).send()
    case.is_whole()
    assert env.front.puts() == []
    guest.wait_writing(1)
    case.forget()


def test_the_manager_flattens(env):
    case = DirectCase(env, env.start_agent(rbd_flatten="mgr")).send()
    case.is_whole()
    assert env.front.puts() == []
    case.forget()


def test_the_base_image_tells_the_pool_of_a_flat_disk(env):
    guest = env.make_guest()
    env.ceph.rbd("flatten", "--no-progress", f"vms/{guest.image}")
    case = DirectCase(env, env.start_agent(), guest, image_ref=env.base).send()
    case.is_whole()
    assert env.front.puts() == []
    case.forget()
    # Of another base image nothing is known.
    other = env.glance.create("other", container_format="bare", disk_format="raw")
    case = Streamed(env, env.start_agent(), guest, image_ref=other).send()
    case.is_whole()
    assert "the pool of Glance's images is unknown" in case.said(), case.said()
    case.forget()
    env.glance.delete(other)


def test_glance_does_not_take_locations(env):
    glance = env.start_glance("strict", takes_locations=False)
    agent = env.start_agent(sections={"glance_url": glance.url})
    case = Streamed(env, agent, glance=glance)
    case.send().is_whole()
    states = task_states(env)
    assert states[-5:] == ["image_pending_upload", "image_uploading", "image_pending_upload", "image_uploading",
                           None], states
    assert agent.text().count("copied inside Ceph") == 1
    # The next one is not copied in vain.
    second = Streamed(env, agent, glance=glance)
    second.send().is_whole()
    assert task_states(env)[-5:] == states[-5:] and agent.text().count("copied inside Ceph") == 1
    case.forget()
    second.forget()


def test_glance_stores_in_a_folder(env):
    glance = env.start_glance("folder", stores={"file": env.folder.make("folder/images")}, multiple_locations=True)
    agent = env.start_agent(sections={"glance_url": glance.url})
    case = InFile(env, agent, glance=glance)
    case.send().is_whole()
    case.forget()


def test_nova_may_not_write_to_glances_pool(env):
    user = env.ceph.users.get("reader") or env.ceph.user("reader", READ_ONLY_CAPS)
    case = Streamed(env, env.start_agent(user=user)).send()
    case.is_whole()
    assert "docs/ceph.md" in case.said(), case.said()
    case.forget()


def test_the_answer_is_lost(env):
    env.front.locations[:] = ["cut-reply"]
    case = DirectCase(env, env.start_agent()).send()
    case.is_whole()
    assert "it is unknown whether image" in case.said(), case.said()
    assert env.front.puts() == [] and env.front.locations == [], env.front.seen
    case.forget()


def test_the_request_is_lost(env):
    """Glance never gets it. The copy is removed when it cannot arrive any more, and the data is uploaded."""
    env.front.locations[:] = [503]
    case = DirectCase(env, env.start_agent())
    case.ways = ("direct", "stream")
    case.send().is_whole()
    assert len(env.front.puts()) == 1, env.front.seen
    case.forget()


def test_the_answer_is_lost_and_glance_is_away(env):
    agent = env.start_agent(finishing_timeout="60")
    env.front.locations[:] = ["cut-reply"]
    case = DirectCase(env, agent).send()
    tap.wait_for("location", lambda: 200 in env.front.location_replies or 202 in env.front.location_replies, 30, 0.02)
    env.front.always = 503
    time.sleep(6)
    assert case.image in env.ceph.images("images"), "the copy was removed"
    env.front.always = None
    case.is_whole()
    case.forget()


def test_killed_before_the_answer(env):
    agent = env.start_agent()
    env.front.locations[:] = ["cut-reply"]
    case = DirectCase(env, agent).send()
    tap.wait_for("location", lambda: 200 in env.front.location_replies or 202 in env.front.location_replies, 30, 0.005)
    agent.kill()
    env.front.always = 503
    agent.start()
    time.sleep(3)
    assert case.image in env.ceph.images("images"), "the copy was removed"
    env.front.always = None
    case.is_whole()
    assert env.front.puts() == [], "the data was uploaded"
    case.forget()


def test_killed_while_it_is_copied(env):
    agent = env.start_agent()
    case = DirectCase(env, agent).send()
    env.wait_copying(case)
    agent.kill()
    agent.start()
    case.is_whole()
    case.forget()


def hold_location(env, agent):
    """Begins a snapshot whose location reaches Glance only when `front.release` is set."""
    env.front.locations[:] = ["hold"] * 4
    case = DirectCase(env, agent).send()
    tap.wait_for("request", lambda: ("POST", f"/v2/images/{case.image}/locations", "hold") in env.front.seen, 30, 0.02)
    return case


def test_cancelled_while_the_location_is_sent(env):
    agent = env.start_agent(request_timeout="30")
    case = hold_location(env, agent)
    agent.command("cancel", case.image)
    case.is_deleted()


def test_the_image_is_deleted_while_the_location_is_sent(env):
    agent = env.start_agent(request_timeout="30")
    case = hold_location(env, agent)
    env.glance.delete(case.image)
    case.faults = 0
    case.is_deleted()


def test_a_location_that_arrives_late(env):
    """The copy was removed, because the image seemed to wait for data. Glance then finds no such data."""
    agent = env.start_agent()
    case = hold_location(env, agent)
    case.ways = ("direct", "stream")
    tap.wait_for("upload", lambda: env.front.puts(), 60)
    env.front.release.set()
    case.is_whole()
    case.forget()


def test_cancelled_while_it_is_copied(env):
    agent = env.start_agent()
    case = DirectCase(env, agent).send()
    env.wait_copying(case)
    agent.command("cancel", case.image)
    case.wait_end()
    assert case.outcome() in ("deleted", "whole"), case.said()
    case.forget()


def test_the_image_is_deleted_by_its_user_after_the_location(env):
    """Glance removes the data."""
    agent = env.start_agent()
    env.front.always_get = "saving"
    case = DirectCase(env, agent).send()
    tap.wait_for("location", lambda: 200 in env.front.location_replies or 202 in env.front.location_replies, 30, 0.02)
    env.glance.wait_active(case.image)
    env.glance.delete(case.image)
    env.front.always_get = None
    case.faults = 0
    case.is_deleted()


def test_the_server_is_deleted_while_it_is_copied(env):
    guest = env.make_guest()
    guest.start()
    agent = env.start_agent()
    case = DirectCase(env, agent, guest).send()
    env.wait_copying(case)
    env.conductor.task_states[guest.uuid] = "gone"
    guest.delete()
    # As nova does, for a minute.
    tap.wait_for("deletion of the disk", guest.delete_disk, 60, 1)
    case.wait_end()
    record = env.glance.get(case.image)
    assert (record is not None) == (case.image in env.ceph.images("images")), record
    assert record is None or record["status"] == "active", record
    case.nothing_left()
    case.forget()
    guest.define()


def test_the_pool_is_full(env):
    agent = env.start_agent()
    env.ceph.set_quota("images", MIB)
    try:
        case = DirectCase(env, agent).send()
        case.wait_failed(120)
    finally:
        env.ceph.set_quota("images", 0)
    case.wait_end(120)
    assert case.outcome() == "deleted", case.said()
    assert "full" in case.said() or "quota" in case.said(), case.said()


def test_ceph_hangs_while_it_copies(env):
    agent = env.start_agent(rbd_timeout="10")
    case = DirectCase(env, agent).send()
    env.wait_copying(case)
    env.ceph.pause_osd()
    try:
        case.wait_failed(120)
        assert "no answer from Ceph within 10 s" in case.said(), case.said()
    finally:
        env.ceph.resume_osd()
    case.wait_end(240)
    assert case.outcome() == "deleted", case.said()


if __name__ == "__main__":
    tap.main(Direct)
