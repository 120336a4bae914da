# SPDX-License-Identifier: LGPL-2.1-or-later
"""A proxy in front of a real Glance that injects the faults which the real one will not produce."""
import http.client
import http.server
import threading

CHUNK = 256 * 1024
STALL_S = 4


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_expect_100(self):
        # Whoever refuses does so before the body, as real servers do.
        self.fault = self.server.next_fault(self)
        if isinstance(self.fault, (int, tuple)) or self.fault == "echo":
            return True
        return super().handle_expect_100()

    def _answer(self, status, body, kind="text/html", location=None):
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _forward(self):
        fault = getattr(self, "fault", None)
        if self.command != "PUT":
            fault = self.server.next_fault(self)
        elif "Expect" not in self.headers:
            fault = self.server.next_fault(self)
        self.fault = None
        self.server.seen.append((self.command, self.path, fault))
        if isinstance(fault, int):
            self.close_connection = True
            if self.server.before_fault:
                self.server.before_fault(fault, self.path)
            self._answer(fault, b"<html><title>%d</title><body>an injected fault</body></html>" % fault)
            return
        if isinstance(fault, tuple):
            self.close_connection = True
            self._answer(fault[0], b"it is elsewhere", location=fault[1])
            return
        if fault == "echo":
            self.close_connection = True
            self._answer(403, str(self.headers).encode())
            return
        if fault == "hold":
            self.server.release.wait(90)
        length = int(self.headers.get("Content-Length") or 0)
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True)
        for name, value in self.headers.items():
            if name.lower() not in ("expect", "connection"):
                upstream.putheader(name, value)
        upstream.endheaders()
        sent = 0
        while sent < length:
            if fault == "stall" and sent > length // 2:
                self.server.release.wait(STALL_S)
            if fault in ("cut", "stall") and sent > length // 2:
                upstream.sock.close()
                self.connection.close()
                self.close_connection = True
                return
            data = self.rfile.read(min(CHUNK, length - sent))
            if not data:
                break
            upstream.send(data)
            sent += len(data)
        reply = upstream.getresponse()
        body = reply.read()
        upstream.close()
        if fault == "cut-reply":
            self.connection.close()
            self.close_connection = True
            return
        if reply.status == 204:
            self.send_response(204)
            self.end_headers()
            return
        self._answer(reply.status, body, reply.getheader("Content-Type") or "text/plain")

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _forward

    def log_message(self, *_):
        pass


class FaultyGlance(http.server.ThreadingHTTPServer):
    """`faults`: what happens to the next PUTs: a status, (a status, another place), "cut" (in the body), "stall" (the
    same, after seconds in which nothing moves), "cut-reply" (the body arrived whole), "hold" (until `release` is
    set), "echo" (refused with what was sent), or None (nothing). `always`: what happens to every request.
    `before_fault` is called with a status and the path before it is answered."""
    daemon_threads = True

    def __init__(self, glance):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = glance.port
        self.faults, self.seen = [], []
        self.always = None
        self.release = threading.Event()
        self.before_fault = None
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)

    def handle_error(self, *_):
        pass

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self, handler):
        if handler.command == "PUT" and self.faults:
            return self.faults.pop(0)
        return self.always

    def puts(self):
        return [fault for command, _path, fault in self.seen if command == "PUT"]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
