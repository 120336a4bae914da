# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private, real OpenStack control plane from Debian's packages: Keystone, Glance, Placement, nova-api,
nova-conductor, nova-scheduler, nova-compute, MariaDB, RabbitMQ and libvirtd, all on free ports of the loopback and in
one folder. Neutron is the only stand-in: the servers have no ports."""
import concurrent.futures
import json
import os
import subprocess
import time

import openstack

from broker import Broker
from libvirtd import Libvirtd, qemu_may_use_kvm
from process import end, free_port, spawn, wait_port
from standin_http import Handler, HttpStandIn

PASSWORD = "e2e"
REGION = "RegionOne"
MICROVERSION = "2.90"
DATABASES = ("keystone", "glance", "placement", "nova", "nova_api", "nova_cell0")


class _NeutronHandler(Handler):
    def do_GET(self):
        name = self.path.split("?")[0].rstrip("/").split("/")[-1].split(".")[0].replace("-", "_")
        body = {"resources": []} if name in ("", "v2_0") else {name: []}
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


class Cloud:
    def __init__(self, folder, host="lab"):
        self.folder, self.host = folder, host
        self.broker, self.libvirt, self.neutron = Broker(folder), Libvirtd(folder), NeutronStandIn()
        self.etc, self.logs = folder.make("etc"), folder.make("log")
        self.images, self.state = folder.make("images"), folder.make("nova")
        self.instances = folder.make("nova/instances")
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

    def auth(self, user):
        return (f"www_authenticate_uri = {self.url('keystone')}\n"
                f"auth_url = {self.url('keystone', '/v3')}\nauth_type = password\n"
                "project_domain_name = Default\nuser_domain_name = Default\n"
                f"project_name = service\nusername = {user}\npassword = {PASSWORD}\n"
                f"region_name = {REGION}\n")

    def write_configuration(self):
        locks = self.folder.file("locks")
        privsep = f"helper_command = env privsep-helper --config-file {self.nova_conf}\n"
        files = {
            "keystone.conf": f"""[database]
connection = {self.database('keystone')}
[token]
provider = fernet
[fernet_tokens]
key_repository = {self.folder.file('fernet')}
[credential]
key_repository = {self.folder.file('credentials')}
[cache]
enabled = false
""",
            "glance-api.conf": f"""[DEFAULT]
bind_host = 127.0.0.1
bind_port = {self.port['glance']}
workers = 0
enabled_backends = file:file
[database]
connection = {self.database('glance')}
[glance_store]
default_backend = file
[file]
filesystem_store_datadir = {self.images}
[paste_deploy]
flavor = keystone
config_file = /etc/glance/glance-api-paste.ini
[keystone_authtoken]
{self.auth('glance')}[oslo_concurrency]
lock_path = {locks}
""",
            "placement.conf": f"""[placement_database]
connection = {self.database('placement')}
[api]
auth_strategy = keystone
[keystone_authtoken]
{self.auth('placement')}""",
            "nova.conf": f"""[DEFAULT]
