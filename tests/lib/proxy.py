# SPDX-License-Identifier: LGPL-2.1-or-later
"""A TCP proxy that injects what a real network does now and then: silence and cut connections."""

import select
import socket
import threading


class Proxy:
    """Passes bytes on to a port, until told otherwise."""

    def __init__(self, port):
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs = []  # (client's socket, target's socket); guarded by the lock
        self._deaf = False  # what the target says is thrown away
        self._mute = False  # what the clients say is thrown away
        self._ending = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ending = True
        self._server.close()
        self.cut()
        for thread in self._threads:
            thread.join(30)

    def _accept(self):
        while not self._ending:
            try:
                ready, _, _ = select.select([self._server], [], [], 0.2)
                if not ready:
                    continue
                client = self._server.accept()[0]
            except (OSError, ValueError):
                return
            try:
                target = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, target))
            thread = threading.Thread(target=self._pass_on, args=(client, target))
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, client, target):
        try:
            while not self._ending:
                ready, _, _ = select.select([client, target], [], [], 0.2)
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    if one is target and not self._deaf:
                        client.sendall(data)
                    elif one is client and not self._mute:
                        target.sendall(data)
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                if (client, target) in self._pairs:
                    self._pairs.remove((client, target))
            client.close()
            target.close()

    def silence(self, deaf=True, mute=False):
        self._deaf, self._mute = deaf, mute

    def resume(self):
        self._deaf = self._mute = False

    def cut(self):
        """All connections of now."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            for one in pair:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
