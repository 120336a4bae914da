# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for Cinder's API: the two requests of it that nova-compute sends about a volume's snapshot."""
import http.server
import json
import threading

# What becomes of a snapshot that is told to be at 90 %; one that is deleted is no more.
SETTLED = {"creating": "available", "deleting": None}
PROJECT = "28139ea3fc804990ad2ed0307cce12ef"


class StandInCinder:
    def __init__(self):
        self.statuses = {}  # snapshot -> status, as GET tells it
        self.updates = []  # (snapshot, status, progress)
        self.asked = 0
        self.settles = False  # as Cinder does: what it waits for is over once it is told of it
        stand_in = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _answer(self, code, body=None):
                text = json.dumps(body).encode() if body else b""
                self.send_response(code)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def _snapshot(self):
                parts = self.path.split("/")
                return parts[4] if parts[:4] == ["", "v3", PROJECT, "snapshots"] else None

            def do_GET(self):
                stand_in.asked += 1
                status = stand_in.statuses.get(self._snapshot())
                if status is None:
                    self._answer(404, {"itemNotFound": {"message": "no such snapshot"}})
                else:
                    self._answer(200, {"snapshot": {"id": self._snapshot(), "status": status}})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                update = body["os-update_snapshot_status"]
                stand_in.updates.append((self._snapshot(), update["status"], update["progress"]))
                if stand_in.settles:
                    stand_in.statuses[self._snapshot()] = SETTLED.get(update["status"], update["status"])
                self._answer(202)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def template(self):
        return f"http://127.0.0.1:{self.server.server_port}/v3/%(project_id)s"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
