#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints the figures of a bench run as tables; draws the plot and puts the tables into a page.
  report.py build/bench.json [--svg FILE] [--page conf/docs/performance.md] [--version NAME --results FOLDER]"""
import argparse
import json
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from page import gnuplot, put_into, spread, table  # noqa: E402
import ratios  # noqa: E402
import summary  # noqa: E402

GIB, MIB = 1 << 30, 1 << 20
KINDS = {"live": "running, disk of 10 GiB, 2 GiB allocated", "cold": "shut off, disk of 10 GiB, 2 GiB allocated",
         "wide": "running, disk of 100 GiB, 20 MiB allocated"}
WHO = {"stream": "novasnap `stream`", "rebase": "novasnap `rebase`, `extract`",
       "nova-compute": "nova-compute 26.2"}


def upload_entries(found):
    return found.get("upload", []) + found.get("others", [])


def ratio_to_curl(results, who, kind):
    return ratios.paired(results, {"who": who, "kind": kind}, {"who": "curl", "beside": who})


def uploads(found):
    results = upload_entries(found)
    rows = []
    for kind, title in KINDS.items():
        for who, name in WHO.items():
            these = [entry for entry in results if (entry["who"], entry["kind"]) == (who, kind)]
            if not these:
                continue
            size = statistics.median(entry["size"] for entry in these)

            def column(key, by=1.0):
                return statistics.median(entry[key] for entry in these) / by
            rows.append([title, name, str(len(these)), spread([entry["wall"] for entry in these], 2),
                         "" if kind == "wide" else ratios.text(ratio_to_curl(results, who, kind)),
                         "" if kind == "wide" else f"{column('cpu', size / GIB):.2f}",
                         f"{column('written', size):.3f}", f"{column('peak_disk', size):.3f}",
                         f"{column('anonymous'):.1f}", f"{column('pss'):.0f}"])
    walls = [entry["wall"] for entry in results if entry["who"] == "curl"]
    api = statistics.median(entry["api"] for entry in results if "api" in entry)
    head = ["guest", "agent", "rounds", "seconds: min / median / max", "÷ limit (95 % interval)", "CPU s per GiB",
            "bytes written ÷ image", "peak disk use ÷ image", "anonymous memory, MiB, peak", "PSS, MiB, peak"]
    return (f"The limit is `curl -T` of the finished image into the same Glance: {spread(walls, 2)} s in {len(walls)} "
            "uploads. In each round one is measured between the snapshots of the two guests, whose order changes with "
            "each round. `÷ limit` is the median of the ratios of such pairs, with its 95 % confidence interval "
            f"({ratios.METHOD}). Both end when Glance's database says that the image is active. Snapshots begin with "
            f"nova-api's answer; nova-api takes {api:.2f} s before it. CPU time, memory and bytes written count the agent "
            "and its children; bytes written also count QEMU. SHA-512 alone takes "
            f"{found['machine']['sha512_s_per_gib']:.2f} s per GiB on this machine (`openssl speed`).\n\n" +
            table(head, rows))


def fives(found):
    names = {"curl": "five `curl -T`", "stream": "five snapshots, `stream`"}
    rows = []
    for who, name in names.items():
        these = [entry for entry in found["five"] if entry["who"] == who]
        rows.append([name, str(len(these)), spread([entry["wall"] for entry in these], 2),
                     ratios.text(ratios.paired(found["five"], {"who": who}, {"who": "curl"})) if who != "curl" else ""])
    return ("Five running guests with 512 MiB of data each, all at once, until the last image is active, next to five "
            "uploads of the finished images at once:\n\n" +
            table(["at once", "rounds", "seconds: min / median / max", "÷ limit (95 % interval)"], rows))


def guests(found):
    names = {"idle": "no snapshot", "curl": "no snapshot; a `curl -T` feeds Glance on the same two cores",
             "stream": "`stream`", "rebase": "`rebase`, during its copy"}
    rows = []
    for who, name in names.items():
        these = [entry for entry in found["guest"] if entry["who"] == who]
        if these:
            rows.append([name, spread([entry["rate"] for entry in these], 0),
                         spread([entry["worst"] for entry in these], 3)])
    return ("A guest (TCG) writes blocks of 4 KiB, one after the other, each flushed to the disk, while a snapshot "
            "of 1 GiB is taken:\n\n" + table(["snapshot", "writes per second: min / median / max",
                                              "slowest write, s: min / median / max"], rows))


def slow_disks(found):
    names = {"curl": "`curl -T` of the finished image", "nbdkit": "`stream`",
             "qemu-nbd": "`stream`, through `qemu-nbd`, which works on 16 requests at a time"}
    limit = statistics.median(entry["wall"] for entry in found["slow"] if entry["who"] == "curl")
    rows = []
    for who, name in names.items():
        walls = [entry["wall"] for entry in found["slow"] if entry["who"] == who]
        rows.append([name, spread(walls, 2), f"{statistics.median(walls) / limit:.2f}"])
    return ("A disk with 1 GiB of data in pieces of 64 KiB, each followed by a hole, on storage that takes 5 ms for "
            "each request:\n\n" + table(["upload", "seconds: min / median / max", "÷ limit"], rows))


def ceph_disks(found):
    kinds = {"live": "running", "cold": "shut off"}
    names = {"direct": "novasnap, `direct`", "direct, by the manager": "novasnap, `direct`, `rbd_flatten = mgr`",
             "nova-compute": "nova-compute, direct", "stream": "novasnap, `stream`",
             "nova-compute, fall-back": "nova-compute where Glance's pool is read-only"}
    rows = []
    for kind, title in kinds.items():
        for who, name in names.items():
            these = [entry for entry in found["ceph"] if (entry["who"], entry["kind"]) == (who, kind)]
            if these:
                rows.append([title, name, spread([entry["wall"] for entry in these], 1),
                             *(f"{statistics.median(entry[key] for entry in these) / MIB:.1f}"
                               for key in ("received", "sent", "written")),
                             spread([entry["down"] for entry in these], 2) if kind == "live" else ""])
    walls = [entry["wall"] for entry in found["ceph"] if entry["who"] == "curl"]
    head = ["guest", "agent", "seconds: min / median / max", "network received, MiB", "network sent, MiB",
            "written locally, MiB", "guest not running, s: min / median / max"]
    return ("Disks of 3 GiB in Ceph, 1 GiB of it data, clones of an image; Glance has its images in the same Ceph. Network "
            "and written bytes are those of the agent and its children, and of the file of a saved guest. `rbd export` into "
            f"`curl -T` takes {spread(walls, 1)} s.\n\n" + table(head, rows))


def memories(found):
    names = {"idle": "idle", "after 100": "after 100 snapshots",
             "five of 1 TiB": "five snapshots at once, disks of 1 TiB (peak)", "after all": "after those five"}
    rows = [[title, *(f"{value:.1f}" for value in found["memory"][name])]
            for name, title in names.items() if name in found["memory"]]
    return "Memory of novasnapd, MiB:\n\n" + table(["", "anonymous", "PSS", "RSS"], rows)


def compressions(found):
    rows = []
    for who in dict.fromkeys(entry["who"] for entry in found["compress"]):
        these = [entry for entry in found["compress"] if entry["who"] == who]
        rows.append([who, str(len(these)), spread([entry["wall"] for entry in these], 1),
                     "" if who == "plain" else ratios.text(ratios.paired(found["compress"], {"who": who},
                                                                        {"who": "plain"})),
                     *(f"{statistics.median(entry[key] for entry in these) / by:.{digits}f}"
                       for key, by, digits in (("size", 1 << 20, 0), ("cpu", 1, 1),
                                               ("written", 1 << 20, 0), ("anonymous", 1, 0)))])
    head = ["compression", "rounds", "seconds: min / median / max", "÷ plain (95 % interval)", "image, MiB", "CPU s",
            "written locally, MiB", "anonymous memory, MiB, peak"]
    return ("`snapshot_compression`, a shut-off guest's disk with 1 GiB of data, half random and half text. In each round "
            "plain and zstd are measured one after the other, whose order changes with each round:\n\n" +
            table(head, rows))


def casts(found):
    rows = [[entry["name"], spread(entry["rounds"], 0)] for entry in found["casts"]]
    return ("Recorded `snapshot_instance` casts per second, checked and dispatched to a handler that does nothing:"
            "\n\n" + table(["receiver", "casts per second: min / median / max"], rows))


def plot(found, path):
    results = upload_entries(found)
    data = ""
    for who in WHO:
        line = [f'"{who}"']
        for kind in ("live", "cold"):
            pairs = ratio_to_curl(results, who, kind)
            line += [f"{value:.3f}" for value in ratios.interval(pairs)] if pairs else ["NaN"] * 3
        data += " ".join(line) + "\n"
    script = f"""set terminal svg size 640,360 font "sans,12" background "white"
