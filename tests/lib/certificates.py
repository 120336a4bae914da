# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private CA, made by openssl."""
import os
import subprocess


class Authority:
    """A CA in a folder of its own, and the certificates that it issues."""

    def __init__(self, folder, name="ca"):
        self.folder = folder.make(name)
        self.certificate = self._path("ca.pem")
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                      f"/CN=novasnap test {name}", "-keyout", self._path("ca.key"), "-out",
                      self.certificate)

    def _path(self, name):
        return os.path.join(self.folder, name)

    @staticmethod
    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, timeout=60)

    def issue(self, name, alt_names="DNS:localhost,IP:127.0.0.1", days=2):
        """Returns a certificate and a key for a server or a client. `days` below zero: it has expired."""
        key, request, certificate = (self._path(f"{name}.{end}") for end in ("key", "csr", "pem"))
        extensions = self._path(f"{name}.ext")
        with open(extensions, "w") as file:
            file.write(f"subjectAltName = {alt_names}\n")
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key,
                      "-out", request)
        self.openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey",
                      self._path("ca.key"), "-CAcreateserial", "-days", str(days), "-extfile",
                      extensions, "-out", certificate)
        for path in (key, certificate):
            os.chmod(path, 0o644)
        return certificate, key
