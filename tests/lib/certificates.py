# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private CA, made by openssl."""
import datetime
import os
import subprocess

CONFIGURATION = """[ca]
default_ca = test
[test]
database = {0}/index.txt
rand_serial = yes
unique_subject = no
new_certs_dir = {0}
default_md = sha256
policy = policy
[policy]
commonName = supplied
"""


class Authority:
    """A CA in a folder of its own, and the certificates that it issues."""

    def __init__(self, folder, name="ca"):
        self.folder = folder.make(name)
        self.certificate = self._path("ca.pem")
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                      f"/CN=novasnap test {name}", "-keyout", self._path("ca.key"), "-out",
                      self.certificate)
        with open(self._path("ca.conf"), "w") as file:
            file.write(CONFIGURATION.format(self.folder))
        open(self._path("index.txt"), "w").close()

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
        # `openssl x509` takes no time that has passed, or does not take one at all.
        now = datetime.datetime.now(datetime.timezone.utc)
        begin, end = (f"{now + datetime.timedelta(offset):%Y%m%d%H%M%SZ}" for offset in (min(days, 0) - 1, days))
        self.openssl("ca", "-batch", "-notext", "-config", self._path("ca.conf"), "-in", request, "-cert",
                     self.certificate, "-keyfile", self._path("ca.key"), "-startdate", begin, "-enddate", end,
                     "-extfile", extensions, "-out", certificate)
        for path in (key, certificate):
            os.chmod(path, 0o644)
        return certificate, key
