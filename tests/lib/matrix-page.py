#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes what `make matrix` has recorded for a commit into a page, between two markers: which kinds of tests have passed on
which release, when, and with which versions of the packages.
  matrix-page.py RECORD PAGE RELEASE-KIND ...
RECORD is the file of tests/lib/parts.sh, which is named after the commit. RECORD-RELEASE has the versions."""
import os
import re
import sys

BEGIN, END = "<!-- matrix -->\n", "<!-- /matrix -->\n"
RELEASES = {"bookworm": "Debian 12", "trixie": "Debian 13", "sid": "Debian sid"}
KINDS = {"gcc": "compiled with GCC without a warning, unit tests", "clang": "the same with Clang",
         "demo": "`make demo`", "integration": "integration tests",
         "e2e-plain": "`make e2e`, oslo.messaging's defaults",
         "e2e-modern": "its tests of messages, quorum queues and streams"}
# What is shown as software, and the package whose version it has.
SOFTWARE = {"Nova": "nova-common", "Glance": "glance-common", "Keystone": "keystone", "Placement": "placement-common",
            "oslo.messaging": "python3-oslo.messaging", "RabbitMQ": "rabbitmq-server", "Erlang": "erlang-base",
            "libvirt": "libvirt-daemon", "QEMU": "qemu-system-x86", "OVMF": "ovmf", "swtpm": "swtpm",
            "Ceph": "ceph-common", "MariaDB": "mariadb-server", "librabbitmq": "librabbitmq-dev",
            "curl": "libcurl4-openssl-dev", "cJSON": "libcjson-dev",
            "libnbd": "libnbd-dev", "GLib": "libglib2.0-dev", "OpenSSL": "libssl-dev", "SQLite": "libsqlite3-dev",
            "GCC": "gcc", "Clang": "clang"}


def read_lines(path):
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return [line.split() for line in file]


def outcome(cell, cells, dates):
    """Returns when a cell passed, or why there is no such time."""
    if cell not in cells:
        return ""
    return dates.get(cell, "has not passed")


def table(record, cells):
    dates = {cell: when[:10] for cell, _, when in read_lines(record)}
    versions = {release: {} for release in RELEASES}
    for release, known in versions.items():
        for package, version in read_lines(f"{record}-{release}"):
            known.setdefault(package, []).append(version)
    lines = [["", *RELEASES.values()], ["---"] * (len(RELEASES) + 1)]
    for kind, text in KINDS.items():
        lines.append([text, *(outcome(f"{release}-{kind}", cells, dates) for release in RELEASES)])
    for name, package in SOFTWARE.items():
        lines.append([name, *(", ".join(versions[release].get(package, [])) for release in RELEASES)])
    commit = os.path.basename(record)
    return (f"Commit {commit[:12]}, by `make matrix`: the days on which each kind of test passed, and the versions of the "
            "packages.\n\n" + "".join(f"| {' | '.join(line)} |\n".replace("  |", " |") for line in lines))


def main():
    record, page, *cells = sys.argv[1:]
    if not read_lines(record):
        sys.exit(f"matrix-page.py: no cell of the matrix is recorded in {record}; `make matrix` records those that pass on a "
                 "clean commit")
    with open(page) as file:
        text = file.read()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"matrix-page.py: {page} lacks the markers {BEGIN.strip()} and {END.strip()}")
    new = re.sub(f"{BEGIN}.*{END}", lambda _: BEGIN + "\n" + table(record, cells) + "\n" + END, text, flags=re.S)
    if new != text:
        with open(page, "w") as file:
            file.write(new)
        print(f"wrote the results of {os.path.basename(record)[:12]} into {page}")


if __name__ == "__main__":
    main()
