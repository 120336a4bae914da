# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private, real OpenStack control plane from the packages of Debian 12, 13 or sid: Keystone, Glance, Placement,
nova-api, nova-conductor, nova-scheduler, nova-compute, MariaDB, RabbitMQ and libvirtd, all on free ports of the
loopback and in one folder. Neutron and Cinder are the only stand-ins: the servers have no ports.
With a Ceph, the servers' disks and Glance's images are in it.
  NOVASNAP_E2E_MESSAGING=plain|modern|modern-denied: the queues that oslo.messaging declares (see cloud_conf.py)."""
import concurrent.futures
import glob
import json
import os
import subprocess
import time
import uuid

import openstack

import cloud_conf
import release
import wsgi
from broker import Broker
from cloud_conf import PASSWORD, REGION
from libvirtd import Libvirtd
from process import Started, end, free_port, spawn, wait_port
from standin_http import Handler, HttpStandIn
from standin_volumes import VolumesStandIn

MICROVERSION = "2.90"
DATABASES = ("keystone", "glance", "placement", "nova", "nova_api", "nova_cell0")


class _NeutronHandler(Handler):
    def do_GET(self):
        name = self.path.split("?")[0].rstrip("/").split("/")[-1].split(".")[0].replace("-", "_")
        body = {"resources": [], "versions": []} if name in ("", "v2_0") else {name: []}
        self.answer(200, json.dumps(body).encode(), Content_Type="application/json")


class NeutronStandIn(HttpStandIn):
    """Answers what nova asks of a network service when its servers have no ports, with empty lists. It injects no
    faults. The real Neutron would only be one more service to start."""
    handler = _NeutronHandler


def run(argv, log, env=None, seconds=240):
    with open(log, "ab") as out:
        done = subprocess.run(argv, stdout=out, stderr=subprocess.STDOUT, timeout=seconds, check=False,
                              stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    if done.returncode != 0:
        with open(log, errors="replace") as file:
            raise RuntimeError(f"{' '.join(argv[:3])} failed:\n{file.read()[-2000:]}")


class Cloud(Started):
    def __init__(self, folder, host="lab", ceph=None):
        """`ceph`: a Ceph that was not started yet, with the users "nova" and "glance"."""
        self.folder, self.host, self.ceph = folder, host, ceph
        self.messaging = os.environ.get("NOVASNAP_E2E_MESSAGING") or "plain"
        if self.messaging not in cloud_conf.MESSAGING:
            raise RuntimeError(f"NOVASNAP_E2E_MESSAGING is none of {', '.join(cloud_conf.MESSAGING)}: {self.messaging}")
        if self.messaging != "plain" and not release.HAS_MODERN_MESSAGING:
            raise RuntimeError(f"the oslo.messaging of Nova {release.NAME} knows no {self.messaging} messaging")
        self.queue_manager = f"{host}-{uuid.uuid4().hex[:6]}"
        self.broker = Broker(folder, options=cloud_conf.MESSAGING[self.messaging][1])
        self.libvirt, self.neutron = Libvirtd(folder), NeutronStandIn()
        self.volumes = VolumesStandIn(folder)
        self.etc, self.logs = folder.make("etc"), folder.make("log")
        self.images, self.state = folder.make("images"), folder.make("nova")
        self.instances = folder.make("nova/instances")
        # Of Glance, the default one first.
        self.stores = {**({"ceph": ceph.users["glance"]} if ceph else {}), "file": self.images}
        # Nova finds images in Ceph by their locations. Before Nova 32 it can only add one if Glance shows them.
        self.shown_locations = [] if not ceph else (
            ["show_image_direct_url"] if release.HAS_LOCATIONS_API else ["show_multiple_locations"])
        for name in ("mysql", "fernet", "credentials", "locks"):
            folder.make(name)
        self.port = {name: free_port() for name in ("mysql", "keystone", "glance", "placement", "nova")}
        self.port["neutron"] = self.neutron.port
        self.processes, self.process = [], {}
        self.compute = None
        self.discovered = False
        self._connection = None
        self.nova_conf = os.path.join(self.etc, "nova.conf")

    def url(self, name, tail=""):
        return f"http://127.0.0.1:{self.port[name]}{tail}"

    def database(self, name):
        return f"mysql+pymysql://e2e:{PASSWORD}@127.0.0.1:{self.port['mysql']}/{name}"

    def log(self, name):
        return os.path.join(self.logs, f"{name}.log")

    def conf(self, name):
        return ["--config-file", os.path.join(self.etc, f"{name}.conf")]

    def spawn(self, name, argv, env=None):
        process = spawn(argv, self.log(name), env)
        self.processes.append(process)
        self.process[name] = process
        return process

    def start_mariadb(self):
        data = self.folder.file("mysql")
        # At its start a server removes the temporary tables in its folder for them, also those of another server.
        own_folder = {"TMPDIR": self.folder.make("mysql-tmp")}
        run(["mariadb-install-db", "--no-defaults", "--user=root", "--auth-root-authentication-method=normal",
             "--skip-test-db", f"--datadir={data}"], self.log("mariadb"), own_folder)
        socket = self.folder.file("mysql.sock")
        process = self.spawn("mariadb", [
            "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={socket}",
            "--bind-address=127.0.0.1", f"--port={self.port['mysql']}", "--skip-log-bin",
            f"--pid-file={self.folder.file('mysqld.pid')}", "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0", "--sync-binlog=0", "--max-connections=300"], own_folder)
        wait_port(self.port["mysql"], process, "MariaDB", self.log("mariadb"))
        statements = [f"create database {name} character set utf8mb3" for name in DATABASES]
        statements += [f"grant all on {name}.* to 'e2e'@'127.0.0.1' identified by '{PASSWORD}'"
                       for name in DATABASES]
        run(["mariadb", "--no-defaults", "-S", socket, "-e", ";".join(statements)],
            self.log("mariadb"))

    def sync_keystone(self):
        manage = ["keystone-manage", *self.conf("keystone")]
        log = self.log("keystone")
        user = ["--keystone-user", "root", "--keystone-group", "root"]
        run([*manage, "db_sync"], log)
        run([*manage, "fernet_setup", *user], log)
        run([*manage, "credential_setup", *user], log)
        run([*manage, "bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", REGION,
             "--bootstrap-public-url", self.url("keystone", "/v3"),
             "--bootstrap-internal-url", self.url("keystone", "/v3"),
             "--bootstrap-admin-url", self.url("keystone", "/v3")], log)

    def start_keystone(self):
        self.spawn_api("keystone")
        self.wait_api("keystone")
        self.fill_keystone()

    def spawn_api(self, name):
        self.spawn(name, *wsgi.command(name, self.port[name.removesuffix("-api")], self.etc))

    def wait_api(self, name):
        wsgi.wait_http(self.port[name.removesuffix("-api")], self.process[name], name, self.log(name))

    def fill_keystone(self):
        identity = self.connection().identity
        project = identity.create_project(name="service", domain_id="default")
        roles = [identity.find_role("admin"), identity.find_role("service") or
                 identity.create_role(name="service")]
        for name, kind, tail in (("glance", "image", ""), ("nova", "compute", "/v2.1"),
                                 ("placement", "placement", ""), ("neutron", "network", "")):
            user = identity.create_user(name=name, password=PASSWORD, domain_id="default")
            for role in roles:
                identity.assign_project_role_to_user(project, user, role)
            service = identity.create_service(name=name, type=kind)
            for interface in ("public", "internal"):
                identity.create_endpoint(service_id=service.id, interface=interface,
                                         region_id=REGION, url=self.url(name, tail))
        # Its token's catalogue is older than the endpoints.
        self._connection = None

    def glance_start(self):
        """Starts Glance again."""
        self.spawn_api("glance-api")
        self.wait_api("glance-api")

    def glance_stop(self):
        end(self.process["glance-api"])

    def glance_policy(self, **rules):
        """Sets the rules of Glance's policy that are not its defaults. It reads the file again at the next request."""
        with open(os.path.join(self.etc, "glance-policy.yaml"), "w") as file:
            json.dump(rules, file)

    def sync_nova(self):
        manage, log = ["nova-manage", *self.conf("nova")], self.log("nova-manage")
        run([*manage, "api_db", "sync"], log)
        run([*manage, "cell_v2", "map_cell0", "--database_connection", self.database("nova_cell0")], log)
        run([*manage, "db", "sync"], log)
        run([*manage, "cell_v2", "create_cell", "--name", "cell1"], log)

    def start(self):
        began = time.monotonic()
        cloud_conf.write(self)
        self.glance_policy()
        if self.ceph:
            self.ceph.start(wait=False)
        self.broker.start(wait=False)
        self.libvirt.start(wait=False)
        self.neutron.start()
        self.volumes.start()
        self.start_mariadb()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            keystone = pool.submit(self.sync_keystone)
            nova = pool.submit(self.sync_nova)
            glance = pool.submit(run, ["glance-manage", *self.conf("glance-api"), "db_sync"],
                                 self.log("glance-manage"))
            placement = pool.submit(run, ["placement-manage", *self.conf("placement"), "db", "sync"],
                                    self.log("placement"))
            keystone.result()
            self.start_keystone()
            glance.result()
            if self.ceph:
                self.ceph.wait()
            self.spawn_api("glance-api")
            placement.result()
            self.spawn_api("placement")
            nova.result()
        self.broker.wait()
        self.libvirt.wait()
        if self.ceph:
            for user in self.ceph.users.values():
                user.define_secret(self.libvirt)
        for name in ("nova-conductor", "nova-scheduler"):
            self.spawn(name, [name, *self.conf("nova")])
        self.spawn_api("nova-api")
        for name in ("glance-api", "placement", "nova-api"):
            self.wait_api(name)
        print(f"# the control plane of Nova {release.NAME}, {self.messaging} messaging, is up after "
              f"{time.monotonic() - began:.0f} s", flush=True)

    def stop(self):
        self.compute_stop()
        self.remove_domains()
        # nova-api and conductor first: they complain for long about a database that went away.
        for process in reversed(self.processes):
            end(process, 15)
        self.processes = []
        for service in filter(None, (self.volumes, self.neutron, self.broker, self.libvirt, self.ceph)):
            service.stop()
        for counter in glob.glob(f"/dev/shm/{self.queue_manager}*_qmanager"):
            os.unlink(counter)

    def connection(self):
        if not self._connection:
            self._connection = openstack.connect(
                auth_url=self.url("keystone", "/v3"), username="admin", password=PASSWORD,
                project_name="admin", user_domain_name="Default", project_domain_name="Default",
                region_name=REGION, compute_default_microversion=MICROVERSION)
        return self._connection

    def get(self, path):
        reply = self.connection().compute.get(path, microversion=MICROVERSION)
        assert reply.status_code == 200, (path, reply.status_code, reply.text)
        return reply.json()

    def act(self, server, action):
        """POST of a server's action, as python-openstackclient sends it. Returns the reply."""
        reply = self.connection().compute.post(f"/servers/{server}/action", json=action,
                                               microversion=MICROVERSION)
        assert reply.status_code in (200, 202), (action, reply.status_code, reply.text)
        return reply

    def service(self):
        services = self.get("/os-services?binary=nova-compute")["services"]
        return services[0] if services else None

    def compute_start(self, *more):
        """Starts nova-compute, and waits until its service is up and its host is known to the cell. `more`: of its
        arguments."""
        # The service counts as up for a while after the end of the previous process.
        before = (self.service() or {}).get("updated_at")
        self.compute = spawn(["nova-compute", *self.conf("nova"), *more], self.log("nova-compute"))
        deadline = time.monotonic() + 120
        while True:
            service = self.service()
            if service and service["state"] == "up" and service["updated_at"] != before and self.has_hypervisor():
                break
            if self.compute.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nova-compute did not come up; see {self.log('nova-compute')}")
            time.sleep(0.5)
        if not self.discovered:
            self.discovered = True
            run(["nova-manage", *self.conf("nova"), "cell_v2", "discover_hosts"],
                self.log("nova-manage"))

    def has_hypervisor(self):
        """Returns whether nova-compute has reported its node. A cell then maps it."""
        with open(self.log("nova-compute"), errors="replace") as file:
            return "Created resource provider record" in file.read() or self.discovered

    def compute_stop(self):
        end(self.compute, 30)
        self.compute = None

    def upload(self, name, path, disk_format, **properties):
        container = disk_format if disk_format in ("aki", "ari") else "bare"
        return self.connection().image.create_image(name=name, filename=path, disk_format=disk_format,
                                                    container_format=container, wait=True, **properties).id

    def make_image(self, name, megabytes=24, virtual="64M", **properties):
        raw, path = self.folder.file("base.raw"), self.folder.file("base.qcow2")
        with open(raw, "wb") as file:
            file.write(os.urandom(megabytes << 20))
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
        subprocess.run(["qemu-img", "resize", "-q", "-f", "qcow2", path, virtual], check=True)
        os.remove(raw)
        image = self.upload(name, path, "qcow2", **properties)
        os.remove(path)
        return image

    def make_raw_image(self, name, megabytes, virtual, **properties):
        """Makes an image with random data, of which Nova can clone a disk in Ceph."""
        path = self.folder.file("base.raw")
        with open(path, "wb") as file:
            for _ in range(megabytes):
                file.write(os.urandom(1 << 20))
            file.truncate(virtual << 20)
        image = self.upload(name, path, "raw", **properties)
        os.remove(path)
        return image

    def make_flavor(self, ram=64, disk=1):
        return self.connection().compute.create_flavor(name=f"tiny-{ram}", ram=ram, vcpus=1, disk=disk).id

    def boot(self, names, image, flavor):
        """Starts servers of these names at the same time. Returns name -> id when all are active."""
        compute = self.connection().compute
        ids = {name: compute.create_server(name=name, image_id=image, flavor_id=flavor,
                                           networks="none").id for name in names}
        deadline = time.monotonic() + 300
        for server in ids.values():
            while (state := compute.get_server(server)).status != "ACTIVE":
                if state.status == "ERROR" or time.monotonic() > deadline:
                    raise RuntimeError(f"server {state.name} is {state.status}; see "
                                       f"{self.log('nova-compute')}")
                time.sleep(0.5)
        return ids

    def disk(self, server):
        return os.path.join(self.instances, server, "disk")

    def remove_domains(self):
        """Removes the guests that are left in libvirt."""
        for uuid in self.libvirt.virsh("list", "--all", "--uuid", check=False).split():
            for command in (["destroy", uuid], ["undefine", uuid, "--managed-save", "--nvram"]):
                self.libvirt.virsh(*command, check=False)
