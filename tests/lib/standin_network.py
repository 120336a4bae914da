# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for the network before a server: a TCP proxy that injects silence and cut connections, which the loopback
does not produce; one that speaks TLS, for a server without; and one that withholds a RabbitMQ's confirmations, which it
sends late only under a load that no test makes."""
import select
import socket
import ssl
import threading


class NetworkStandIn:
    """Passes bytes on to a port of the loopback, until the test stops it."""

    def __init__(self, port):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs = []  # (client's socket, target's socket); guarded by the lock
        self._deaf = False  # the data of the target is dropped
        self._mute = False  # the data of the clients is dropped
        self._frozen = []  # sockets of clients whose connections pass on nothing, and stay open
        self._ending = False
        self.answer = None  # called with the data of a client: None to pass it on, or what the client gets instead
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ending = True
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(30)

    def _accept(self):
        while not self._ending:
            try:
                if not select.select([self._listener], [], [], 0.2)[0]:
                    continue
                client = self._listener.accept()[0]
            except (OSError, ValueError):
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _open(self, client):
        """Opens the client's socket for reading."""
        return client

    def _reply(self, _client, data):
        """Returns what the client gets of the target's data."""
        return data

    def _serve(self, plain):
        client = target = None
        try:
            client = self._open(plain)
            target = socket.create_connection(("127.0.0.1", self._target), 5)
            with self._lock:
                self._pairs.append((client, target))
            self._pass_on(client, target)
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._pairs = [pair for pair in self._pairs if pair[0] is not client]
            for one in (plain, client, target):
                if one:
                    one.close()

    def _pass_on(self, client, target):
        while not self._ending:
            decrypted = isinstance(client, ssl.SSLSocket) and client.pending()
            ready = [client] if decrypted else select.select([client, target], [], [], 0.2)[0]
            for one in ready:
                data = one.recv(65536)
                if not data:
                    return
                if client in self._frozen:
                    continue
                if one is target and not self._deaf:
                    client.sendall(self._reply(client, data))
                elif one is client and (answer := self.answer and self.answer(data)):
                    client.sendall(answer)
                elif one is client and not self._mute:
                    target.sendall(data)

    def silence(self, deaf=True, mute=False):
        self._deaf, self._mute = deaf, mute

    def resume(self):
        self._deaf = self._mute = False

    def freeze(self):
        """The present connections pass on nothing any more; later ones do."""
        with self._lock:
            self._frozen = [client for client, _ in self._pairs]

    def cut(self):
        """Cuts all present connections."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            for one in pair:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class TlsStandIn(NetworkStandIn):
    """For a server's own TLS, with a certificate that the test chooses."""

    def __init__(self, port, pair):
        """`pair`: certificate and key."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*pair)
        super().__init__(port)

    def _open(self, client):
        client.settimeout(30)
        return self._context.wrap_socket(client, server_side=True)


class ConfirmStandIn(NetworkStandIn):
    """For a RabbitMQ: its confirmations of published messages (basic.ack) are withheld."""
    ACK = (60).to_bytes(2, "big") + (80).to_bytes(2, "big")

    def __init__(self, port):
        self._withheld = {}  # client's socket -> bytes of a frame that is not complete
        super().__init__(port)

    def withhold(self):
        """For the present connections; later ones get them."""
        with self._lock:
            self._withheld = {client: b"" for client, _ in self._pairs}

    def _reply(self, client, data):
        if client not in self._withheld:
            return data
        data, passed = self._withheld[client] + data, b""
        # A frame has a type, a channel, a length, that many bytes, and an end.
        while len(data) >= 7 and len(data) >= (size := int.from_bytes(data[3:7], "big") + 8):
            if not (data[0] == 1 and data[7:11] == self.ACK):
                passed += data[:size]
            data = data[size:]
        self._withheld[client] = data
        return passed
