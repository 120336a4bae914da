# SPDX-License-Identifier: LGPL-2.1-or-later
"""A server that nobody has configured: it notes whoever comes."""
import http.server
import threading


class _Handler(http.server.BaseHTTPRequestHandler):
    def _note(self):
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        self.send_response(200)
        self.end_headers()

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_CONNECT = _note

    def log_message(self, *_):
        pass


class Elsewhere(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen = []
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
