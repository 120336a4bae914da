#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the seeds of the fuzz targets, and their dictionaries, made of the recordings in tests/data/wire, of the
configuration's sample, and of answers in the form that Glance, Keystone, libvirt, qemu-img and an NBD server give.

    seeds.py FOLDER     makes FOLDER/<target>/ and FOLDER/<target>.dict
"""
import base64
import bz2
import gzip
import json
import lzma
import pathlib
import re
import struct
import sys
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
WIRE = ROOT / "tests/data/wire"
SEPARATOR = "\x1e"
UUID = "2b5a5b29-ff82-456a-8cb5-56c0ad05b188"
IMAGE = "71e5a7b0-1730-41f5-afda-ba2a6f00b7f6"


def recordings():
    for path in sorted(WIRE.glob("*/*.jsonl")):
        yield [json.loads(line)["message"] for line in path.read_text().splitlines()]


def envelope():
    yield (WIRE / "snapshot_instance.body").read_text()
    for messages in recordings():
        for message in messages:
            yield json.dumps(message)
            yield json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)})
    args = {"instance": {"uuid": UUID, "system_metadata": [{"key": "a", "value": "b"}]}, "image_id": IMAGE,
            "image_type": "backup", "backup_type": "daily", "rotation": 1}
    yield json.dumps({"method": "snapshot_instance", "version": "2.9", "args": args, "_unique_id": "x"})
    yield json.dumps({"method": "novasnap_cancel", "version": "6.0", "args": {"id": UUID}, "_msg_id": "m",
                      "_reply_q": "q", "_timeout": 60})
    info = {"type": "qcow2", "snapshot_id": UUID, "new_file": "file", "file_to_merge": "a", "merge_target_file": "b"}
    instance = next(recordings())[0]["args"]["instance"]
    for name, extra in (("create", {}), ("delete", {"snapshot_id": UUID})):
        yield json.dumps({"method": f"volume_snapshot_{name}", "version": "6.0",
                          "args": {"instance": instance, "volume_id": UUID, f"{name}_info": info, **extra}})
    yield json.dumps({"failure": json.dumps({"class": "UnexpectedTaskStateError", "module": "nova.exception",
                                             "message": "m", "kwargs": {"actual": {"task_state": None}}}),
                      "_msg_id": "m", "ending": True})


def content():
    """The first byte picks the compression, see fuzz-content.c."""
    body = json.dumps({"method": "snapshot_instance", "args": {"a": ["b"] * 100}}).encode()
    short = b'{"method": "m"}'
    # One block that is not compressed: Python has no encoder of these two.
    zstd = b"\x28\xb5\x2f\xfd\x20" + bytes([len(short), len(short) << 3 | 1, 0, 0]) + short
    brotli = ((len(short) - 1) << 4 | 1 << 20).to_bytes(3, "little") + short + b"\x03"
    for kind, data in ((0, body), (1, zlib.compress(body)), (1, gzip.compress(body)), (2, bz2.compress(body)),
                       (3, lzma.compress(body)), (3, lzma.compress(body, lzma.FORMAT_ALONE)), (4, zstd), (5, brotli)):
        yield bytes([kind]) + data
        yield bytes([kind | 8]) + base64.b64encode(data)
        yield bytes([kind]) + data[:-3]
    yield bytes([1]) + zlib.compress(b"{" + b" " * 30000000)


def object():
    flavor = None
    for messages in recordings():
        args = messages[0]["args"]
        flavor = flavor or messages[0]["args"]["instance"]
        replies = [m["result"] for m in messages if isinstance(m.get("result"), list)]
        devices = {"nova_object.data": {"objects": [{"nova_object.data": {"volume_id": UUID, "boot_index": 0}}]}}
        parts = [args, *([] if "flavor" in args["instance"]["nova_object.data"] else [flavor]), devices, *replies[:3]]
        yield SEPARATOR.join(json.dumps(part) for part in parts)
    plain = {"instance": {"uuid": UUID, "image_ref": IMAGE, "metadata": [{"key": "a", "value": "b"}]}}
    yield SEPARATOR.join(json.dumps(part) for part in (plain, {}, {}, {}, {}, {"id": IMAGE, "status": "active"}))
    fault = {"code": 500, "message": "m", "host": "h", "created_at": "2026-11-24T04:24:38Z"}
    faults = {"nova_object.data": {"objects": [{"nova_object.data": fault}]}}
    update = [{"system_metadata": {"a": "b"}, "obj_what_changed": []}, None]
    secret = {"instance": {"nova_object.name": "Instance", "nova_object.namespace": "nova", "nova_object.version":
                           "2.7", "nova_object.data": {"uuid": UUID, "system_metadata": {"a": "***"}}}}
    yield SEPARATOR.join(json.dumps(part) for part in (secret, {}, {}, update, update, update, update, faults, faults))
    yield json.dumps({"instance_uuid": UUID})
    service = {"nova_object.name": "Service", "nova_object.data": {"id": 1, "disabled": True, "report_count": 5}}
    update = [{"report_count": 6, "obj_what_changed": []}, None]
    yield SEPARATOR.join(json.dumps(part) for part in ({}, service, update, update))
    yield SEPARATOR.join(json.dumps(part) for part in ({}, None, 64, update, update))


def domain_xml():
    disk = ("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/i/disk' index='2'/>"
            "<backingStore type='file'><format type='raw'/><source file='/b/base'/><backingStore/></backingStore>"
            "<mirror type='file' job='copy'><source file='/m'/></mirror>"
            "<target dev='vda' bus='virtio'/><serial>1</serial></disk>")
    block = ("<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/vg/x'/><target dev='vdb'/>"
             "</disk>")
    crypt = ("<disk type='file'><driver type='raw'/><source file='/x'><encryption format='luks'/></source>"
             "<target dev='sda'/></disk>")
    cdrom = "<disk type='file' device='cdrom'><source file='/i/disk.config'/><target dev='hda'/></disk>"
    for disks in (disk, block, crypt, cdrom + disk, disk + block):
        yield f"<domain type='kvm'><devices>{disks}<hostdev mode='subsystem'/></devices></domain>"
    yield ("<domain type='lxc'><devices><filesystem type='mount'><source dir='/i/rootfs'/><target dir='/'/>"
           "</filesystem></devices></domain>")
    yield ("<domainbackup mode='pull'><server transport='unix' socket='/run/s'/><disks><disk name='vda' "
           "backup='yes' index='5'><scratch file='/s'/></disk></disks></domainbackup>")
    yield "<!DOCTYPE d [<!ENTITY a 'x'><!ENTITY b '&a;&a;'>]><domain type='&b;'>&b;</domain>"


def chain():
    end = {"format": "qcow2", "virtual-size": 1, "format-specific": {"type": "qcow2", "data": {"compat": "1.1"}},
           "snapshots": [{"id": "1", "name": "novasnap"}]}
    backing = {**end, "full-backing-filename": "/usr/bin/env", "backing-filename": "env",
               "backing-filename-format": "qcow2"}
    yield json.dumps(end)
    yield SEPARATOR.join(json.dumps(part) for part in (backing, backing, end))
    yield json.dumps({**end, "encrypted": True})
    yield json.dumps({**end, "format-specific": {"data": {"data-file": "x"}}})
    yield json.dumps({**backing, "full-backing-filename": "json:{\"driver\":\"nbd\"}"})


RECORD = {"id": IMAGE, "name": "n", "status": "queued", "disk_format": "qcow2", "container_format": "bare",
          "size": None, "os_hash_algo": None, "os_hash_value": None, "created_at": "2026-11-23T04:24:38Z"}
ACTIVE = {**RECORD, "status": "active", "size": 1000, "os_hash_algo": "sha512", "os_hash_value": "ab"}


def answers(first, *replies):
    return first + SEPARATOR.join(f"{status}\n{body if isinstance(body, str) else json.dumps(body)}"
                                  for status, body in replies)


def glance():
    page = {"images": [RECORD, ACTIVE], "next": "/v2/images?marker=" + IMAGE}
    html = "<html><head><title>503</title></head>&quot;busy&quot; &amp;&lt;</html>"
    yield answers("g", ("200", RECORD))
    yield answers("l", ("200", page), ("200", {"images": [ACTIVE]}))
    yield answers("p", ("200", RECORD), ("200", ""))
    yield answers("c", ("201", RECORD))
    yield answers("d", ("204", ""))
    yield answers("u", ("204", ""), ("200", ACTIVE))
    yield answers("u", ("503", html), ("200", RECORD), ("204", ""), ("200", ACTIVE))
    yield answers("a", ("200", {**RECORD, "status": "saving"}), ("200", ACTIVE))
    yield answers("g", ("503", html), ("401", ""), ("404", html))


def keystone():
    def catalog(url):
        return {"token": {"expires_at": "2036-11-23T04:24:38.000000Z", "catalog": [
            {"type": kind, "endpoints": [{"interface": "public", "region_id": "RegionOne", "url": url},
                                         {"interface": "internal", "region_id": "RegionOne", "url": url}]}
            for kind in ("image", "volumev3")]}}
    for url in ("http://a/v3/abc", "http://b/v3", "c"):
        yield answers("", ("201 gAAAAA", catalog(url)), ("201 gAAAAB", catalog(url)),
                      ("200", {"snapshot": {"status": "creating"}}), ("200", RECORD))
    yield answers("", ("401", {"error": {"message": "no"}}))


def nbd_extents():
    def extents(*pairs):
        return b"\x00\x00" + bytes([len(pairs) - 1]) + b"".join(
            struct.pack(">IBB", length, 0, flags) for length, flags in pairs)
    for how in (3, 1, 0, 3 | 8, 3 | 16):
        yield struct.pack(">BQ", how, 1 << 20) + extents((1 << 19, 0), (1 << 19, 2)) * 2
    yield struct.pack(">BQ", 3, 1 << 20) + extents((1 << 16, 3)) * 16 + b"\x02\x82\x05"
    yield struct.pack(">BQ", 7, 8 << 40) + extents((1 << 31, 2)) * 4
    yield struct.pack(">BQ", 7, (1 << 63) - 1) + extents((0, 0))


def config():
    sample = (ROOT / "conf/novasnap.conf").read_text()
    yield sample
    yield re.sub(r"^#(\w+ =)", r"\1", sample, flags=re.M)
    yield "[DEFAULT]\nhost = h-${my_ip}\nmy_ip = 1\ntransport_url = rabbit://a:b@c:1/d\n" + SEPARATOR + \
        "[keystone_authtoken]\npassword = a$$b ; c\n[glance]\napi_servers = http://a,\n  http://b\n"


def url():
    yield "rabbit://user:pa%40ss@host:5672,u:p@[::1]:5671//vhost?ssl=1"
    yield "rabbit://"
    yield "amqp://h/v"


TARGETS = {"envelope": envelope, "content": content, "object": object, "domain-xml": domain_xml, "chain": chain, "glance": glance,
           "keystone": keystone, "nbd-extents": nbd_extents, "config": config, "url": url}


def words(texts):
    """What stands between quotes, brackets and signs of equality, and some values that are apt to be trouble."""
    found = {"1e400", "-1", "9223372036854775808", "NaN", "\\u0000", "\\ud800", "{}", "[]", "null", "true"}
    for text in texts:
        if isinstance(text, str):
            found.update(re.findall(r"[A-Za-z_][\w.:-]{2,60}", text))
    return sorted(found)[:2000]


def main():
    folder = pathlib.Path(sys.argv[1])
    for name, make in TARGETS.items():
        seeds = list(make())
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            data = seed if isinstance(seed, bytes) else seed.encode()
            (folder / name / f"{number:03}").write_bytes(data)
        with open(folder / f"{name}.dict", "w", encoding="ascii") as dictionary:
            for word in words(seeds):
                escaped = word.replace("\\", "\\\\")
                dictionary.write(f'"{escaped}"\n')


if __name__ == "__main__":
    main()
