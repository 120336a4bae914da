# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for a server that is in no configuration, to which a hostile peer may point. Nobody must come to it: it
notes each request."""
from standin_http import Handler, HttpStandIn


class _Handler(Handler):
    def _note(self):
        self.stand_in.seen.append((self.command, self.path, dict(self.headers)))
        self.answer(200)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_CONNECT = _note


class StrangerStandIn(HttpStandIn):
    handler = _Handler

    def __init__(self):
        super().__init__()
        self.seen = []
