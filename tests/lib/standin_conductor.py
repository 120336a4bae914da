# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for nova-conductor, on the real oslo.messaging: for conductors that no Debian has (Grizzly's), and for
faults that the real one does not produce on demand: replies that come too late, task states that change meanwhile, a
database that is away. The real one is in make e2e."""
import collections
import json
import os
import threading
import time

import oslo_messaging

from oslo_conf import make_conf
from paths import CAST


class UnexpectedTaskStateError(Exception):
    """nova's exception, in the form in which it is sent."""

    def __init__(self, actual, expected):
        super().__init__(f"expected {expected}, actual {actual}")
        self.kwargs = {"actual": {"task_state": actual}, "expected": {"task_state": expected},
                       "code": 500}


class InstanceNotFound(Exception):
    def __init__(self, uuid):
        super().__init__(f"Instance {uuid} could not be found.")
        self.kwargs = {"instance_id": uuid, "code": 404}


class UnexpectedDeletingTaskStateError(UnexpectedTaskStateError):
    pass


class InstanceActionEventNotFound(Exception):
    def __init__(self, event):
        super().__init__(f"Event {event} not found for action id 1")
        self.kwargs = {"event": event, "code": 404}


class IncompatibleObjectVersion(Exception):
    """oslo.versionedobjects' own."""

    def __init__(self, name, version, supported):
        super().__init__(f"Version {version} of {name} is not supported, supported version is {supported}")
        self.kwargs = {"code": 500}


IncompatibleObjectVersion.__module__ = "oslo_versionedobjects.exception"

for kind in (UnexpectedTaskStateError, InstanceNotFound, UnexpectedDeletingTaskStateError,
             InstanceActionEventNotFound):
    kind.__module__ = "nova.exception"


# NOVASNAP_SERVICE_VERSION=74 runs tests as in a cloud of Nova 34 (rpc/nova/release.c).
SERVICE_VERSION = int(os.environ.get("NOVASNAP_SERVICE_VERSION", "0")) or None

# The versions of the classes that Rocky's conductor knows, of those that are queried.
ROCKY = {"InstanceActionEvent": "1.2", "Instance": "2.4", "BlockDeviceMappingList": "1.17", "ServiceList": "1.19",
         "Service": "1.22"}



def nova_object(name, version, data):
    return {"nova_object.name": name, "nova_object.namespace": "nova", "nova_object.version": version,
            "nova_object.data": data}


# Of every instance: none.
BLOCK_DEVICES = nova_object("BlockDeviceMappingList", "1.18", {"objects": []})
# What is remembered of an instance besides its task state.
KEPT = ("vm_state", "power_state", "system_metadata", "progress")


def _flavor():
    """That of the recorded cast."""
    with open(CAST) as file:
        return json.load(file)["args"]["instance"]["nova_object.data"]["flavor"]


class _State:
    """What both versions of the conductor share: the states of the instances, and a list of the requests."""

    def __init__(self):
        self.lock = threading.Lock()
        self.reset()

    def reset(self):
        """Forgets all requests."""
        self.task_states = {}  # uuid -> state; "gone" and "deleting" stand for themselves
        self.fields = {}  # uuid -> what else of KEPT was saved of it
        self.host = None  # of every instance; None: of the caller
        self.events = {}  # (uuid, event) -> whether it has ended
        self.actions = {}  # request -> its events: [event, result (None: not ended)]
        self.faults = []  # uuids
        self.fault_rows = []  # what was inserted, as objects
        self.late_events = 0  # so many of the next events are finished, and answered too late
        self.late_faults = 0  # so many of the next faults are inserted, and answered too late
        self.lists_faults = True  # else asking for an instance's faults fails
        self.calls = []
        self.queries = collections.Counter()  # of services' records: the class -> how many
        self.unwell = 0  # so many of the next refreshes fail, as with a database that is away
        self.late = 0  # so many of the next saves are done, and answered too late
        self.before_save = None  # called with (uuid, wanted state) before each save
        self.late_seconds = 4
        self.known = {}  # class -> the newest version that is known; others are known in any version
        self.service_version = SERVICE_VERSION  # in the record of every host's nova-compute; None: there is no record
        self.shares = []  # of every instance: the data of its ShareMappings

    def save(self, uuid, updates, expected):
        with self.lock:
            if self.before_save:
                self.before_save(uuid, updates.get("task_state"))
            actual = self.task_states.get(uuid)
            if actual == "gone":
                raise InstanceNotFound(uuid)
            wanted = expected if isinstance(expected, list) else [expected]
            if expected is not None and actual not in wanted:
                raise (UnexpectedDeletingTaskStateError if actual == "deleting" else
                       UnexpectedTaskStateError)(actual, wanted)
            if "task_state" in updates:
                self.task_states[uuid] = updates["task_state"]
            self.fields.setdefault(uuid, {}).update({key: updates[key] for key in KEPT if key in updates})
            late = self.late > 0
            self.late -= late
        if late:
            time.sleep(self.late_seconds)


    def start_event(self, request, event):
        """The event of a request's action, as nova-compute starts it."""
        self.actions.setdefault(request, []).append([event, None])

    def finish_event(self, request, uuid, event, failure):
        rows = [row for row in self.actions.get(request, []) if row[0] == event]
        if not rows or (uuid, event) not in self.events:
            raise InstanceActionEventNotFound(event)
        self.events[(uuid, event)] = True
        for row in rows:
            row[1] = row[1] or ("Error" if failure else "Success")

    def insert_fault(self, data):
        created_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self.lock:
            self.faults.append(data["instance_uuid"])
            self.fault_rows.append(nova_object("InstanceFault", "1.2", {
                **data, "id": len(self.fault_rows) + 1, "created_at": created_at, "updated_at": None,
                "deleted_at": None, "deleted": False}))
            late = self.late_faults > 0
            self.late_faults -= late
        if late:
            time.sleep(self.late_seconds)

    def list_faults(self, uuids):
        if not self.lists_faults:
            raise AttributeError("no such method")
        rows = [row for row in reversed(self.fault_rows) if row["nova_object.data"]["instance_uuid"] in uuids]
        return nova_object("InstanceFaultList", "1.2", {"objects": rows})


