# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in before a RabbitMQ that cannot deny transient queues, which came with 3.12: it answers the declaration of a
queue that is neither durable nor exclusive as a RabbitMQ does that denies them."""
import struct

from standin_network import NetworkStandIn

TEXT = (b"INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated.\nIts use is not permitted per the "
        b"configuration (overriding the default, which is permitted):\n"
        b"    \"deprecated_features.permit.transient_nonexcl_queues = false\"\nIts use will not be")[:255]
METHOD, END = 1, b"\xce"
QUEUE_DECLARE, CONNECTION_CLOSE = (50, 10), (10, 50)
PASSIVE, DURABLE, EXCLUSIVE = 1, 2, 4


def _methods(data):
    """The methods in the data of a client, which sends each declaration by itself: (class, method), arguments."""
    while len(data) >= 8 and data[0] == METHOD:
        size = struct.unpack(">I", data[3:7])[0]
        yield struct.unpack(">HH", data[7:11]), data[11:7 + size]
        data = data[8 + size:]


def _is_denied(arguments):
    """Of queue.declare: two bytes, the name after its length, the flags, the table."""
    flags = arguments[3 + arguments[2]]
    return not flags & (PASSIVE | DURABLE | EXCLUSIVE)


def _close():
    body = struct.pack(">HHH", *CONNECTION_CLOSE, 541) + bytes([len(TEXT)]) + TEXT + struct.pack(">HH", *QUEUE_DECLARE)
    return struct.pack(">BHI", METHOD, 0, len(body)) + body + END


class DenialStandIn(NetworkStandIn):
    def __init__(self, port):
        super().__init__(port)
        self.answer = self._deny

    @staticmethod
    def _deny(data):
        denied = any(method == QUEUE_DECLARE and _is_denied(arguments) for method, arguments in _methods(data))
        return _close() if denied else None