host = {self.host}
my_ip = 127.0.0.1
transport_url = {self.broker.url}
state_path = {self.state}
instances_path = {self.instances}
osapi_compute_listen = 127.0.0.1
osapi_compute_listen_port = {self.port['nova']}
osapi_compute_workers = 1
enabled_apis = osapi_compute
compute_driver = libvirt.LibvirtDriver
rpc_response_timeout = 60
report_interval = 3
service_down_time = 120
shutdown_timeout = 3
shelved_offload_time = -1
running_deleted_instance_action = noop
sync_power_state_interval = -1
heal_instance_info_cache_interval = -1
scheduler_instance_sync_interval = -1
[api_database]
connection = {self.database('nova_api')}
[database]
connection = {self.database('nova')}
[api]
auth_strategy = keystone
[keystone_authtoken]
{self.auth('nova')}[service_user]
send_service_user_token = true
{self.auth('nova')}[placement]
{self.auth('placement')}[glance]
{self.auth('glance')}api_servers = {self.url('glance')}
num_retries = 1
[neutron]
{self.auth('neutron')}endpoint_override = {self.url('neutron')}
[libvirt]
connection_uri = {self.libvirt.uri}
virt_type = {'kvm' if qemu_may_use_kvm() else 'qemu'}
cpu_mode = none
images_type = qcow2
snapshot_image_format = qcow2
[vnc]
enabled = false
[conductor]
workers = 1
[scheduler]
workers = 1
discover_hosts_in_cells_interval = -1
[oslo_concurrency]
lock_path = {locks}
[oslo_messaging_notifications]
driver = messagingv2
[notifications]
notification_format = both
[wsgi]
api_paste_config = /etc/nova/api-paste.ini
[privsep_osbrick]
{privsep}[vif_plug_linux_bridge_privileged]
{privsep}[nova_sys_admin]
{privsep}""",
        }
        for name, text in files.items():
            with open(os.path.join(self.etc, name), "w") as file:
                file.write(text)

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
        run(["mariadb-install-db", "--no-defaults", "--user=root", "--auth-root-authentication-method=normal",
             "--skip-test-db", f"--datadir={data}"], self.log("mariadb"))
        socket = self.folder.file("mysql.sock")
        process = self.spawn("mariadb", [
            "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={socket}",
            "--bind-address=127.0.0.1", f"--port={self.port['mysql']}", "--skip-log-bin",
            f"--pid-file={self.folder.file('mysqld.pid')}", "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0", "--sync-binlog=0", "--max-connections=300"])
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
        process = self.spawn_wsgi("keystone", "/usr/bin/keystone-wsgi-public",
                                  {"OS_KEYSTONE_CONFIG_FILES": os.path.join(self.etc, "keystone.conf")})
        wait_port(self.port["keystone"], process, "Keystone", self.log("keystone"))
        self.fill_keystone()

    def spawn_wsgi(self, name, program, env):
        return self.spawn(name, [
            "uwsgi_python3", "--http11-socket", f"127.0.0.1:{self.port[name]}", "--wsgi-file", program,
            "--processes", "2", "--master", "--die-on-term", "--need-app", "--no-orphans"], env)

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
        process = self.spawn("glance", ["glance-api", *self.conf("glance-api")])
        wait_port(self.port["glance"], process, "Glance", self.log("glance"))

    def sync_nova(self):
        manage, log = ["nova-manage", *self.conf("nova")], self.log("nova-manage")
        run([*manage, "api_db", "sync"], log)
        run([*manage, "cell_v2", "map_cell0", "--database_connection", self.database("nova_cell0")], log)
        run([*manage, "db", "sync"], log)
        run([*manage, "cell_v2", "create_cell", "--name", "cell1"], log)

    def start(self):
        began = time.monotonic()
        self.write_configuration()
        self.broker.start(wait=False)
        self.libvirt.start(wait=False)
        self.neutron.start()
        self.start_mariadb()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            keystone = pool.submit(self.sync_keystone)
            nova = pool.submit(self.sync_nova)
            glance = pool.submit(run, ["glance-manage", *self.conf("glance-api"), "db_sync"],
                                 self.log("glance"))
            placement = pool.submit(run, ["placement-manage", *self.conf("placement"), "db", "sync"],
                                    self.log("placement"))
            keystone.result()
            self.start_keystone()
            glance.result()
            up = {"glance": self.spawn("glance", ["glance-api", *self.conf("glance-api")])}
            placement.result()
            up["placement"] = self.spawn_wsgi("placement", "/usr/bin/placement-api",
                                              {"OS_PLACEMENT_CONFIG_DIR": self.etc})
            nova.result()
        self.broker.wait()
        self.libvirt.wait()
        for name in ("nova-conductor", "nova-scheduler"):
            self.spawn(name, [name, *self.conf("nova")])
        up["nova"] = self.spawn("nova-api", ["nova-api", *self.conf("nova")])
        for name, process in up.items():
            wait_port(self.port[name], process, name, self.log("nova-api" if name == "nova" else name))
        print(f"# the control plane is up after {time.monotonic() - began:.0f} s", flush=True)

    def stop(self):
        self.compute_stop()
        self.remove_domains()
        # nova-api and conductor first: they complain for long about a database that went away.
        for process in reversed(self.processes):
            end(process, 15)
        self.processes = []
        for service in (self.neutron, self.broker, self.libvirt):
            service.stop()

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

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

    def make_image(self, name, megabytes=24, virtual="64M"):
        raw, path = self.folder.file("base.raw"), self.folder.file("base.qcow2")
        with open(raw, "wb") as file:
            file.write(os.urandom(megabytes << 20))
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
        subprocess.run(["qemu-img", "resize", "-q", "-f", "qcow2", path, virtual], check=True)
        os.remove(raw)
        glance = self.connection().image
        image = glance.create_image(name=name, filename=path, disk_format="qcow2",
                                    container_format="bare", wait=True)
        os.remove(path)
        return image.id

    def make_flavor(self):
        return self.connection().compute.create_flavor(name="tiny", ram=64, vcpus=1, disk=1).id

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
