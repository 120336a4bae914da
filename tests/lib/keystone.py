# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for Keystone, which gives everybody a token, and may be away. The real one is in make e2e."""
import http.server
import json
import threading

from services import free_port

TOKEN = "token-of-the-agents-own"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.stand_in.asked += 1
        body = json.dumps({"token": {"expires_at": "2100-01-01T00:00:00.000000Z", "catalog": []}}).encode()
        self.send_response(201)
        self.send_header("X-Subject-Token", TOKEN)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class StandInKeystone:
    def __init__(self):
        self.port, self.asked, self.server = free_port(), 0, None

    @property
    def section(self):
        """What [keystone_authtoken] says of it."""
        return {"auth_url": f"http://127.0.0.1:{self.port}/v3", "username": "nova", "password": "secret",
                "project_name": "service", "user_domain_name": "Default", "project_domain_name": "Default"}

    def start(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), _Handler)
        self.server.stand_in = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
