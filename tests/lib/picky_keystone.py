# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for Keystone's tokens: gives one to whoever has the password, or refuses and says what it was sent."""
import http.server
import json
import threading


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        user = json.loads(body)["auth"]["identity"]["password"]["user"]
        password, token = self.server.users.get(user["name"], (None, None))
        good = user["password"] == password and not self.server.refuses
        answer = (json.dumps({"token": {"expires_at": "2099-01-01T00:00:00.000000Z", "catalog": []}})
                  if good else f"this was refused: {body}").encode()
        self.send_response(201 if good else 401)
        if good:
            self.send_header("X-Subject-Token", token)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class PickyKeystone(http.server.ThreadingHTTPServer):
    """`users`: name -> (password, token)."""
    daemon_threads = True

    def __init__(self, users):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.users = users
        self.refuses = False
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
