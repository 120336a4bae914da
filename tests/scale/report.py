#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints the figures of `make scale` as tables, with what they make for larger clouds; draws the plots and puts the
tables into a page.
  report.py build/scale.json [--cluster build/scale-cluster.json] [--host build/scale-host.json] [--svg FILE]
            [--page conf/docs/scale.md]"""
import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from page import gnuplot, put_into, table  # noqa: E402

CLUSTER_BURSTS = {"burst_with_a_kill": "burst; one broker is killed at half of it", "burst": "burst; three brokers again"}
HOSTS = (1000, 10000, 100000)


def read(path):
    with open(path) as file:
        return json.load(file)


def number(value):
    """With spaces between the thousands."""
    return f"{value:,.0f}".replace(",", " ")


def memory_of_broker(found):
    return (found["rest"]["brokers_pss_mib"][0] - found["brokers_pss_mib_before"][0]) / found["agents"]


def cpu_each(found, name):
    """Returns the CPU of a process, in percent of one core for each agent."""
    return found["rest"]["cpu_percent"][name] / found["agents"]


def queues_each(found):
    return {name: count for name, count in found["census"]["queues"].items() if count >= 0.5}


def heartbeats_each(found):
    """Returns the heartbeats per second, both ways: each side sends one at each half of the time-out."""
    return sum(found["census"]["connections"].values()) * 2 / (found["census"]["heartbeat_s"] / 2)


def constants(found):
    agents, rest, census = found["agents"], found["rest"], found["census"]
    rates, connections = rest["per_agent_and_s"], census["connections"]
    rows = [
        ["novasnapd: anonymous memory, median (most)", f"{rest['anonymous_mib']:.2f} ({rest['anonymous_mib_most']:.2f}) MiB",
         f"{number(rest['anonymous_mib'] * agents)} MiB"],
        ["novasnapd: PSS, its files shared with all others", f"{rest['pss_mib']:.2f} MiB",
         f"{number(rest['pss_mib'] * agents)} MiB"],
        ["novasnapd: threads; descriptors", f"{rest['threads']:.0f}; {rest['descriptors']:.0f}", ""],
        ["novasnapd: CPU at rest", f"{cpu_each(found, 'agents'):.3f} % of a core",
         f"{rest['cpu_percent']['agents']:.0f} %"],
        ["connections: " + ", ".join(sorted(name.removeprefix("novasnap ") for name in connections)),
         f"{sum(connections.values()):.0f}", number(sum(connections.values()) * agents)],
        ["channels", f"{census['channels']:.0f}", number(census["channels"] * agents)],
        ["queues: " + ", ".join(f"`{name}`" for name in sorted(queues_each(found))),
         f"{sum(queues_each(found).values()):.0f}", number(sum(queues_each(found).values()) * agents)],
        ["Erlang processes of the broker",
         f"{(census['erlang_processes'] - found['before']['erlang_processes']) / agents:.0f}",
         number(census["erlang_processes"])],
        ["broker: memory (PSS) beyond that without agents", f"{memory_of_broker(found) * 1024:.0f} KiB",
         f"{rest['brokers_pss_mib'][0] - found['brokers_pss_mib_before'][0]} MiB"],
        ["broker: CPU at rest", f"{cpu_each(found, 'broker 1'):.3f} % of a core",
         f"{rest['cpu_percent']['broker 1']:.0f} %"],
        ["messages per second that the broker receives, the conductor's answers included", f"{rates['received']:.3f}",
         f"{rates['received'] * agents:.0f}"],
        ["calls of the conductor per second: " + ", ".join(f"`{name}`" for name in rest["calls_per_agent_and_s"]),
         f"{sum(rest['calls_per_agent_and_s'].values()):.3f}",
         f"{sum(rest['calls_per_agent_and_s'].values()) * agents:.0f}"],
        ["stand-in conductor: CPU at rest (Python, no database)", f"{cpu_each(found, 'conductor'):.3f} % of a core",
         f"{rest['cpu_percent']['conductor']:.0f} %"],
        ["bytes per second to and from the broker",
         f"{rates['from_agents_bytes']:.0f} and {rates['to_agents_bytes']:.0f}",
         f"{rates['from_agents_bytes'] * agents / 1024:.0f} and {rates['to_agents_bytes'] * agents / 1024:.0f} KiB"],
        [f"heartbeats per second, both ways (every {census['heartbeat_s'] / 2:.0f} s on each connection)",
         f"{heartbeats_each(found):.2f}", f"{heartbeats_each(found) * agents:.0f}"]]
    return (f"{number(agents)} novasnapds in exclusive mode with `report_state`, one RabbitMQ and the conductor's stand-in, "
            f"{found['cpus']} cores for all; {rest['seconds']} s at rest:\n\n" +
            table(["measured", "each novasnapd", f"{number(agents)} of them"], rows))


def burst_row(title, burst):
    return [title, f"{number(burst['casts'])} casts published in {burst['published_s']:.0f} s, all journaled and acked "
            f"after {burst['acked_s']:.0f} s, all ended after {burst['ended_s']:.0f} s; lost {burst['lost']}, taken twice "
            f"{burst['twice']}; {burst['conductor_calls'] / burst['casts']:.1f} calls of the conductor for each"]


def spread_row(title, times):
    return [title, f"median {times['median']:.1f} s, 99 % {times['p99']:.1f} s, last {times['last']:.1f} s"]


def events(found):
    rows = [
        spread_row("all started at once, until each consumes", found["start_s"]),
        ["connections that the broker accepted then",
         f"at most {max(found['start_connects_per_s'])} in a second, as far as it logged them"],
        spread_row(f"broker away for {found['away_s']} s, until each consumes and publishes again", found["restart_s"]),
        ["connections that the broker accepted then", f"at most {max(found['restart_connects_per_s'])} in a second"],
        burst_row("burst", found["burst"]),
        ["anonymous memory of a novasnapd after the burst", f"{found['anonymous_after_mib']:.2f} MiB"]]
    return "The same ones:\n\n" + table(["event", "measured"], rows)


def cluster(found):
    agents, rest = found["agents"], found["rest"]
    rows = [
        spread_row("all started at once, until each consumes", found["start_s"]),
        ["CPU at rest, percent of a core", f"novasnapds {rest['cpu_percent']['agents']:.0f}, brokers " + " + ".join(
            f"{rest['cpu_percent'][f'broker {each}']:.0f}" for each in (1, 2, 3))],
        ["memory (PSS) of the brokers, MiB", " + ".join(map(str, found["brokers_pss_mib_before"])) + " before, " +
         " + ".join(map(str, rest["brokers_pss_mib"])) + " with the novasnapds"],
        ["Erlang processes of one broker",
         f"{number(found['before']['erlang_processes'])} before, {number(found['census']['erlang_processes'])} with them"],
        *(burst_row(title, found[name]) for name, title in CLUSTER_BURSTS.items() if name in found)]
    return (f"{number(agents)} novasnapds, three RabbitMQs with quorum queues, also for what is transient "
            f"({sum(queues_each(found).values()):.0f} for each novasnapd, all with three replicas), on the same "
            f"{found['cpus']} cores:\n\n" + table(["event", "measured"], rows))


def host(found):
    names = [name for name in found if name != "seconds"]
    lines = {"connections": "connections", "channels": "channels", "queues": "queues", "anonymous memory, MiB": "anonymous_mib",
             "PSS, MiB": "pss_mib", "threads": "threads", "CPU at rest, % of a core": "cpu_percent",
             "bytes per second to the broker": "from_agents_bytes", "bytes per second from the broker": "to_agents_bytes"}

    def cell(each, key):
        value = each.get(key, "as alone" if key in ("connections", "channels", "queues") else "")
        if key.endswith("_bytes"):
            return number(value)
        return str(len(value) if isinstance(value, list) else value)
    rows = [[title, *(cell(found[name], key) for name in names)] for title, key in lines.items()]
    return (f"One host of a real Nova 26.2, {found['seconds']} s at rest. The broker gets "
            f"{found['nova-compute']['received']:.2f} messages per second with nova-compute, and "
            f"{found['nova-compute with novasnapd']['received']:.2f} with both:\n\n" + table(["", *names], rows))


def larger(found):
    """The constants, multiplied."""
    connections, queues = sum(found["census"]["connections"].values()), sum(queues_each(found).values())
    rates, base = found["rest"]["per_agent_and_s"], found["brokers_pss_mib_before"][0]
    calls = sum(found["rest"]["calls_per_agent_and_s"].values())
    fastest = max(found["restart_connects_per_s"])
    kinds = [
        ("connections", f"{connections:.0f} × hosts", lambda hosts: number(connections * hosts)),
        ("queues", f"{queues:.0f} × hosts", lambda hosts: number(queues * hosts)),
        ("memory of the broker", f"{base} MiB + {memory_of_broker(found):.3f} MiB × hosts",
         lambda hosts: f"{(base + memory_of_broker(found) * hosts) / 1024:.1f} GiB"),
        ("messages per second at rest", f"{rates['received']:.3f} × hosts", lambda hosts: number(rates["received"] * hosts)),
        ("heartbeats per second", f"{heartbeats_each(found):.2f} × hosts", lambda hosts: number(heartbeats_each(found) * hosts)),
        ("cores of the broker at rest", f"{cpu_each(found, 'broker 1') / 100:.6f} × hosts",
         lambda hosts: f"{cpu_each(found, 'broker 1') / 100 * hosts:.1f}"),
        ("calls of the conductor per second", f"{calls:.3f} × hosts", lambda hosts: number(calls * hosts)),
        ("cores of the conductor for messages alone", f"{cpu_each(found, 'conductor') / 100:.6f} × hosts",
         lambda hosts: f"{cpu_each(found, 'conductor') / 100 * hosts:.1f}"),
        ("time for all to connect, as fast as in the fastest second of the restart",
         f"{connections:.0f} × hosts / {fastest} per second",
         lambda hosts: f"{number(connections * hosts / fastest)} s")]
    rows = [[title, how, *(value(hosts) for hosts in HOSTS)] for title, how, value in kinds]
    return ("Extrapolated, not measured: the constants above, multiplied by the hosts of one broker, in exclusive mode.\n\n" +
            table(["needed", "arithmetic", *(f"{number(hosts)} hosts" for hosts in HOSTS)], rows))


def steps(counts):
    return "".join(f"{second} {count}\n" for second, count in enumerate(counts)) + "EOD\n"


def plot(found, path):
    script = f"""set terminal svg size 900,360 font "sans,12" background "white"
