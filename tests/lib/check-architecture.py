#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks the architecture of the C code, without building it.

A module is a .c file with the header of the same name; a room's public header is a module of its own. The check fails on
- a cycle of modules, where an edge is an #include of the other's header, or a call of a function that the other defines
  (calls through a table of function pointers do not count);
- an #include that crosses folders against MAY_INCLUDE, or that brings a library's header into a foreign room.

  check-architecture.py [--graph] [TOP]
  check-architecture.py --self-test   whether it finds faults that are put into a small tree
"""
import glob
import os
import re
import sys
import tempfile

ROOMS = ("agent", "virt", "image", "rpc")

# What the files of a folder may include beside their own folder and the public headers at the root of their own room.
# A name that ends in .h is one header, any other name is a folder.
MAY_INCLUDE = {
    "agent": {"agent/command", "agent/config", "agent/daemon", "rpc", "image", "virt"},
    "agent/command": {"agent/beside", "agent/check", "agent/config", "agent/daemon", "agent/journal", "agent/method", "agent/task",
                      "rpc", "image", "virt"},
    "agent/daemon": {"agent/beside", "agent/config", "agent/journal", "agent/method", "agent/metrics", "agent/recovery",
                     "agent/task", "rpc", "image", "virt"},
    "agent/recovery": {"agent/config", "agent/journal", "agent/task", "rpc", "image", "virt"},
    "agent/method": {"agent/config", "agent/journal", "agent/task", "rpc", "image", "virt"},
    "agent/task": {"agent/config", "agent/journal", "agent/metrics", "rpc", "image", "virt"},
    "agent/check": {"agent/beside", "agent/config", "rpc", "image", "virt"},
    "agent/beside": {"agent/config", "rpc", "image", "virt"},
    "agent/journal": set(),
    "agent/metrics": set(),
    "agent/config": {"rpc", "image", "virt"},
    "virt": {"virt/method", "virt/domain", "virt/libvirt", "image/rbd.h", "image/source.h"},
    "virt/method": {"virt/domain", "virt/libvirt", "image/rbd.h", "image/source.h"},
    "virt/domain": {"virt/libvirt", "image/source.h"},
    "virt/libvirt": {"image/source.h"},
    "image": {"image/rbd", "image/source", "image/store", "image/openstack"},
    "image/store": {"image/openstack", "image/source"},
    "image/openstack": set(),
    "image/source": set(),
    "image/rbd": set(),
    "image/rbd/server": {"image/rbd"},
    "rpc": {"rpc/amqp"},
    "rpc/amqp": set(),
    "rpc/nova": set(),
}
# From another room, only these headers.
PUBLIC = {
    "rpc": {"rpc/rpc.h", "rpc/nova.h", "rpc/json.h", "rpc/beside.h", "rpc/forward.h", "rpc/beside-look.h"},
    "image": {"image/image.h", "image/source.h", "image/cinder.h", "image/rbd.h"},
    "virt": {"virt/virt.h"},
}
# A library's header and the one room, or folder, that may include it.
LIBRARIES = {"microhttpd": "agent/metrics", "rbd/": "image/rbd/server", "rados/": "image/rbd/server",
             "amqp": "rpc", "rabbitmq-c/": "rpc", "libvirt/": "virt", "libxml/": "virt", "curl/": "image", "libnbd": "image",
             "sqlite3": "agent", "systemd/": "agent", "bzlib": "rpc", "lzma": "rpc", "brotli/": "rpc"}


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def strip(text):
    """Returns the code without comments and strings."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', " ", text, flags=re.S)


def folder_rule(path, header):
    """Returns why `path` may not include `header`, or None if it may."""
    folder, target = os.path.dirname(path), os.path.dirname(header)
    room, other = path.split("/")[0], header.split("/")[0]
    if other not in ROOMS:
        return f"includes {header}, which is in no room"
    if folder not in MAY_INCLUDE:
        return f"is in a folder that this check does not know: {folder}"
    allowed = MAY_INCLUDE[folder]
    if room != other:
        if header not in PUBLIC.get(other, set()):
            return f"includes {header}, which is not public outside of {other}/"
        return None if other in allowed or header in allowed else f"includes {header}: {folder}/ may not use {other}/"
    if folder == target or target == room or target in allowed or header in allowed:
        return None
    return f"includes {header}: {folder}/ may not use {target}/"


def module_of(path):
    return path if path in set().union(*PUBLIC.values()) else path[:-2]


def library_rule(path, header):
    for prefix, room in LIBRARIES.items():
        if header.startswith(prefix) and not path.startswith(room + "/"):
            return f"includes <{header}>, which only {room}/ may use"
    return None


