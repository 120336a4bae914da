# SPDX-License-Identifier: LGPL-2.1-or-later
"""The queue layouts: sets of options of [oslo_messaging_rabbit] that shape what a service declares at its broker. Those
of the deployment tools are named after them."""
import oslo_messaging.opts

SECTION = "oslo_messaging_rabbit"
HOSTNAME = "node1.example.org"  # of the queue manager, which is not [DEFAULT]host

_QUORUM = {"rabbit_quorum_queue": "true"}
_TRANSIENT = {"rabbit_transient_quorum_queue": "true"}
_STREAM = {**_TRANSIENT, "rabbit_stream_fanout": "true", "rabbit_qos_prefetch_count": "10"}
_MANAGER = {"use_queue_manager": "true", "hostname": HOSTNAME}
_LIMITS = {"rabbit_quorum_delivery_limit": "7", "rabbit_quorum_max_memory_length": "1000",
           "rabbit_quorum_max_memory_bytes": "5000000000"}

LAYOUTS = {
    "defaults": {},
    "durable": {"amqp_durable_queues": "true"},
    "auto-delete": {"amqp_auto_delete": "true"},
    "durable-auto-delete": {"amqp_durable_queues": "true", "amqp_auto_delete": "true"},
    "mirrored": {"rabbit_ha_queues": "true"},
    "cancel-on-failover": {"enable_cancel_on_failover": "true"},
    "prefetch": {"rabbit_qos_prefetch_count": "20"},
    "ttl": {"rabbit_transient_queues_ttl": "600"},
    "ttl-0": {"rabbit_transient_queues_ttl": "0"},
    "quorum": _QUORUM,
    "quorum-durable": {**_QUORUM, "amqp_durable_queues": "true"},
    "quorum-delivery-limit": {**_QUORUM, "rabbit_quorum_delivery_limit": "7"},
    "quorum-memory-length": {**_QUORUM, "rabbit_quorum_max_memory_length": "1000"},
    "quorum-memory-bytes": {**_QUORUM, "rabbit_quorum_max_memory_bytes": "5000000000"},
    "quorum-limits": {**_QUORUM, **_LIMITS},
    "limits-without-quorum": _LIMITS,
    "transient": _TRANSIENT,
    "transient-ttl-0": {**_TRANSIENT, "rabbit_transient_queues_ttl": "0"},
    "quorum-transient": {**_QUORUM, **_TRANSIENT},
    "quorum-transient-limits": {**_QUORUM, **_TRANSIENT, **_LIMITS},
    "stream": {**_QUORUM, **_STREAM},
    "stream-without-quorum": _STREAM,
    "stream-limits": {**_QUORUM, **_STREAM, **_LIMITS},
    "stream-ttl-0": {**_QUORUM, **_STREAM, "rabbit_transient_queues_ttl": "0"},
    "manager": _MANAGER,
    "manager-processname": {**_MANAGER, "processname": "other"},
    "manager-quorum-transient": {**_QUORUM, **_TRANSIENT, **_MANAGER},
    "manager-stream": {**_QUORUM, **_STREAM, **_MANAGER},
    # Kolla Ansible, until 2023.2 and since.
    "kolla-durable": {"amqp_durable_queues": "true", "heartbeat_in_pthread": "false"},
    "kolla": {**_QUORUM, **_TRANSIENT, "rabbit_stream_fanout": "true", "rabbit_qos_prefetch_count": "50",
              "use_queue_manager": "true", "amqp_durable_queues": "true"},
    "openstack-ansible": {**_QUORUM, **_STREAM, **_MANAGER, "hostname": "node1-nova-compute",
                          "rabbit_quorum_delivery_limit": "0", "rabbit_quorum_max_memory_bytes": "0"},
}
# Names that older releases have for an option. Newer ones still read them.
_OLD_NAMES = {"rabbit_quorum_max_memory_length": "rabbit_quroum_max_memory_length",
              "rabbit_quorum_max_memory_bytes": "rabbit_quroum_max_memory_bytes"}


def _registered():
    return {option.dest: option for section, options in oslo_messaging.opts.list_opts()
            if section == SECTION for option in options}


def known_layouts():
    """Returns the layouts that the installed oslo.messaging can have: name -> options, by the names that it knows."""
    registered, known = _registered(), {}
    for layout, options in LAYOUTS.items():
        options = {name if name in registered else _OLD_NAMES.get(name, name): value for name, value in options.items()}
        if all(name in registered and _takes(registered[name], value) for name, value in options.items()):
            known[layout] = options
    return known


def _takes(option, value):
    """rabbit_transient_queues_ttl could not be 0 before oslo.messaging 14.1."""
    try:
        option.type(value)
    except ValueError:
        return False
    return True
