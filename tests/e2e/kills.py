#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a `kill -9` leaves for good: of nova-compute, and of novasnapd in its place, at the same moments of a snapshot,
under one real Nova. The moments are such as can be seen from outside. The process that was killed is started again and
has its time to tidy up; then guest, host, image and Nova's records are compared, and repaired for the next kill.
  kills.py [--random N] [--guests live,cold,off]
Each is killed as its systemd unit has it: nova-compute with all processes of its group, novasnapd alone. Prints a table
in Markdown, which is also written to kills.md in the build's folder. The status is 0 when novasnapd lost nothing and
each of its moments was met."""
import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pymysql

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lib"), HERE]
import supervisor  # noqa: E402
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT, Agent, write_sections  # noqa: E402
from cloud import PASSWORD, Cloud  # noqa: E402
from guest import Domain  # noqa: E402
from images import MIB, same_content  # noqa: E402
from paths import BUILD  # noqa: E402
from process import processes  # noqa: E402
from server import Server  # noqa: E402

DATA_MIB = 400  # in the disk of each guest, so that each step takes its time
UPLOADED_MIB = 32
TRIES = 5  # a moment may be over before the signal comes
SETTLE = 5  # seconds that nova-compute gets after its first heartbeat, which is 5 s after the end of its init_host
KINDS = {"live": "running", "cold": "running, no live snapshot", "off": "shut off"}


def reached(state):
    return lambda case: case.task() == state


def is_extracted(case):
    """Lasts from the end of qemu-img until the guest is restored."""
    return not case.reads() and case.has_read


# A moment that has the name of a task state lasts as long as that state.
SNAPSHOT, PENDING = ({state: reached(state)} for state in ("image_snapshot", "image_pending_upload"))
UPLOADING = {f"image_uploading, {UPLOADED_MIB} MiB sent": lambda case: case.uploaded() >= UPLOADED_MIB * MIB}
MOMENTS = {
    "live": {**SNAPSHOT, **PENDING, "a job (mirror, backup) is on its disk": lambda case: case.domain.has_job(),
             **UPLOADING},
    "cold": {**SNAPSHOT, "being saved": lambda case: case.domain.state() == "paused", **PENDING,
             "saved, being extracted": lambda case: case.reads(), "extracted, before it is restored": is_extracted,
             **UPLOADING},
    "off": {**SNAPSHOT, **PENDING, "its disk is being read": lambda case: case.reads(), **UPLOADING},
}


def say(text):
    print(f"# {time.strftime('%H:%M:%S')} {text}", flush=True)


class NovaCompute:
    def __init__(self, cloud, more=()):
        self.cloud, self.more, self.log = cloud, more, cloud.log("nova-compute")

    def start(self):
        self.cloud.compute_start(*self.more)

    def kill(self):
        os.killpg(self.cloud.compute.pid, signal.SIGKILL)
        self.cloud.compute.wait(20)

    def stop(self):
        self.cloud.compute_stop()

    def settle(self, case):
        """Waits until a cast that was still in the queue has been served."""
        with contextlib.suppress(AssertionError):
            tap.wait_for("end of the task", lambda: case.task() is None, 60, 0.2)
        time.sleep(SETTLE)

    def left(self):
        return []


class Novasnapd(Agent):
    def settle(self, case):
        with contextlib.suppress(AssertionError):
            tap.wait_for("end of the job", lambda: self.has_ended(case.image), 120, 0.1)


class World:
    def __init__(self, cloud, servers):
        self.cloud, self.servers = cloud, servers
        self.glance = cloud.connection().image
        self.snapshots = os.path.join(cloud.instances, "snapshots")
        # It is asked hundreds of times a second, for which nova-api is too slow.
        self.database = pymysql.connect(host="127.0.0.1", port=cloud.port["mysql"], user="e2e", password=PASSWORD,
                                        database="nova", autocommit=True)

    def query(self, statement, *values):
        with self.database.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchone()


class Case:
    """One snapshot of a server by `actor`, and what is left of it."""

    def __init__(self, world, actor, kind, attempt=0):
        self.world, self.actor, self.attempt = world, actor, attempt
        self.uuid, self.libvirt = world.servers[kind], world.cloud.libvirt
        self.server, self.domain = Server(world.cloud, self.uuid), Domain(world.cloud.libvirt, self.uuid)
        self.disk = world.cloud.disk(self.uuid)
        self.state, self.definition = self.domain.state(), self.domain.definition()
        self.status = self.server.record()["status"]
        self.states = world.query("select vm_state, power_state from instances where uuid = %s", self.uuid)
        self.has_read = False
        self.image = self.server.ask("image", "kill")
        self.began = time.monotonic()
        self.request = self.server.requests("createImage")[0]

    def task(self):
        return self.world.query("select task_state from instances where uuid = %s", self.uuid)[0]

    def programs(self):
        """Returns (name, pid, command line) of the programs that have files of this server open, except its QEMU."""
        for process in processes():
            if process.name in ("qemu-img", "qemu-nbd"):
                with contextlib.suppress(OSError), open(f"/proc/{process.pid}/cmdline") as file:
                    line = file.read()
                    if self.uuid in line:
                        yield process.name, process.pid, line

    def reads(self):
        found = any(name == "qemu-nbd" or "convert" in line for name, _, line in self.programs())
        self.has_read = self.has_read or found
        return found

    def stored(self):
        return os.path.join(self.world.cloud.images, self.image)

    def uploaded(self):
        return os.path.getsize(self.stored()) if os.path.exists(self.stored()) else 0

    def wait(self, moment):
        """Waits for a moment. Returns whether it came before the snapshot's end."""
        until = time.monotonic() + 180
        while time.monotonic() < until:
            if moment(self):
                return True
            if self.task() is None:
                return False
            time.sleep(0.002)
        raise AssertionError("the snapshot does not end")

    def left(self):
        """Returns in words what tests/lib/case.py asserts."""
        if self.uuid in self.libvirt.virsh("list", "--all", "--uuid").split():
            yield from self.left_of_the_guest()
        else:
            yield "guest and domain gone"
        for name, pid, _ in self.programs():
            yield f"{name} running ({pid})"
        files = [os.path.join(folder, name) for folder, _, names in os.walk(self.world.snapshots) for name in names]
        if files:
            size = sum(os.stat(path).st_blocks * 512 for path in files) / MIB
            yield f"{len(files)} file{'s' * (len(files) > 1)} of {size:.0f} MiB"
        elif os.path.isdir(self.world.snapshots) and os.listdir(self.world.snapshots):
            yield "an empty folder"
        yield from map(os.path.basename, self.actor.left())
        if task := self.task():
            yield f"task state {task}"
        if (status := self.server.record()["status"]) != self.status:
            yield f"server {status}"
        events = self.server.events_of(self.request)
        if not events or any(result is None for _, result in events):
            yield "event open" if events else "no event"

    def left_of_the_guest(self):
        if (state := self.domain.state()) != self.state:
            yield f"guest {state}"
        if self.domain.is_saved():
            yield "managed save"
        if not self.domain.is_persistent():
            yield "domain undefined"
        elif self.domain.definition() != self.definition:
            yield "another definition"
        if self.domain.has_job():
            yield "mirror running" if "<mirror" in self.domain.virsh("dumpxml") else "backup running"

    def image_left(self):
        """Returns (words, whether the image is correct)."""
        record = self.world.glance.find_image(self.image)
        if record is None:
            return "image deleted", True
        if record.status != "active":
            return f"image {record.status}", False
        if same_content(self.stored(), "qcow2", self.disk, "qcow2"):
            return "image whole", True
        return "image of other content", False

    def outcome(self):
        """Returns (what was left, whether anything was lost)."""
        left = list(self.left())
        image, is_well = self.image_left()
        return f"{', '.join(left) or 'nothing'}; {image}", bool(left) or not is_well

    def repair(self):
        """Repairs everything, as an operator would have to by hand."""
        for _, pid, _ in self.programs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.uuid in self.libvirt.virsh("list", "--uuid").split():
            self.domain.virsh("blockjob", "vda", "--abort", check=False)
            self.domain.virsh("domjobabort", check=False)
        path = self.world.cloud.folder.file("repair.xml")
        with open(path, "w") as file:
            file.write(self.definition)
        self.libvirt.virsh("define", path)
        if self.domain.state() != self.state:
            self.domain.virsh({"running": "start", "shut off": "destroy"}[self.state])
        self.domain.virsh("managedsave-remove", check=False)
        self.world.glance.delete_image(self.image, ignore_missing=True)
        shutil.rmtree(self.world.snapshots, ignore_errors=True)
        self.world.query("update instances set task_state = null, vm_state = %s, power_state = %s where uuid = %s",
                         *self.states, self.uuid)
        tap.wait_for("end of the job", lambda: not self.domain.has_job(), 30)


