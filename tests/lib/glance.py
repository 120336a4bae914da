# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private Glance on SQLite, without Keystone: on Debian 12 (Glance 25), 13 (30) and sid (33)."""
import contextlib
import http.client
import importlib.metadata
import json
import os
import socket
import urllib.error
import urllib.request

from paths import TOP
from process import end, free_port, spawn, wait_port


def has_own_server():
    """Returns whether this Glance has an HTTP server. A newer one has a WSGI application for another server instead."""
    return not importlib.metadata.distribution("glance").locate_file("glance/wsgi/api.py").exists()


class Glance:
    def __init__(self, folder, size_cap=None):
        """`size_cap`: the bytes of the largest image that it takes."""
        self.folder = folder.make("glance")
        self.images = folder.make("glance/images")
        self.log = os.path.join(self.folder, "glance.log")
        self.conf = os.path.join(self.folder, "glance-api.conf")
        self.port = free_port()
        self.process = None
        # Without Keystone a request is nobody's. Since version 30 Glance then refuses it, unless this policy admits it.
        policy = os.path.join(self.folder, "policy.yaml")
        with open(policy, "w") as file:
            file.write('"context_is_admin": "@"\n')
        cap = f"image_size_cap = {size_cap}\n" if size_cap else ""
        with open(self.conf, "w") as file:
            file.write(f"""[DEFAULT]
bind_host = 127.0.0.1
bind_port = {self.port}
workers = 0
enabled_backends = file:file
{cap}[database]
connection = sqlite:///{self.folder}/glance.sqlite?timeout=60
[glance_store]
default_backend = file
[file]
filesystem_store_datadir = {self.images}
[paste_deploy]
config_file = /etc/glance/glance-api-paste.ini
[oslo_policy]
policy_file = {policy}
[oslo_concurrency]
lock_path = {self.folder}
""")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def _server(self):
        """Returns the command of the server, with its environment."""
        if has_own_server():
            return f"glance-api --config-file {self.conf}"
        # As /etc/glance/glance-api-uwsgi.ini of Debian, but with threads of one process. Without the last two options
        # uwsgi gives up a body after 4 s of silence, and refuses one that is sent in chunks.
        program = os.path.join(TOP, "tests/lib/glance_wsgi.py")
        return (f"env OS_GLANCE_CONFIG_DIR={self.folder} uwsgi_python3 --http-socket 127.0.0.1:{self.port} "
                f"--wsgi-file {program} --need-app --lazy-apps --master --die-on-term --no-orphans "
                "--processes 1 --threads 8 --enable-threads --buffer-size 65535 --add-header 'Connection: close' "
                "--socket-timeout 10 --chunked-input-limit 1073741824")

    def start(self, wait=True):
        self.process = spawn(["/bin/sh", "-c",
                              f"[ -s {self.folder}/glance.sqlite ] || "
                              f"glance-manage --config-file {self.conf} db_sync && exec {self._server()}"], self.log)
        if wait:
            self.wait()

    def wait(self):
        wait_port(self.port, self.process, "Glance", self.log)
        # uwsgi accepts connections before it has loaded Glance.
        try:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)) as connection:
                connection.request("GET", "/")
                connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            with open(self.log, errors="replace") as file:
                raise RuntimeError(f"Glance did not come up: {error}\n{file.read()[-3000:]}") from error

    def stop(self):
        end(self.process, 10)
        self.process = None

    def request(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(f"{self.url}{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode())
        request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def create(self, name="test image", **properties):
        """Makes an image that waits for its data, as nova-api does. Returns its id."""
        return self.request("POST", "/v2/images", {"name": name, **properties})["id"]

    def get(self, image):
        """Returns the record, or None if there is no such image."""
        try:
            return self.request("GET", f"/v2/images/{image}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def delete(self, image):
        self.request("DELETE", f"/v2/images/{image}")

    def put(self, image, data):
        request = urllib.request.Request(f"{self.url}/v2/images/{image}/file", method="PUT", data=data)
        request.add_header("Content-Type", "application/octet-stream")
        urllib.request.urlopen(request, timeout=60).close()

    def takes(self, disk_format, data):
        """Returns whether this Glance stores the data as an image of that format. Since version 30 it looks at it."""
        image = self.create(disk_format=disk_format, container_format="bare")
        try:
            self.put(image, data)
        except urllib.error.HTTPError as error:
            if error.code != 415:
                raise
            return False
        finally:
            self.delete(image)
        return True

    def says_continue(self):
        """Returns whether this Glance answers `Expect: 100-continue`. uwsgi does not."""
        image = self.create(disk_format="raw", container_format="bare")
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(f"PUT /v2/images/{image}/file HTTP/1.1\r\nHost: glance\r\nContent-Length: 1\r\n"
                               "Content-Type: application/octet-stream\r\nConnection: close\r\n"
                               "Expect: 100-continue\r\n\r\n".encode())
            connection.settimeout(2)
            try:
                said = connection.recv(64)
            except TimeoutError:
                said = b""
            connection.settimeout(10)
            connection.sendall(b"x")
            while connection.recv(4096):
                pass
        self.delete(image)
        return said.startswith(b"HTTP/1.1 100")

    def file(self, image):
        return os.path.join(self.images, image)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