class _Objects:
    """Conductor RPC 3.0."""
    target = oslo_messaging.Target(version="3.0")

    def __init__(self, state):
        self.state = state

    def object_action(self, _context, objinst, objmethod, args, kwargs):
        data = objinst["nova_object.data"]
        name = objinst["nova_object.name"]
        changes = objinst.get("nova_object.changes") or []
        self.state.calls.append((f"{name}.{objmethod}", {key: data.get(key) for key in changes},
                                 kwargs))
        if objmethod == "refresh":
            if self.state.task_states.get(data["uuid"]) == "gone":
                raise InstanceNotFound(data["uuid"])
            if self.state.unwell > 0:
                self.state.unwell -= 1
                raise RuntimeError("the database is away")
            return [{**self.state.fields.get(data["uuid"], {}),
                     "task_state": self.state.task_states.get(data["uuid"]),
                     "host": self.state.host or data["host"], "obj_what_changed": []}, None]
        if name == "InstanceFault":
            self.state.insert_fault(data)
        if name == "Instance":
            self.state.save(data["uuid"], {key: data[key] for key in changes},
                            kwargs.get("expected_task_state"))
        return [{"obj_what_changed": []}, None]

    def _check_version(self, name, wanted):
        """As obj_class_from_name of oslo.versionedobjects: only the class itself must be known in that version."""
        known = self.state.known.get(name)
        if known and [int(part) for part in wanted.split(".")] > [int(part) for part in known.split(".")]:
            raise IncompatibleObjectVersion(name, wanted, known)

    def _find_service(self, name):
        """novasnapd asks for it from time to time, whatever it does: these calls are only counted."""
        self.state.queries[name] += 1
        if name == "ServiceList":
            return nova_object(name, "1.19", {"objects": []})
        return self.state.service_version and nova_object(name, "1.22", {"version": self.state.service_version})

    def _find_action(self, name, argument):
        """The action of a request, or the events of an action, whose id is the request's place."""
        if name == "InstanceAction":
            names = list(self.state.actions)
            return nova_object(name, "1.2", {"id": names.index(argument) + 1}) if argument in names else None
        rows = list(self.state.actions.values())[argument - 1]
        return nova_object(name, "1.1", {"objects": [
            nova_object("InstanceActionEvent", "1.4", {"event": event, "result": result}) for event, result in rows]})

    def object_class_action_versions(self, context, objname, objmethod, object_versions, args, kwargs):
        self._check_version(objname, object_versions[objname])
        if objname in ("Service", "ServiceList"):
            return self._find_service(objname)
        self.state.calls.append((f"{objname}.{objmethod}", args, kwargs))
        if objname == "ShareMappingList":
            return nova_object(objname, "1.0", {"objects": [nova_object("ShareMapping", "1.2", data)
                                                             for data in self.state.shares]})
        if objname in ("InstanceAction", "InstanceActionEventList"):
            return self._find_action(objname, args[-1])
        if objmethod == "event_start":
            self.state.events[tuple(args[:2])] = False
            self.state.start_event(context.get("request_id"), args[1])
        if objmethod == "event_finish_with_failure":
            self.state.finish_event(context.get("request_id"), *args[:2], kwargs.get("exc_val"))
            if self.state.late_events > 0:
                self.state.late_events -= 1
                time.sleep(self.state.late_seconds)
        if objname == "InstanceFaultList":
            return self.state.list_faults(*args)
        if objname == "Instance":
            return nova_object("Instance", object_versions[objname],
                               {"flavor": _flavor(), "old_flavor": None, "new_flavor": None})
        return BLOCK_DEVICES if objname == "BlockDeviceMappingList" else None


class _Plain:
    """Conductor RPC 1.38, Grizzly's."""
    target = oslo_messaging.Target(version="1.38")

    def __init__(self, state):
        self.state = state

    def instance_update(self, _context, instance_uuid, updates, service=None):
        self.state.calls.append(("instance_update", dict(updates), {"service": service}))
        self.state.save(instance_uuid, updates, updates.get("expected_task_state"))
        return {"uuid": instance_uuid}


class ConductorStandIn(_State):
    def __init__(self, url, conf=None):
        """`conf`: of oslo.messaging."""
        super().__init__()
        self.transport = oslo_messaging.get_rpc_transport(conf or make_conf(), url)
        self.server = None

    def start(self):
        self.server = oslo_messaging.get_rpc_server(
            self.transport, oslo_messaging.Target(exchange="nova", topic="conductor",
                                                   server="stand-in"),
            [_Objects(self), _Plain(self)], executor="threading",
            access_policy=oslo_messaging.DefaultRPCAccessPolicy)
        self.server.start()

    def stop(self):
        """Stops it. It may be started again; requests wait at the broker meanwhile."""
        if self.server:
            self.server.stop()
            self.server.wait()
            self.server = None

    def is_up(self):
        return self.server is not None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self.transport.cleanup()

    def names(self):
        return [call[0] for call in self.calls]

    def states(self):
        """Returns the task states that were requested, each with the expected one."""
        return [(updates["task_state"], (kwargs or {}).get("expected_task_state",
                                                          updates.get("expected_task_state")))
                for _name, updates, kwargs in self.calls
                if isinstance(updates, dict) and "task_state" in updates]