set output "{path}"
$start << EOD
{steps(found['start_connects_per_s'])}$restart << EOD
{steps(found['restart_connects_per_s'])}$ready << EOD
{steps(found['start_s']['per_s'])}$again << EOD
{steps(found['restart_s']['per_s'])}set multiplot layout 1,2
set style fill solid 0.6
set boxwidth 0.9
set yrange [0:*]
set xrange [-0.5:*]
set ylabel "connections accepted per second"
set y2label "novasnapds that consume"
set y2tics
set ytics nomirror
set y2range [0:{found['agents']}]
set key bmargin center horizontal
set xlabel "seconds after the first connection"
set title "All of {found['agents']} are started at once"
plot $start using 1:2 with boxes title "connections", \\
     $ready using 1:2 smooth cumulative axes x1y2 with lines lw 2 title "consume"
set title "The broker was away for {found['away_s']} s"
plot $restart using 1:2 with boxes title "connections", \\
     $again using 1:2 smooth cumulative axes x1y2 with lines lw 2 title "consume again"
unset multiplot
"""
    gnuplot(script)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures")
    parser.add_argument("--cluster")
    parser.add_argument("--host")
    parser.add_argument("--svg")
    parser.add_argument("--page", help="put the tables between its markers")
    options = parser.parse_args()
    one = read(options.figures)
    parts = [constants(one), events(one)]
    if options.cluster:
        parts.append(cluster(read(options.cluster)))
    if options.host:
        parts.append(host(read(options.host)))
    text = "\n".join([*parts, larger(one)])
    print(text)
    if options.svg:
        plot(one, options.svg)
    if options.page:
        put_into(options.page, text)


if __name__ == "__main__":
    main()
