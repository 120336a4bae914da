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

import tap
from paths import TOP
from process import end, free_port, spawn, wait_port


def has_own_server():
    """Returns whether this Glance has an HTTP server. A newer one has a WSGI application for another server instead."""
    return not importlib.metadata.distribution("glance").locate_file("glance/wsgi/api.py").exists()


# A pipeline for requests of a service, which paste.deploy finds by its flavor.
TRUSTED = """
[pipeline:glance-api-trusted]
pipeline = http_proxy_to_wsgi versionnegotiation trust context rootapp
[filter:trust]
paste.filter_factory = standin_admission:factory
"""


def stores_options(folder, stores):
    """Returns the lines for [DEFAULT], and the sections, of a Glance with these stores: name -> User of a Ceph with the
    pool `images`, a pair of User and pool, or the folder of a file store. The first one is the default."""
    kinds, sections = [], f"[glance_store]\ndefault_backend = {next(iter(stores))}\n"
    for name, store in stores.items():
        if isinstance(store, str):
            kinds.append(f"{name}:file")
            sections += f"[{name}]\nfilesystem_store_datadir = {store}\n"
        else:
            user, pool = store if isinstance(store, tuple) else (store, "images")
            kinds.append(f"{name}:rbd")
            sections += (f"[{name}]\nrbd_store_ceph_conf = {user.conf}\nrbd_store_user = {user.name}\n"
                         f"rbd_store_pool = {pool}\nrados_connect_timeout = 30\n")
    # Where its tasks keep data, which newer releases start also for a location.
    for name in ("tasks", "staging"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        sections += f"[os_glance_{name}_store]\nfilesystem_store_datadir = {folder}/{name}\n"
    return f"enabled_backends = {', '.join(kinds)}\n", sections


class Glance:
    def __init__(self, folder, size_cap=None, stores=None, multiple_locations=False, trusted=False, options=(),
                 name="glance"):
        """`size_cap`: the bytes of the largest image that it takes. `stores`: as for stores_options; a Ceph must run
        before this Glance starts. `multiple_locations`: it shows and takes locations with PATCH. `trusted`: each caller
        is a service, as Nova is with Keystone. `options`: lines of [DEFAULT]."""
        self.folder = folder.make(name)
        self.images = folder.make(f"{name}/images")
        self.log = os.path.join(self.folder, "glance.log")
        self.conf = os.path.join(self.folder, "glance-api.conf")
        self.port = free_port()
        self.process = None
        # Without Keystone a request is nobody's. Since version 30 Glance then refuses it, unless this policy admits it.
        policy = os.path.join(self.folder, "policy.yaml")
        with open(policy, "w") as file:
            file.write('"context_is_admin": "@"\n')
        lines = list(options)
        if size_cap:
            lines.append(f"image_size_cap = {size_cap}")
        if multiple_locations:
            lines.append("show_multiple_locations = true")
        backends, sections = stores_options(self.folder, stores or {"file": self.images})
        paste, flavor = "/etc/glance/glance-api-paste.ini", ""
        if trusted:
            with open(paste) as file:
                text = file.read()
            paste, flavor = os.path.join(self.folder, "paste.ini"), "flavor = trusted\n"
            with open(paste, "w") as file:
                file.write(text + TRUSTED)
        with open(self.conf, "w") as file:
            file.write(f"""[DEFAULT]
bind_host = 127.0.0.1
bind_port = {self.port}
workers = 0
{backends}{"".join(f"{line}{chr(10)}" for line in lines)}[database]
connection = sqlite:///{self.folder}/glance.sqlite?timeout=60
{sections}[paste_deploy]
{flavor}config_file = {paste}
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
                              f"glance-manage --config-file {self.conf} db_sync && exec {self._server()}"], self.log,
                             {"PYTHONPATH": os.path.join(TOP, "tests/lib/paste")})
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

    def locations(self, image):
        """Returns the URLs of an image's data."""
        if (record := self.get(image)) and "locations" in record:
            return [each["url"] for each in record["locations"]]
        return [each["url"] for each in self.request("GET", f"/v2/images/{image}/locations")]

    def wait_active(self, image, seconds=60):
        """Waits until an image is active: a newer Glance looks at a location in the background. Returns its record."""
        return tap.wait_for(f"image {image}", lambda: (
            record := self.get(image)) and record["status"] == "active" and record, seconds)

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
