# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private Glance on SQLite, without Keystone."""
import json
import os
import urllib.error
import urllib.request

from process import end, free_port, spawn, wait_port


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

    def start(self, wait=True):
        self.process = spawn(["/bin/sh", "-c",
                              f"[ -s {self.folder}/glance.sqlite ] || "
                              f"glance-manage --config-file {self.conf} db_sync && "
                              f"exec glance-api --config-file {self.conf}"], self.log)
        if wait:
            self.wait()

    def wait(self):
        wait_port(self.port, self.process, "Glance", self.log)

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

    def file(self, image):
        return os.path.join(self.images, image)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
