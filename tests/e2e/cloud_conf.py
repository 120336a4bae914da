# SPDX-License-Identifier: LGPL-2.1-or-later
"""The configuration files of a cloud's services."""
import os

from glance import stores_options
from libvirtd import qemu_may_use_kvm

PASSWORD = "e2e"
REGION = "RegionOne"

# Of [oslo_messaging_rabbit]: quorum queues also for what is transient, streams for the fanouts, and queues with names
# that stay, as the deployment tools of today set them. `hostname` is the queue manager's, which counts in files of
# /dev/shm: two clouds with one name would give two transports of a process the same queue of replies.
MODERN = """rabbit_quorum_queue = true
rabbit_transient_quorum_queue = true
rabbit_stream_fanout = true
rabbit_qos_prefetch_count = 10
use_queue_manager = true
hostname = {queue_manager}
"""
# Of [oslo_messaging_rabbit] and of rabbitmq.conf. With "modern-denied" the broker refuses each transient queue that is
# not exclusive.
MESSAGING = {"plain": ("", []), "modern": (MODERN, []),
             "modern-denied": (MODERN, ["deprecated_features.permit.transient_nonexcl_queues = false"])}


def write(cloud):
    """Writes the files of a cloud's services into its folder for them."""
    for name, make in (("keystone", keystone), ("glance-api", glance), ("placement", placement), ("nova", nova)):
        with open(os.path.join(cloud.etc, f"{name}.conf"), "w") as file:
            file.write(make(cloud))


def auth(cloud, user):
    return (f"www_authenticate_uri = {cloud.url('keystone')}\n"
            f"auth_url = {cloud.url('keystone', '/v3')}\nauth_type = password\n"
            "project_domain_name = Default\nuser_domain_name = Default\n"
            f"project_name = service\nusername = {user}\npassword = {PASSWORD}\n"
            f"region_name = {REGION}\n")


def keystone(cloud):
    return f"""[database]
connection = {cloud.database('keystone')}
[token]
provider = fernet
[fernet_tokens]
key_repository = {cloud.folder.file('fernet')}
[credential]
key_repository = {cloud.folder.file('credentials')}
[cache]
enabled = false
"""


def glance(cloud):
    backends, stores = stores_options(cloud.folder.file("glance"), cloud.stores)
    return f"""[DEFAULT]
bind_host = 127.0.0.1
bind_port = {cloud.port['glance']}
workers = 0
{backends}{"".join(f"{key} = true{chr(10)}" for key in cloud.shown_locations)}[database]
connection = {cloud.database('glance')}
{stores}[paste_deploy]
flavor = keystone
config_file = /etc/glance/glance-api-paste.ini
[keystone_authtoken]
{auth(cloud, 'glance')}[oslo_policy]
policy_file = {cloud.etc}/glance-policy.yaml
[oslo_concurrency]
lock_path = {cloud.folder.file('locks')}
"""


def placement(cloud):
    return f"""[placement_database]
connection = {cloud.database('placement')}
[api]
auth_strategy = keystone
[keystone_authtoken]
{auth(cloud, 'placement')}"""


def disks(cloud):
    """Returns the lines on the disks of the servers, of [libvirt]."""
    if not cloud.ceph:
        return "images_type = qcow2\nsnapshot_image_format = qcow2\n"
    user = cloud.ceph.users["nova"]
    return (f"images_type = rbd\nimages_rbd_pool = vms\nimages_rbd_ceph_conf = {user.conf}\nrbd_user = {user.name}\n"
            f"rbd_secret_uuid = {user.secret}\n")


def nova(cloud):
    privsep = f"helper_command = env privsep-helper --config-file {cloud.nova_conf}\n"
    return f"""[DEFAULT]
host = {cloud.host}
my_ip = 127.0.0.1
transport_url = {cloud.broker.url}
state_path = {cloud.state}
instances_path = {cloud.instances}
osapi_compute_listen = 127.0.0.1
osapi_compute_listen_port = {cloud.port['nova']}
osapi_compute_workers = 1
enabled_apis = osapi_compute
compute_driver = libvirt.LibvirtDriver
rpc_response_timeout = 60
report_interval = 3
service_down_time = 120
shutdown_timeout = 3
shelved_offload_time = -1
allow_resize_to_same_host = true
running_deleted_instance_action = noop
sync_power_state_interval = -1
heal_instance_info_cache_interval = -1
scheduler_instance_sync_interval = -1
[api_database]
connection = {cloud.database('nova_api')}
[database]
connection = {cloud.database('nova')}
[api]
auth_strategy = keystone
[keystone_authtoken]
{auth(cloud, 'nova')}[service_user]
send_service_user_token = true
{auth(cloud, 'nova')}[placement]
{auth(cloud, 'placement')}[glance]
{auth(cloud, 'glance')}api_servers = {cloud.url('glance')}
num_retries = 1
[neutron]
{auth(cloud, 'neutron')}endpoint_override = {cloud.url('neutron')}
[cinder]
endpoint_template = {cloud.volumes.template}
[libvirt]
connection_uri = {cloud.libvirt.uri}
virt_type = {'kvm' if qemu_may_use_kvm() else 'qemu'}
cpu_mode = none
{disks(cloud)}[vnc]
enabled = false
[conductor]
workers = 1
[scheduler]
workers = 1
discover_hosts_in_cells_interval = -1
[oslo_concurrency]
lock_path = {cloud.folder.file('locks')}
[oslo_messaging_notifications]
driver = messagingv2
[oslo_messaging_rabbit]
{MESSAGING[cloud.messaging][0].format(queue_manager=cloud.queue_manager)}[notifications]
notification_format = both
[wsgi]
api_paste_config = /etc/nova/api-paste.ini
[privsep_osbrick]
{privsep}[vif_plug_linux_bridge_privileged]
{privsep}[nova_sys_admin]
{privsep}"""
