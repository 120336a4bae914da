# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in between novasnapd and a real Glance, to which it passes all requests on. It injects what the real one does
not produce on demand: error codes, redirects, cut and stalled uploads, lost replies, uploads that wait for the test."""
import http.client
import json
import threading

from standin_http import Handler, HttpStandIn

CHUNK = 256 * 1024
STALL_SECONDS = 4
HOLD_SECONDS = 400  # as long as a test may take


class _Handler(Handler):
    fault = data = None

    def handle_expect_100(self):
        # A refusal comes before the body, as a real server's does.
        self.fault = self.stand_in.next_fault(self.command, self.path)
        if isinstance(self.fault, (int, tuple)) or self.fault == "echo":
            return True
        return super().handle_expect_100()

    def _handle(self):
        # Whether a PATCH adds a location is in its body.
        self.data = self.body() if self.command in ("POST", "PATCH") else None
        if self.command != "PUT" or "Expect" not in self.headers:
            self.fault = (self.stand_in.next_location_fault() if self._adds_location()
                          else self.stand_in.next_fault(self.command, self.path))
        fault, self.fault = self.fault, None
        self.stand_in.seen.append((self.command, self.path, fault))
        if isinstance(fault, (int, tuple)) or fault == "echo":
            self.close_connection = True
            self._refuse(fault)
            return
        if fault == "hold":
            self.stand_in.release.wait(HOLD_SECONDS)
        self._forward(fault)

    def _adds_location(self):
        return ((self.command == "POST" and self.path.endswith("/locations")) or
                (self.command == "PATCH" and b'"/locations/-"' in self.data))

    def _refuse(self, fault):
        if fault == "echo":
            self.answer(403, str(self.headers).encode())
        elif isinstance(fault, tuple):
            self.answer(fault[0], b"it is elsewhere", Location=fault[1])
        else:
            if self.stand_in.before_fault:
                self.stand_in.before_fault(fault, self.path)
            self.answer(fault, b"<html><title>%d</title><body>an injected fault</body></html>" % fault,
                        Content_Type="text/html")

    def _forward(self, fault):
        upstream = http.client.HTTPConnection("127.0.0.1", self.stand_in.glance.port, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True)
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    upstream.putheader(name, value)
            upstream.endheaders()
            if not self._forward_body(upstream, fault):
                self._cut()
                return
            reply = upstream.getresponse()
            body = reply.read()
        finally:
            upstream.close()
        if self.command == "PUT":
            self.stand_in.stored.append(self.path.split("/")[3])
        if self._adds_location():
            self.stand_in.location_replies.append(reply.status)
            # A Glance without the first request is asked by another one, which meets the fault.
            if reply.status >= 300 and fault == "cut-reply":
                self.stand_in.locations.insert(0, fault)
                fault = None
        if fault == "hold-reply":
            self.stand_in.release.wait(HOLD_SECONDS)
        if fault == "cut-reply":
            self._cut()
        else:
            body = self._change_record(fault, body)
            kind = reply.getheader("Content-Type")
            self.answer(reply.status, body, **({"Content_Type": kind} if kind else {}))

    def _change_record(self, fault, body):
        """The record of a stored image as another server would give it: one that lags behind, or has other data."""
        if self.command != "GET" or not ({fault, self.stand_in.always_get} & {"saving", "other-data"}):
            return body
        record = json.loads(body)
        if record.get("status") == "active":
            record.update({"os_hash_value": "0" * 128} if fault == "other-data" else {"status": "saving"})
        return json.dumps(record).encode()

    def _forward_body(self, upstream, fault):
        """Returns whether the whole body was sent."""
        if self.data is not None:
            upstream.send(self.data)
            return True
        length, sent = int(self.headers.get("Content-Length") or 0), 0
        while sent < length:
            if fault == "stall" and sent > length // 2:
                self.stand_in.release.wait(STALL_SECONDS)
            if fault in ("cut", "stall") and sent > length // 2:
                return False
            data = self.rfile.read(min(CHUNK, length - sent))
            if not data:  # the client went away, which Glance must see
                return False
            upstream.send(data)
            sent += len(data)
        return True

    def _cut(self):
        self.connection.close()
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _handle


class GlanceStandIn(HttpStandIn):
    """`faults`: what happens to the next PUTs: a status, (a status, another place), "cut" (in the body), "stall" (the
    same, after seconds in which nothing moves), "cut-reply" (the body arrived whole), "hold" (until `release` is
    set), "hold-reply" (the same, when the body has arrived), "echo" (refused with what was sent), or None (nothing).
    `gets`: what happens to the next GETs of an image after its data has arrived: a status, "saving" (an active image is
    shown as saving), "other-data" (with another hash), or None; `always_get`: "saving" for every GET. `always`: what
    happens to every request.
    `patches`: what happens to the next changes of a record: a status, "hold", or None.
    `locations`: what happens to the next requests that add a location: a status, "cut-reply" (when Glance has taken
    it), "hold", or None; `location_replies`: what Glance itself has answered.
    `before_fault` is called with a status and the path before it is answered."""
    handler = _Handler

    def __init__(self, glance):
        super().__init__()
        self.glance = glance
        self.faults, self.seen, self.gets, self.stored = [], [], [], []
        self.patches, self.locations, self.location_replies = [], [], []
        self.always = self.always_get = self.before_fault = None
        self.release = threading.Event()

    def next_fault(self, command, path):
        if command == "PUT" and self.faults:
            return self.faults.pop(0)
        if command == "GET" and self.gets and path.split("/")[-1] in self.stored:
            return self.gets.pop(0)
        if command == "PATCH" and self.patches:
            return self.patches.pop(0)
        return self.always

    def next_location_fault(self):
        return self.locations.pop(0) if self.locations else self.always

    def puts(self):
        """Returns the fault of each upload that was begun."""
        return [fault for command, _path, fault in self.seen if command == "PUT"]

    def reset(self, *faults):
        """Releases what was held. The next uploads meet these faults."""
        self.release.set()
        self.release = threading.Event()
        self.seen.clear()
        self.stored.clear()
        self.gets.clear()
        self.patches.clear()
        self.locations.clear()
        self.location_replies.clear()
        self.faults[:] = faults
        self.always = self.always_get = self.before_fault = None
