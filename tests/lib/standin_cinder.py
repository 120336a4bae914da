# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for Cinder's API: the two requests of it that nova-compute sends about a snapshot of a volume. A snapshot
keeps the status that the test gives it, also one that the real Cinder is past within a moment."""
import json

from standin_http import Handler, HttpStandIn

# The status after a report of 90 %; a deleted snapshot has none.
SETTLED = {"creating": "available", "deleting": None}
PROJECT = "28139ea3fc804990ad2ed0307cce12ef"


class _Handler(Handler):
    def _snapshot(self):
        parts = self.path.split("/")
        return parts[4] if parts[:4] == ["", "v3", PROJECT, "snapshots"] else None

    def do_GET(self):
        self.stand_in.asked += 1
        status = self.stand_in.statuses.get(self._snapshot())
        if status is None:
            self.answer(404, json.dumps({"itemNotFound": {"message": "no such snapshot"}}).encode())
        else:
            self.answer(200, json.dumps({"snapshot": {"id": self._snapshot(), "status": status}}).encode())

    def do_POST(self):
        cinder, update = self.stand_in, json.loads(self.body())["os-update_snapshot_status"]
        if cinder.refusal:
            cinder.refused.append((self._snapshot(), update["status"]))
            self.answer(cinder.refusal)
            return
        if cinder.settles:
            cinder.statuses[self._snapshot()] = SETTLED.get(update["status"], update["status"])
        cinder.updates.append((self._snapshot(), update["status"], update["progress"]))
        self.answer(202)


class CinderStandIn(HttpStandIn):
    handler = _Handler

    def __init__(self):
        super().__init__()
        self.statuses = {}  # snapshot -> status, as GET reports it
        self.updates = []  # (snapshot, status, progress)
        self.asked = 0  # requests for a status
        self.refusal, self.refused = None, []  # the answer to every update; those that it was given to
        self.settles = False  # whether a snapshot that is reported to be at 90 % becomes what Cinder waits for

    @property
    def template(self):
        return f"{self.url}/v3/%(project_id)s"
