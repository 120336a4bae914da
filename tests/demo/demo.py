#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shows the main job: a recorded cast of nova's goes through a private RabbitMQ to novasnapd, which takes a live
snapshot of a guest that writes all the time, and stores it in a private Glance (or, with IMAGES=directory, in the
embedded store). Everything that is started is ended, also on Ctrl-C."""
import contextlib
import hashlib
import os
import subprocess
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import supervisor  # noqa: E402
import tap  # noqa: E402
from agent import Agent  # noqa: E402
from broker import Broker  # noqa: E402
from glance import Glance  # noqa: E402
from guest import Guest, build_kernel  # noqa: E402
from images import WRITTEN, is_one_instant, qemu_img, rounds_in, same_content  # noqa: E402
from libvirtd import Libvirtd  # noqa: E402
from paths import BUILD, CAST  # noqa: E402

IMAGES = os.environ.get("IMAGES", "glance")
ACCEL = os.environ.get("ACCEL", "tcg")
STARTED = time.monotonic()


def say(text):
    print(f"{time.monotonic() - STARTED:5.1f} s  {text}", flush=True)


def sha512(path):
    digest = hashlib.sha512()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def send(agent, guest):
    """Sends the recorded cast, and shows the progress until the image is done. Returns the image's id."""
    command = [os.path.join(BUILD, "novasnap"), "--config-file", agent.conf, "send",
               "snapshot_instance", "--file", CAST,
               "--instance", guest.uuid, "--name", "demo", "--watch", "--timeout", "120"]
    image = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            line = line.rstrip()
            with contextlib.suppress(ValueError):
                image = str(uuid.UUID(line))
                continue
            say("  " + line)
    if process.returncode != 0 or not image:
        tap.show_tail(agent.log)
        raise SystemExit("the snapshot failed; see above")
    return image


def check(what, well):
    say(f"{'ok' if well else 'NOT OK'}: {what}")
    return well


def verify(path, guest):
    qemu_img("check", "-f", "qcow2", path)
    rounds = rounds_in(path, "qcow2")
    return all([
        check("qemu-img check finds no error in the image", True),
        check("the part that nobody writes is the guest's, byte for byte",
              same_content(path, "qcow2", guest.disk, "qcow2", WRITTEN)),
        check(f"the part that the guest writes is of one instant (rounds {min(rounds)} to "
              f"{max(rounds)})", max(rounds) > 0 and is_one_instant(rounds)),
        check("the guest still runs, and writes on", guest.state() == "running" and
              (guest.wait_writing(1) or True)),
    ])


def show(folder):
    with contextlib.ExitStack() as stack:
        broker = Broker(folder)
        stack.callback(broker.stop)
        broker.start(wait=False)
        glance = Glance(folder) if IMAGES == "glance" else None
        if glance:
            stack.callback(glance.stop)
            glance.start(wait=False)
        libvirt = stack.enter_context(Libvirtd(folder))
        build_kernel()
        guest = stack.enter_context(Guest(libvirt, folder, writer=True, size_mib=512, data_mib=200, accel=ACCEL))
        guest.start()
        say(f"the guest {guest.name} boots ({ACCEL}), with a backing file and 200 MiB of data")
        broker.wait()
        say(f"RabbitMQ is up on port {broker.port}")
        if glance:
            glance.wait()
            say(f"Glance is up on port {glance.port}")
        guest.wait_writing(1)
        say("the guest writes numbered blocks, round after round")
        images = None if glance else folder.make("images")
        agent = stack.enter_context(Agent(folder, broker.url, glance.url if glance else None, images, libvirt.uri))
        say(f"novasnapd serves compute.{agent.host}; the recorded cast is sent")
        began = time.monotonic()
        image = send(agent, guest)
        seconds = time.monotonic() - began
        path = glance.file(image) if glance else os.path.join(images, image)
        well = verify(path, guest)
        well = check("novasnapd stops, and leaves nothing in its snapshots directory",
                     agent.stop() == 0 and not os.listdir(agent.snapshots)) and well
        print(f"\n{'image':38}{'format':8}{'bytes':>12}  {'seconds':>7}  sha512\n"
              f"{image:38}{'qcow2':8}{os.path.getsize(path):>12}  {seconds:7.1f}  "
              f"{sha512(path)[:32]}...\n")
    say("everything is taken down again")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(supervisor.run(show, "novasnap-demo-"))
