#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks that each call which changes libvirt, Glance, the conductor or a file has a fault point before and after it,
in the function that makes it or in each caller of that function; and that each call which waits for libvirt has a limit
(virt/libvirt/call-timeout.h). Prints those that have none, and fails."""
import glob
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHANGES = r"""virDomain(ManagedSave\w*|Create|CreateWithFlags|BlockCopy|BlockJobAbort|BlockRebase|BlockCommit|
BackupBegin|AbortJob|Undefine\w*|DefineXML|FSFreeze|FSThaw|Suspend|Resume|Shutdown\w*|Destroy\w*|SnapshotCreateXML)
|g_mkdir|g_mkdtemp|g_unlink|g_rmdir|g_rename|qemu_img_(create_delta|snapshot_create|snapshot_delete|convert|rebase)
|nova_conductor_(instance_save|event_start|event_finish|fault_create)
|image_rbd_(snap_create|snap_protect|snap_remove|clone|flatten|remove)
|image_store_(update|upload|delete|add_location)|virt_direct_copy_remove|cinder_snapshot_update|nbd_server_start""".replace("\n", "")
BEFORE = re.compile(r'\b(task_)?step_begin\(|fault_at\([^,]+, "before"\)')
AFTER = re.compile(r'\b(task_)?step_end\(|fault_at\([^,]+, "after"\)')
# Functions that are called through a table.
TABLES = {"virt/rollback.c": "rollback_step", "virt/domain/power.c": "call_on_guest", "agent/method/power.c": "change_power_state"}
# Functions that have an effect but are no step of a job, and why.
FREE = {
    "virt_host_sweep": "what an earlier process left, at the start",
    "scratch_guard_main": "the guard of a stream: the job's end is the step `end`, whoever comes first",
    "virt_thaw_watch": "novasnap-thaw, a process of its own, for when novasnapd has died",
    "frozen_guests_free": "the end of the process",
    "exporter_stop": "no job", "rejected_keep": "no job", "journal_close": "the journal itself",
}
# Files whose effects are no steps: the directory store, the journal, rejected messages, the status socket, and what
# novasnap beside has done.
OTHER_FILES = ("image/store/directory.c", "image/store/directory-file.c", "agent/journal/open.c", "rpc/rejected.c",
               "virt/domain/thaw-watchdog.c", "agent/daemon/status.c", "agent/beside/state.c",
               "agent/command/beside-guard.c")


# They wait for no answer; call-timeout.c limits virConnectOpen itself.
UNASKED = {"virConnectIsAlive", "virConnectOpen", "virConnectRef", "virConnectSetKeepAlive", "virDomainFree", "virDomainGetConnect",
           "virDomainGetName", "virDomainGetUUIDString", "virDomainRef", "virDomainSnapshotFree"}


def unlimited(code):
    with open(os.path.join(TOP, "virt/libvirt/call-timeout.h")) as file:
        limited = set(re.findall(r"#define (vir\w+)\(", file.read()))
    return {f"{path}: {name}: {call} has no limit" for (path, name), body in code.items()
            for call in re.findall(r"\b(vir(?:Domain|Connect)\w+)\(", body)
            if call not in limited | UNASKED}


def functions(path):
    """Returns the name and body of each function."""
    with open(os.path.join(TOP, path)) as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    for match in re.finditer(r"^(?![#\s}])([^;{}=]*?)\n\{\n(.*?)^\}", text, re.M | re.S):
        name = re.search(r"(\w+)\(", match[1])
        if name and "struct {" not in match[1]:
            yield name[1], match[2]


def main():
    code = {}
    for room in ("agent", "virt", "image"):
        for path in sorted(glob.glob(os.path.join(TOP, room, "**/*.c"), recursive=True)):
            path = os.path.relpath(path, TOP)
            for name, body in functions(path):
                code[path, name] = body
    public = {name: key for key in code for name in [key[1]]}

    def callers(path, name):
        found = [key for key, body in code.items() if key[1] != name and
                 re.search(rf"\b{name}\(", body) and (key[0] == path or name not in
                                                      {k[1] for k in code if k[0] == key[0]})]
        if not found and path in TABLES:
            return [public[TABLES[path]]]
        by_table = [public[target] for source, target in TABLES.items() if source != path
                    and name.startswith("virt_guest_") and source == "agent/method/power.c"]
        return found or by_table

    def reach(path, name):
        """Returns the body of a function, with those of the functions of its file that it calls."""
        body = code[path, name]
        return body + "".join(text for (where, called), text in code.items()
                              if where == path and re.search(rf"\b{called}\(", body))

    def uncovered(path, name, seen):
        body = reach(path, name)
        if (path, name) in seen or name in FREE or (BEFORE.search(body) and AFTER.search(body)):
            return []
        above = callers(path, name)
        if not above:
            return [f"{path}: {name}"]
        return [line for key in above for line in uncovered(*key, seen | {(path, name)})]

    missing, calls = unlimited(code), 0
    for (path, name), body in code.items():
        if path in OTHER_FILES:
            continue
        for call in re.finditer(rf"\b({CHANGES})\(", body):
            calls += 1
            missing |= {f"{path}: {name}: {call[1]} (from {line})"
                        for line in uncovered(path, name, frozenset())}
    print("\n".join(sorted(missing)))
    print(f"{calls} calls that have an effect, {len(missing)} without points or limits")
    return 1 if missing or calls < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
