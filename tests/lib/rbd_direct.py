# SPDX-License-Identifier: LGPL-2.1-or-later
"""Direct snapshots of guests whose disks are in Ceph, as clones of an image of Glance, whose store is in the same
cluster."""
import os

from case import Case
from ceph import GLANCE_CAPS, NOVA_CAPS
from compute import Compute, instance_of
from glance import Glance
from rbd_guest import RbdGuest

MIB = 1 << 20


class DirectCase(Case):
    """A cast of such a guest."""
    ways = ("direct",)  # in which the image may get its data: direct, stream

    def __init__(self, env, agent, guest=None, glance=None, image_ref=None):
        """`glance`: another one than the environment's. `image_ref`: of the instance's base image."""
        self.ceph, self.broker_url, self.image_ref = env.ceph, env.broker.url, image_ref
        self.other_glance = glance
        super().__init__(env, agent, guest)

    def make_image(self):
        self.glance = self.other_glance or self.glance
        return self.glance.create("case", container_format="bare", disk_format="qcow2", instance_uuid=self.guest.uuid)

    def send(self):
        if not self.image_ref:
            return super().send()
        instance = instance_of(self.guest)
        instance["nova_object.data"]["image_ref"] = self.image_ref
        with Compute(self.broker_url, self.agent.host) as compute:
            compute.cast("snapshot_instance", image_id=self.image, instance=instance)
        return self

    def check_guest(self):
        assert self.guest.state() == self.state, self.guest.state()
        assert not self.guest.has_job()
        assert self.guest.definition() == self.definition
        assert self.guest.snapshots() == [], self.guest.snapshots()

    def nothing_left(self):
        super().nothing_left()
        assert self.ceph.tasks() == [], self.ceph.tasks()
        assert self.ceph.trash("images") == [] == self.ceph.trash("vms")

    def check_image(self):
        record = self.glance.get(self.image)
        there = self.image in self.ceph.images("images")
        if record is None:
            assert not there, "the copy is left"
            return "deleted"
        assert record["status"] == "active" and record["disk_format"] == "raw", record
        self.check_data(record, there)
        return "whole"

    def check_data(self, record, there):
        """Checks an image whose data is in Ceph."""
        assert there, "the copy is gone"
        if "locations" in record:
            urls = [each["url"] for each in record["locations"]]
            assert urls == [self.ceph.location("images", self.image)], urls
        info = self.ceph.info("images", self.image)
        assert "parent" not in info, info
        assert record["size"] == info["size"] == self.ceph.info("vms", self.guest.image)["size"], (record, info)
        assert self.ceph.snapshots("images", self.image) == {"snap": True}
        assert self.ceph.children("images", self.image) == []
        self.check_bytes()
        ways = "stream" if "method stream" in self.agent.text()[self.mark:] else "direct"
        assert ways in self.ways, self.said()

    def check_bytes(self):
        assert (self.ceph.hash_image("images", f"{self.image}@snap") ==
                self.ceph.hash_image("vms", self.guest.image)), "the image is not the disk"

    def forget(self):
        super().forget()
        assert self.image not in self.ceph.images("images"), "Glance has left the data"


class DirectSite:
    """What an environment with "ceph", "glance" and "libvirt" needs for them; a base class beside the environment's."""

    def make_glance(self):
        self.ceph.wait()
        self.glance_user = self.ceph.user("glance", GLANCE_CAPS)
        return self.new_glance("glance", multiple_locations=True)

    def new_glance(self, name, **more):
        return Glance(self.folder, name=name, trusted=True,
                      **{"stores": {"ceph": self.glance_user, "file": self.folder.make(f"{name}-file")}, **more})

    def set_up_ceph(self):
        """Call it when the services can be waited for."""
        self.wait_services()
        self.user = self.ceph.user("nova", NOVA_CAPS)
        self.user.define_secret(self.libvirt)
        self.base = self.make_base()

    def make_base(self, glance=None):
        """Makes an image of which disks are clones."""
        glance = glance or self.glance
        image = glance.create("base", container_format="bare", disk_format="raw")
        glance.put(image, b"".join(os.urandom(MIB) if number % 4 == 0 else bytes(MIB) for number in range(64)))
        return image

    def make_rbd_guest(self, **kind):
        """Makes a guest whose disk is a clone of the base image, with data of its own."""
        kind = {"size_mib": 64, "data_mib": 1, "parent": f"images/{self.base}@snap", **kind}
        guest = self.enter(RbdGuest(self.libvirt, self.folder, self.ceph, self.user, **kind))
        self.ceph.write_image("vms", guest.image, os.urandom(MIB), 33 * MIB)
        return guest

    def agent_sections(self, sections=None, user=None):
        user = user or self.user
        keys = {"images_type": "rbd", "images_rbd_pool": "vms", "images_rbd_ceph_conf": user.conf,
                "rbd_user": user.name, "connection_uri": self.libvirt.uri}
        sections = sections or {}
        return {**sections, "libvirt": {**keys, **sections.get("libvirt", {})}}