def load(top):
    """Returns {module: {"includes": {module}, "calls": {module: function}}}, and the errors of the include rules."""
    paths = sorted(path for room in ROOMS for path in glob.glob(f"{room}/**/*.[ch]", root_dir=top, recursive=True))
    texts = {path: read(os.path.join(top, path)) for path in paths}
    code = {path: strip(text) for path, text in texts.items()}
    errors, defined, edges = [], {}, {}
    for path in paths:
        if not path.endswith(".c"):
            continue
        # A definition begins at the margin, and so does its brace.
        for match in re.finditer(r"^(?!static\b)[A-Za-z_][^;{}=#]*?\b(\w+)\([^;{}]*\)\s*\n\{", code[path], re.M):
            if "static" not in match[0].split(match[1])[0].split():
                defined.setdefault(match[1], path[:-2])
    for path in paths:
        module = module_of(path)
        uses = edges.setdefault(module, {})
        for header in re.findall(r'^#include "([^"]+)"', texts[path], re.M):
            if why := folder_rule(path, header):
                errors.append(f"{path}: {why}")
            if module_of(header) != module:
                uses.setdefault(module_of(header), f"includes {header}")
        for header in re.findall(r"^#\s*include <([^>]+)>", texts[path], re.M):
            if why := library_rule(path, header):
                errors.append(f"{path}: {why}")
        for name in set(re.findall(r"\b(\w+)\(", code[path])) & defined.keys():
            if defined[name] != module and path.endswith(".c"):
                uses.setdefault(defined[name], f"calls {name}")
    return edges, errors


def cycles(edges):
    """Returns the strongly connected components of more than one module (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(module):
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in edges.get(module, {}):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            component = []
            while True:
                component.append(stack.pop())
                if component[-1] == module:
                    break
            if len(component) > 1:
                found.append(sorted(component))

    sys.setrecursionlimit(10000)
    for module in sorted(edges):
        if module not in index:
            visit(module)
    return found


# A tree without a fault, and faults: a file, its text, and what the check must report; None: the next fault belongs to it.
GOOD = {
    "rpc/rpc.h": "int rpc_open(void);\n",
    "rpc/rpc.c": '#include "rpc/rpc.h"\n#include "rpc/amqp/link.h"\n\nint rpc_open(void)\n{\n\treturn link_open();\n}\n',
    "rpc/amqp/link.h": "int link_open(void);\n",
    "rpc/amqp/link.c": '#include <amqp.h>\n#include "rpc/amqp/link.h"\n\nint link_open(void)\n{\n\treturn 0;\n}\n',
    "virt/virt.h": '#include "image/source.h"\n',
    "image/source.h": "\n",
}
FAULTS = [
    ("rpc/amqp/link.c", "int rpc_open(void);\nint link_open(void)\n{\n\treturn rpc_open();\n}\n", "a cycle of files"),
    ("rpc/amqp/link.h", '#include "rpc/amqp/wire.h"\n', None),
    ("rpc/amqp/wire.h", '#include "rpc/amqp/link.h"\n', "a cycle of files"),
    ("virt/virt.h", '#include "image/image.h"\n', "may not use image/"),
    ("virt/virt.h", '#include "rpc/rpc.h"\n', "may not use rpc/"),
    ("virt/virt.h", "#include <amqp.h>\n", "which only rpc/ may use"),
    ("image/rbd/link.c", "#include <rbd/librbd.h>\n", "which only image/rbd/server/ may use"),
]


def self_test():
    def errors_of(files):
        with tempfile.TemporaryDirectory() as top:
            for path, text in files.items():
                os.makedirs(os.path.join(top, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(top, path), "w", encoding="utf-8") as file:
                    file.write(text)
            return check(top)[1]

    assert not errors_of(GOOD), errors_of(GOOD)
    together = {}
    for path, text, wanted in FAULTS:
        together[path] = text
        if wanted:
            found = errors_of({**GOOD, **together})
            assert any(re.search(wanted, error) for error in found), (path, wanted, found)
            together = {}
    print(f"{sum(wanted is not None for _, _, wanted in FAULTS)} faults found")


def check(top):
    edges, errors = load(top)
    for component in cycles(edges):
        errors.append("a cycle of files: " + ", ".join(component))
        errors += [f"  {module} {edges[module][other]}" for module in component for other in component
                   if other in edges[module]]
    return edges, errors


def main():
    if "--self-test" in sys.argv:
        return self_test()
    arguments = [argument for argument in sys.argv[1:] if argument != "--graph"]
    top = arguments[0] if arguments else os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    edges, errors = check(top)
    if "--graph" in sys.argv:
        for module in sorted(edges):
            for other, why in sorted(edges[module].items()):
                print(f"{module} -> {other}: {why}")
    print("\n".join(errors))
    print(f"{len(edges)} modules, {sum(map(len, edges.values()))} uses, "
          f"{sum(not error.startswith('  ') for error in errors)} errors")
    return 1 if errors or len(edges) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
