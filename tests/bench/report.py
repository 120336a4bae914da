#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The figures of a bench as a table and a plot.
  report.py build/bench.json [--svg FILE] [--readme README.md]"""
import argparse
import json
import statistics
import subprocess

GIB = 1 << 30
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
KINDS = {"live": "running, 10 GiB, 2 GiB in it", "cold": "shut down, 10 GiB, 2 GiB in it",
         "wide": "running, 100 GiB, 20 MiB in it"}
WHO = {"stream": "novasnap `stream`", "rebase": "novasnap `rebase`, `extract`",
       "nova-compute": "nova-compute 26.2"}


def spread(values, digits):
    return " / ".join(f"{value:.{digits}f}" for value in
                      (min(values), statistics.median(values), max(values)))


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def uploads(found):
    results = found["upload"]
    limit = statistics.median(entry["wall"] for entry in results if entry["who"] == "curl")
    rows = []
    for kind, title in KINDS.items():
        for who, name in WHO.items():
            these = [entry for entry in results if (entry["who"], entry["kind"]) == (who, kind)]
            if not these:
                continue
            size = statistics.median(entry["size"] for entry in these)

            def column(key, by=1.0):
                return statistics.median(entry[key] for entry in these) / by
            walls = [entry["wall"] for entry in these]
            rows.append([title, name, spread(walls, 2),
                         "" if kind == "wide" else f"{statistics.median(walls) / limit:.2f}",
                         "" if kind == "wide" else f"{column('cpu', size / GIB):.2f}",
                         f"{column('written', size):.3f}", f"{column('peak_disk', size):.3f}",
                         f"{column('anonymous'):.1f}", f"{column('pss'):.0f}"])
    walls = [entry["wall"] for entry in results if entry["who"] == "curl"]
    head = ["guest", "by", "seconds: min / median / max", "÷ limit", "CPU s per GiB",
            "written ÷ image", "peak disk ÷ image", "anonymous MiB, peak", "PSS MiB, peak"]
    return (f"The limit is `curl -T` of the finished image into the same Glance: {spread(walls, 2)} s. "
            "Seconds are from nova-api's answer to the image being active. CPU, memory and bytes "
            "written are of the agent with its children, bytes also of QEMU. SHA-512 alone takes "
            f"{found['sha512_s_per_gib']:.2f} s per GiB here (`openssl speed`).\n\n" + table(head, rows))


def guests(found):
    names = {"idle": "idle", "curl": "while a `curl -T` feeds Glance on the same two cores",
             "stream": "while it is streamed", "rebase": "while `rebase` copies it"}
    rows = []
    for who, name in names.items():
        these = [entry for entry in found["guest"] if entry["who"] == who]
        if these:
            rows.append([name, spread([entry["rate"] for entry in these], 0),
                         spread([entry["worst"] for entry in these], 3)])
    return ("A guest (TCG) that writes one block of 4 KiB after the other, each to the disk, while 1 GiB of its "
            "disk is taken:\n\n" + table(["", "writes a second: min / median / max",
                                          "worst write, s: min / median / max"], rows))


def memories(found):
    names = {"idle": "idle", "after 100": "after 100 snapshots",
             "five of 1 TiB": "five under way, disks of 1 TiB (peak)", "after all": "after them"}
    rows = [[title, *(f"{value:.1f}" for value in found["memory"][name])]
            for name, title in names.items() if name in found["memory"]]
    return "Memory of novasnapd, MiB:\n\n" + table(["", "anonymous", "PSS", "RSS"], rows)


def compressions(found):
    rows = []
    for who in dict.fromkeys(entry["who"] for entry in found["compress"]):
        these = [entry for entry in found["compress"] if entry["who"] == who]
        rows.append([who, spread([entry["wall"] for entry in these], 1),
                     *(f"{statistics.median(entry[key] for entry in these) / by:.{digits}f}"
                       for key, by, digits in (("size", 1 << 20, 0), ("cpu", 1, 1),
                                               ("written", 1 << 20, 0), ("anonymous", 1, 0)))])
    return ("`snapshot_compression`, a disk with 1 GiB in it, half random and half text, shut down:\n\n" + table(
        ["", "seconds: min / median / max", "image, MiB", "CPU s", "written here, MiB",
         "anonymous MiB, peak"], rows))


def casts(found):
    rows = [[entry["name"], spread(entry["rounds"], 0)] for entry in found["casts"]]
    return ("Recorded `snapshot_instance` casts a second, checked and dispatched to a handler that does nothing:"
            "\n\n" + table(["", "min / median / max"], rows))


def plot(found, path):
    results = found["upload"]
    limit = statistics.median(entry["wall"] for entry in results if entry["who"] == "curl")
    data = ""
    for who in WHO:
        line = [f'"{who}"']
        for kind in ("live", "cold"):
            ratios = [entry["wall"] / limit for entry in results
                      if (entry["who"], entry["kind"]) == (who, kind)]
            line += [f"{value:.3f}" for value in (statistics.median(ratios), min(ratios), max(ratios))]
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
set title "From the request to the active image: 2 GiB in a disk of 10 GiB (median, min to max)"
plot $data using 2:3:4:xtic(1) title "running", "" using 5:6:7 title "shut down", \\
     1 with lines lc "black" dt 2 title "what Glance can receive"
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True, timeout=60)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures")
    parser.add_argument("--svg")
    parser.add_argument("--readme", help="put the tables between its marks")
    options = parser.parse_args()
    with open(options.figures) as file:
        found = json.load(file)
    parts = {"upload": uploads, "guest": guests, "memory": memories, "compress": compressions,
             "casts": casts}
    text = "\n".join(make(found) for name, make in parts.items() if name in found)
    print(text)
    if options.svg:
        plot(found, options.svg)
    if options.readme:
        with open(options.readme) as file:
            before, _, rest = file.read().partition(BEGIN)
        _, _, after = rest.partition(END)
        with open(options.readme, "w") as file:
            file.write(before + BEGIN + text + END + after)


if __name__ == "__main__":
    main()