def whole(world, actor, kind):
    """Takes a snapshot without a kill. Returns its seconds. It must leave nothing."""
    case = Case(world, actor, kind)
    case.wait(lambda _case: False)
    seconds = time.monotonic() - case.began
    actor.settle(case)
    found, is_lost = case.outcome()
    assert not is_lost, f"without a kill: {found}"
    case.repair()
    return seconds


def killed(world, actor, kind, name, moment):
    """Returns what was left, and whether anything was lost."""
    for attempt in range(TRIES):
        case = Case(world, actor, kind, attempt)
        met = case.wait(moment)
        sent = case.uploaded() // MIB
        actor.kill()
        # From here on the state does not change.
        at = case.task()
        met = met and (at == name or name not in (*SNAPSHOT, *PENDING))
        actor.start()
        actor.settle(case)
        found, is_lost = case.outcome()
        say(f"{type(actor).__name__}, {kind}, {name}: killed in {at} with {sent} MiB sent"
            f"{'' if met else ', not in time'}: {found}")
        if is_lost and isinstance(actor, Agent):
            tap.show_tail(actor.log, 80)
        case.repair()
        # What novasnapd lost is reported whenever it was killed.
        if met or is_lost and isinstance(actor, Agent):
            return found, is_lost
    return "(not met)", True


