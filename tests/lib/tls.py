# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private CA, made by openssl, and a stand-in that speaks TLS for a server that does not."""
import os
import select
import socket
import ssl
import subprocess
import threading


class Authority:
    """A CA of one's own, in a folder of its own."""

    def __init__(self, folder, name="ca"):
        self.folder = folder.make(name)
        self.certificate = self._path("ca.pem")
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                      f"/CN=novasnap test {name}", "-keyout", self._path("ca.key"), "-out",
                      self.certificate)

    def _path(self, name):
        return os.path.join(self.folder, name)

    @staticmethod
    def _openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, timeout=60)

    def issue(self, name, alt_names="DNS:localhost,IP:127.0.0.1", days=2):
        """(certificate, key) of a server or a client. `days` below zero: it has expired."""
        key, request, certificate = (self._path(f"{name}.{end}") for end in ("key", "csr", "pem"))
        extensions = self._path(f"{name}.ext")
        with open(extensions, "w") as file:
            file.write(f"subjectAltName = {alt_names}\n")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key,
                      "-out", request)
        self._openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey",
                      self._path("ca.key"), "-CAcreateserial", "-days", str(days), "-extfile",
                      extensions, "-out", certificate)
        for path in (key, certificate):
            os.chmod(path, 0o644)
        return certificate, key


class TlsFront:
    """Stands in for a server's own TLS: ends it, and passes the bytes on to a port."""

    def __init__(self, port, pair):
        self._target = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*pair)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._ending = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ending = True
        for thread in self._threads:
            thread.join(30)
        self._server.close()

    def _accept(self):
        while not self._ending:
            if not select.select([self._server], [], [], 0.2)[0]:
                continue
            client = self._server.accept()[0]
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain):
        plain.settimeout(30)
        try:
            with self._context.wrap_socket(plain, server_side=True) as client, \
                    socket.create_connection(("127.0.0.1", self._target), 5) as target:
                self._pass_on(client, target)
        except OSError:
            plain.close()

    def _pass_on(self, client, target):
        while not self._ending:
            ready = [client] if client.pending() else select.select([client, target], [], [], 0.2)[0]
            for one in ready:
                data = one.recv(65536)
                if not data:
                    return
                (target if one is client else client).sendall(data)