set output "{path}"
$data << EOD
{data}EOD
set style data histogram
set style histogram errorbars gap 1 lw 1
set style fill solid 0.6
set yrange [0:*]
set ylabel "seconds ÷ seconds of curl -T"
set grid ytics
set key top left
set title "From the request to the active image: 2 GiB in a disk of 10 GiB (median, 95 % interval)"
plot $data using 2:3:4:xtic(1) title "running", "" using 5:6:7 title "shut off", \\
     1 with lines lc "black" dt 2 title "what Glance can receive"
"""
    gnuplot(script)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures")
    parser.add_argument("--svg")
    parser.add_argument("--page", help="put the tables between its markers")
    parser.add_argument("--version", help="of what was measured")
    parser.add_argument("--results", help="keep the figures of this version in this folder")
    options = parser.parse_args()
    if options.results and not options.version:
        parser.error("--results needs --version")
    with open(options.figures) as file:
        found = json.load(file)
    parts = {"upload": uploads, "five": fives, "slow": slow_disks, "guest": guests, "ceph": ceph_disks, "memory": memories,
             "compress": compressions, "casts": casts}
    text = "\n".join(make(found) for name, make in parts.items() if name in found)
    print(text)
    if options.svg:
        plot(found, options.svg)
    if options.results:
        summary.write(found, options.version, options.results)
    if options.page:
        put_into(options.page, text)


if __name__ == "__main__":
    main()
