# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the stand-ins for HTTP services share: a server in threads of this process, on a free port of the loopback."""
import http.server
import threading

from process import free_port


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def stand_in(self):
        return self.server.stand_in

    def parse_request(self):
        parsed = super().parse_request()
        if parsed:
            self.stand_in.request_ids.append(self.headers.get("X-OpenStack-Request-ID"))
        return parsed

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status, body=b"", **headers):
        """`headers`: with _ for -."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that goes away is not reported."""


class HttpStandIn:
    handler = Handler

    def __init__(self):
        self.port, self._server = free_port(), None
        self.request_ids = []  # of each request that has arrived; None: it had none

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self._server = _Server(("127.0.0.1", self.port), self.handler)
        self._server.stand_in = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """Stops it. It may be started again, on the same port."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
