# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is kept of a bench run: medians, and ratios with their intervals. One small file for each version."""
import json
import os
import statistics

import ratios

GIB = 1 << 30


def _median(entries, key, digits=3):
    return round(statistics.median(entry[key] for entry in entries), digits)


def _ratio(found):
    if not found:
        return None
    median, low, high = ratios.interval(found)
    return {"median": round(median, 3), "low": round(low, 3), "high": round(high, 3), "pairs": len(found)}


def _uploads(results):
    made = {}
    for who, kind in dict.fromkeys((entry["who"], entry["kind"]) for entry in results):
        these = [entry for entry in results if (entry["who"], entry["kind"]) == (who, kind)]
        row = {"rounds": len(these), "seconds": _median(these, "wall")}
        if who != "curl":
            size = statistics.median(entry["size"] for entry in these)
            row.update(cpu_s_per_gib=round(_median(these, "cpu") / (size / GIB), 3),
                       written_by_image=round(_median(these, "written") / size, 3),
                       anonymous_mib=_median(these, "anonymous", 1), pss_mib=_median(these, "pss", 1))
            if kind != "wide":
                row["ratio_to_curl"] = _ratio(ratios.paired(results, {"who": who, "kind": kind},
                                                            {"who": "curl", "beside": who}))
        made.setdefault(who, {})[kind] = row
    return made


def _against(results, limit):
    """Of parts in which each entry is compared with the one of `limit` in its pair."""
    made = {}
    for who in dict.fromkeys(entry["who"] for entry in results):
        these = [entry for entry in results if entry["who"] == who]
        made[who] = {"rounds": len(these), "seconds": _median(these, "wall")}
        for key, name in (("cpu", "cpu_s"), ("size", "bytes")):
            if key in these[0]:
                made[who][name] = _median(these, key)
        if who != limit:
            made[who][f"ratio_to_{limit}"] = _ratio(ratios.paired(results, {"who": who}, {"who": limit}))
    return made


def _rows(results, key, fields):
    return {name: {"rounds": len(these), **{field: _median(these, field) for field in fields}}
            for name in dict.fromkeys(entry[key] for entry in results)
            for these in [[entry for entry in results if entry[key] == name]]}


def summarise(found, version):
    made = {"version": version, **found["machine"], "interval": f"95 %, {ratios.METHOD}"}
    uploads = found.get("upload", []) + found.get("others", [])
    if uploads:
        made["upload"] = _uploads(uploads)
    for part, limit in (("five", "curl"), ("compress", "plain")):
        if part in found:
            made[part] = _against(found[part], limit)
    if "slow" in found:
        made["slow"] = _rows(found["slow"], "who", ["wall"])
    if "guest" in found:
        made["guest"] = _rows(found["guest"], "who", ["rate", "worst"])
    if "memory" in found:
        made["memory_mib"] = {name: dict(zip(("anonymous", "pss", "rss"), (round(value, 1) for value in sizes)))
                              for name, sizes in found["memory"].items()}
    if "casts" in found:
        made["casts_per_second"] = {entry["name"]: {"rounds": len(entry["rounds"]),
                                                    "median": round(statistics.median(entry["rounds"]))}
                                    for entry in found["casts"]}
    return made


def write(found, version, folder):
    """Writes the figures of a version. Parts that this run has not measured stay in the file."""
    path = os.path.join(folder, f"{version}.json")
    made = {}
    if os.path.exists(path):
        with open(path) as file:
            made = json.load(file)
    with open(path, "w") as file:
        json.dump({**made, **summarise(found, version)}, file, indent=1)
        file.write("\n")
