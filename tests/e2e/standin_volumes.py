# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for Cinder's API, as far as nova uses it to attach volumes. Its volumes are loop devices of this host, since
nova-compute can use a "local" volume without a storage service."""
import json
import subprocess
import uuid
from urllib.parse import parse_qs, urlsplit

from standin_http import Handler, HttpStandIn


class _Handler(Handler):
    def _answer(self, status, **content):
        self.answer(status, json.dumps(content).encode(), Content_Type="application/json")

    def _read(self):
        return json.loads(self.body() or "{}")

    def _parts(self):
        """The path after the project: ["volumes", ID, "action"], for example."""
        return self.path.split("?")[0].strip("/").split("/")[2:]

    def do_GET(self):
        parts, volumes = self._parts(), self.stand_in.volumes
        if not parts:
            link = {"rel": "self", "href": f"{self.stand_in.url}/v3/"}
            self._answer(300, versions=[{"id": "v3.0", "status": "CURRENT", "version": "3.70", "min_version": "3.0",
                                         "links": [link]}])
        elif parts[0] == "volumes" and parts[1] in volumes:
            if parts[2:] == ["encryption"]:
                self._answer(200)
            else:
                self._answer(200, volume=volumes[parts[1]])
        elif parts == ["attachments"]:
            server = parse_qs(urlsplit(self.path).query)["instance_id"]
            self._answer(200, attachments=[each for each in self.stand_in.attachments.values()
                                           if each["instance"] in server])
        elif parts[0] == "attachments" and parts[1] in self.stand_in.attachments:
            self._answer(200, attachment=self.stand_in.attachments[parts[1]])
        else:
            self._answer(404, itemNotFound={"message": self.path})

    def do_POST(self):
        parts, asked, stand_in = self._parts(), self._read(), self.stand_in
        if parts == ["attachments"]:
            asked = asked["attachment"]
            attachment = {"id": str(uuid.uuid4()), "status": "reserved", "instance": asked["instance_uuid"],
                          "volume_id": asked["volume_uuid"], "attached_at": "", "detached_at": "",
                          "attach_mode": "rw", "connection_info": {}}
            stand_in.attachments[attachment["id"]] = attachment
            stand_in.volumes[attachment["volume_id"]]["status"] = "reserved"
            self._answer(200, attachment=attachment)
        elif parts[0] == "attachments" and parts[2] == "action" and "os-complete" in asked:
            attachment = stand_in.attachments[parts[1]]
            attachment["status"] = "attached"
            stand_in.volumes[attachment["volume_id"]]["status"] = "in-use"
            self.answer(204)
        else:
            self._answer(404, itemNotFound={"message": self.path})

    def do_PUT(self):
        """The connector of the host, on which the answer says how it reaches the volume."""
        parts, stand_in = self._parts(), self.stand_in
        self.body()
        attachment = stand_in.attachments[parts[1]]
        attachment["status"] = "attaching"
        attachment["connection_info"] = {
            "driver_volume_type": "local", "device_path": stand_in.devices[attachment["volume_id"]],
            "volume_id": attachment["volume_id"], "attachment_id": attachment["id"], "access_mode": "rw"}
        self._answer(200, attachment=attachment)

    def do_DELETE(self):
        attachment = self.stand_in.attachments.pop(self._parts()[1])
        self.stand_in.volumes[attachment["volume_id"]]["status"] = "available"
        self._answer(200, attachments=[])


class VolumesStandIn(HttpStandIn):
    handler = _Handler

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.volumes, self.devices, self.attachments = {}, {}, {}

    @property
    def template(self):
        return f"{self.url}/v3/%(project_id)s"

    def make_volume(self):
        """Makes a volume of 1 GiB, and returns its id."""
        volume = str(uuid.uuid4())
        path = self.folder.file(f"volume-{volume}")
        with open(path, "wb") as file:
            file.truncate(1 << 30)
        self.devices[volume] = subprocess.run(["losetup", "--find", "--show", path], check=True, text=True, timeout=20,
                                              capture_output=True).stdout.strip()
        self.volumes[volume] = {
            "id": volume, "name": "volume", "description": None, "status": "available", "size": 1,
            "availability_zone": "nova", "created_at": "2026-01-01T00:00:00.000000", "attachments": [],
            "multiattach": False, "volume_type": None, "snapshot_id": None, "bootable": "false", "metadata": {},
            "encrypted": False, "shared_targets": False, "service_uuid": None}
        return volume

    def release(self):
        """Detaches the devices, each one as soon as nobody has it open any more."""
        for device in self.devices.values():
            subprocess.run(["losetup", "--detach", device], check=False, timeout=20)
        self.devices = {}

    def stop(self):
        super().stop()
        self.release()
