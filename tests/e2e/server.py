# SPDX-License-Identifier: LGPL-2.1-or-later
"""One server of the cloud, through nova-api: actions, its record, and the events of its actions."""
import tap


class Server:
    def __init__(self, cloud, server):
        self.cloud, self.server = cloud, server

    def ask(self, what, name):
        if what == "image":
            action = {"createImage": {"name": name, "metadata": {}}}
        elif what == "backup":
            action = {"createBackup": {"name": name, "backup_type": "daily", "rotation": 1}}
        else:
            action = what
        reply = self.cloud.act(self.server, action)
        return reply.json()["image_id"] if what in ("image", "backup") else None

    def record(self):
        return self.cloud.get(f"/servers/{self.server}")["server"]

    def wait_idle(self, seconds=120):
        return tap.wait_for("end of the action", lambda: (
            record := self.record())["OS-EXT-STS:task_state"] is None and record, seconds, 0.25)

    def wait_status(self, status):
        return tap.wait_for(f"status {status}", lambda: (
            record := self.record())["OS-EXT-STS:task_state"] is None and record["status"] == status and record, 120, 0.25)

    def wait_success(self, status="ACTIVE"):
        """Waits for the end of the last action, which has succeeded: a reboot that fails leaves the server ACTIVE, too."""
        record = self.wait_idle()
        assert record["status"] == status, record
        tap.wait_for("the end of the events", lambda: all(result for _, result in self.events()), 20)
        assert {result for _, result in self.events()} == {"Success"}, self.events()

    def events(self):
        """Returns (event, result) of each event of the last action."""
        return self.events_of(self.requests()[0])

    def requests(self, action=None):
        """Returns the ids of the requests, the last one first."""
        actions = self.cloud.get(f"/servers/{self.server}/os-instance-actions")["instanceActions"]
        return [entry["request_id"] for entry in actions if action in (None, entry["action"])]

    def events_of(self, request):
        action = self.cloud.get(f"/servers/{self.server}/os-instance-actions/{request}")
        return [(event["event"], event["result"]) for event in action["instanceAction"]["events"]]
