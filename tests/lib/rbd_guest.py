# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest whose disk is in a private Ceph, as nova's rbd backend defines it."""
import os
import re

from guest import Guest


class RbdGuest(Guest):
    def __init__(self, libvirt, folder, ceph, user, pool="vms", parent=None, **kind):
        """`user`: a User of the cluster, whose key libvirt has, and by which QEMU uses the disk. `parent`:
        POOL/IMAGE@SNAPSHOT of which the disk is a clone; otherwise it has data of its own (see Guest)."""
        super().__init__(libvirt, folder, disk="raw", base=False, **kind)
        self.ceph, self.user, self.pool = ceph, user, pool
        self.image = f"{self.uuid}_disk"
        if parent:
            ceph.rbd("clone", parent, f"{pool}/{self.image}")
        else:
            ceph.import_file(self.disk, pool, self.image)
        os.remove(self.disk)

    def disk_xml(self):
        return f"""<disk type='network' device='disk'><driver name='qemu' type='raw' cache='none' discard='unmap'/>
<auth username='{self.user.name}'><secret type='ceph' uuid='{self.user.secret}'/></auth>
<source protocol='rbd' name='{self.pool}/{self.image}'><host name='127.0.0.1' port='{self.ceph.mon_v1}'/></source>
<target dev='{self.target}' bus='virtio'/></disk>"""

    def rounds(self):
        """Returns the seconds in which it wrote: a whole round of the writer takes minutes on a small Ceph."""
        return len(re.findall(r"second: [1-9]\d* writes", self._console())) if self.writer else super().rounds()

    def exists(self):
        return self.image in self.ceph.images(self.pool)

    def snapshots(self):
        """Returns the names of the snapshots of its disk, also of those in the trash."""
        return list(self.ceph.snapshots(self.pool, self.image))

    def delete(self):
        """Does what nova does for a server that is deleted, up to its disk."""
        self.virsh("destroy", check=False)
        self.virsh("undefine", "--managed-save")

    def delete_disk(self):
        """Tries to remove its disk, as nova does; returns whether that succeeded."""
        return self.user.rbd("rm", "--no-progress", f"{self.pool}/{self.image}", check=False).returncode == 0

    def __exit__(self, *_):
        super().__exit__()
        if self.exists():
            self.ceph.rbd("snap", "purge", "--no-progress", f"{self.pool}/{self.image}", check=False)
            self.ceph.rbd("rm", "--no-progress", f"{self.pool}/{self.image}", check=False)