def measure(world, actor, kind, fractions):
    """Returns name of the moment -> (what was left, whether anything was lost)."""
    actor.start()
    try:
        seconds = whole(world, actor, kind)
        say(f"{type(actor).__name__}, {kind}: {seconds:.1f} s without a kill")
        moments = dict(MOMENTS[kind])
        for fraction in fractions:
            # Each attempt is earlier, since the snapshot may be quicker than the one without a kill.
            moments[f"at random, {round(fraction * 100)} % of its time"] = lambda case, after=fraction * seconds: (
                time.monotonic() - case.began >= after * 0.6 ** case.attempt)
        return {name: killed(world, actor, kind, name, moment) for name, moment in moments.items()}
    finally:
        actor.stop()


def boot(cloud):
    """Starts a server of each kind, with data of its own on its disk."""
    cloud.compute_start()
    servers = cloud.boot(list(KINDS), cloud.make_image("base"), cloud.make_flavor())
    cloud.act(servers["off"], {"os-stop": None})
    off = Server(cloud, servers["off"])
    tap.wait_for("stopped server", lambda: off.record()["status"] == "SHUTOFF", 120)
    # It would report guests that end as stopped.
    cloud.compute_stop()
    data = cloud.folder.file("data")
    with open(data, "wb") as file:
        for _ in range(DATA_MIB):
            file.write(os.urandom(MIB))
    for kind, uuid in servers.items():
        if kind != "off":
            cloud.libvirt.virsh("destroy", uuid)
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -q -s {data} 0 {DATA_MIB}M", cloud.disk(uuid)],
                       check=True, timeout=300)
        if kind != "off":
            cloud.libvirt.virsh("start", uuid)
    os.remove(data)
    return servers


def table(found):
    """found: (kind, actor) -> what measure() returned."""
    lines = ["| guest | killed at | nova-compute left | novasnapd left |", "| --- | --- | --- | --- |"]
    for kind in dict.fromkeys(kind for kind, _ in found):
        theirs, ours = found[kind, "theirs"], found[kind, "ours"]
        lines += [f"| {KINDS[kind]} | {name} | {theirs[name][0]} | {ours[name][0]} |" for name in theirs]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=3)
    parser.add_argument("--guests", default=",".join(KINDS))
    options = parser.parse_args()
    sys.exit(supervisor.run(lambda folder: compare(folder, options), "novasnap-kills-"))


def compare(folder, options):
    found = {}
    with contextlib.ExitStack() as stack:
        cloud = stack.enter_context(Cloud(folder))
        world = World(cloud, boot(cloud))
        stack.callback(world.database.close)
        for kind in options.guests.split(","):
            sections = NO_LIVE_SNAPSHOT if kind == "cold" else {}
            ours = Novasnapd(folder, base=cloud.nova_conf, name=f"agent-{kind}", **sections)
            stack.callback(ours.stop)
            more = folder.file(f"{kind}.conf")
            write_sections(more, sections)
            fractions = sorted(random.uniform(0.05, 0.95) for _ in range(options.random))
            for name, actor in (("theirs", NovaCompute(cloud, ["--config-file", more])), ("ours", ours)):
                found[kind, name] = measure(world, actor, kind, fractions)
    text = "\n".join(table(found)) + "\n"
    print(text, end="")
    with open(os.path.join(BUILD, "kills.md"), "w") as file:
        file.write(text)
    return 1 if any(is_lost for (_, name), cells in found.items() if name == "ours"
                    for _, is_lost in cells.values()) else 0


if __name__ == "__main__":
    main()
