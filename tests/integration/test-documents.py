#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands of the documents and of the programs' help. Those of novasnap and novasnapd are run as they are written,
with a real broker, libvirt, QEMU and Glance; of the others, either here or in the test that is named here."""
import glob
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import document_commands  # noqa: E402
import tap  # noqa: E402
from beside_command import CommandSite  # noqa: E402
from broker import Broker  # noqa: E402
from document_commands import OWN, help_of, program_of  # noqa: E402
from environment import Environment  # noqa: E402
from images import qemu_img  # noqa: E402
from layouts import LAYOUTS  # noqa: E402
from paths import BUILD, CAST, TOP  # noqa: E402
from process import end, free_port  # noqa: E402
from screen import Screen  # noqa: E402
from standin_glance import GlanceStandIn  # noqa: E402

AS_NOVA = "runuser -u nova -g nova -G libvirt -G libvirt-qemu -- "
PAGE, RBD = "tests/e2e/test-beside-page.py", "tests/integration/test-rbd.py"
SYSTEMD = "tests/integration/test-systemd.py"
IMAGE, POLICY = "tests/package/test-image.py", "tests/package/test-policy.sh"
PLAYBOOK = "tests/lib/playbook.py"  # of tests/package/test-ansible.py
# Commands of other programs: a pattern of the whole command, the test that runs them, and words of that test.
ELSEWHERE = (
    (r"(chgrp|systemd-sysusers|systemd-tmpfiles|cat) .*", PAGE, "commands_of(README"),
    (r"systemctl ((enable|disable) --now (novasnapd|novasnap-beside-guard.timer| )+|restart nova-compute)", PAGE,
     "commands_of(PAGE"),
    (r"systemctl (start|stop|reload) novasnapd( && systemctl start nova-compute)?", PAGE, "commands_of(OPERATING"),
    (r"install -D .* && systemctl daemon-reload", PAGE, "commands_of(OPERATING"),
    (r"openstack (server image create|image show) .*", PAGE, "commands_of(README"),
    (r"openstack compute service set --enable HOST nova-compute", PAGE, "openstack compute service set --enable HOST"),
    (r"apt-get install .*", "tests/package/inside.sh", "apt install -y"),
    (r"(ceph|rbd) .*", RBD, "conf/docs/ceph.md"),
    (r"cd /usr/share/doc/novasnap/examples", POLICY, "checkmodule"),
    (r"checkmodule -M -m -o /root/novasnap.mod novasnap.te", POLICY, "checkmodule -M -m -o"),
    (r"semodule_package -o \S+ -m \S+ -f novasnap.fc", POLICY, "semodule_package -o"),
    (r"docker run --detach .*", IMAGE, 'podman("run",'),
    (r"docker exec .* novasnap-container novasnap check", IMAGE, '"exec", self.name, "novasnap-container", "novasnap"'),
    (r"ansible-playbook -i INVENTORY conf/ansible/(enable|disable).yml", PLAYBOOK, '"ansible-playbook", "-i"'),
    (r"journalctl (-u novasnapd)?( ?INSTANCE_UUID=\S+)?", SYSTEMD, '"INSTANCE_UUID"'),
    (r"journalctl REQUEST_ID=\S+", SYSTEMD, '"REQUEST_ID"'),
)
# They change the host itself: SELinux, devices, a disk's counters, access lists. Of the guard's container only the
# command in it is run, `novasnap beside --guard`.
NOT_TRIED = (r"docker run \.\.\. --name novasnap_guard .*", r"semodule -i .*", r"setfacl .*",
             r"udevadm trigger --subsystem-match=block", r"echo 1 > /sys/block/dm-N/queue/iostats")
# Names of commands in a sentence.
NAMES = ("chmod o+x", "curl -T", "man novasnap", "openstack server delete", "openstack server image create",
         "openstack server show", "qemu-img check", "qemu-img compare", "qemu-img convert -c", "qemu-img create -F",
         "qemu-nbd --read-only", "rabbitmqctl delete_queue …", "rpmbuild -bb", "systemctl edit novasnapd",
         "systemctl status", "systemctl status novasnapd", "systemctl stop", "virsh guest-agent-timeout",
         "virsh managedsave", "virsh resume")
UUID = r"[0-9a-f]{8}-[0-9a-f-]{27}"


class Documents(Environment):
    services = ("broker", "glance", "libvirt")
    own_broker = True

    def make_broker(self):
        return Broker(self.folder, management=True)

    def set_up(self):
        self.commands, self.examples = list(document_commands.of_pages()), list(document_commands.of_help())
        self.guest = self.make_guest(size_mib=64, data_mib=4)
        self.wait_services()
        self.guest.start()
        self.front = self.enter(GlanceStandIn(self.glance))
        self.metrics_port = free_port()
        self.agent = self.start_agent(sections={"glance_url": self.front.url},
                                      metrics_listen=f"127.0.0.1:{self.metrics_port}")
        self.image, _, status = self.agent.snapshot(self.guest.uuid)
        assert status == 0, self.agent.text()[-3000:]
        self.job = self.agent.shown(self.image).split()[0]

    def texts(self, program, subcommand=""):
        """Returns each whole command of one of the own programs, once."""
        texts = [command.text.removeprefix(AS_NOVA) for command in self.commands + self.examples if command.is_whole]
        begin = f"{program} {subcommand}".strip()
        return sorted({text for text in texts if text == begin or text.startswith(f"{begin} ")})

    def path_for(self, agent, *programs):
        """Returns a PATH with novasnap as on a host where that agent's configuration is the default one."""
        folder = self.folder.make(f"bin-{uuid.uuid4().hex[:8]}")
        for program in programs or ("novasnap",):
            with open(os.path.join(folder, program), "w") as file:
                file.write(f'#!/bin/sh\nexec {BUILD}/{program} {" ".join(agent.files)} "$@"\n')
            os.chmod(os.path.join(folder, program), 0o755)
        return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}

    def cast_file(self, image):
        with open(CAST) as file:
            cast = json.load(file)
        cast["_unique_id"] = uuid.uuid4().hex  # else it is a duplicate
        cast["args"]["image_id"] = image
        cast["args"]["instance"]["nova_object.data"]["uuid"] = self.guest.uuid
        path = self.folder.file(f"cast-{uuid.uuid4().hex[:8]}.json")
        with open(path, "w") as file:
            json.dump(cast, file)
        return path

    def new_image(self):
        return self.glance.create("documents", container_format="bare", disk_format="qcow2",
                                  instance_uuid=self.guest.uuid)

    def fill(self, text, image=None, file="/nonexistent"):
        """Puts what is on this host into the place of what the documents have."""
        image = image or self.image
        for pattern, value in (
                (r"\[(--[\w-]+(?: [A-Z]+)?)\]", r"\1"), (r"> \S+", f"> {self.folder.file('output')}"),
                (r"CAST\.json|cast\.jsonl|/var/lib/novasnap/rejected/FILE|\bFILE\b", file),
                (rf"--instance (UUID|{UUID})", "--instance INSTANCE"), (rf"(?<= )(IMAGE|ID|{UUID})(?= |$)", image),
                (r"\bINSTANCE\b", self.guest.uuid), (r"\bJOB\b|(?<=--message )17", self.job),
                (r"\bDOMAIN\b|\bNAME\b|instance-0000002a", self.guest.name),
                (r"--to \S+", f"--to {self.folder.make('to-' + uuid.uuid4().hex[:8])}"), (r"\bSECONDS\b", "20")):
            text = re.sub(pattern, value, text)
        return text

    def run(self, text, expected=0, env=None):
        print(f"# $ {text}", flush=True)
        done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=120, check=False, cwd=TOP,
                              env=env or self.path_for(self.agent), stdin=subprocess.DEVNULL)
        assert done.returncode == expected, (text, done)
        return done.stdout

    def background(self, text, env=None):
        print(f"# $ {text} &", flush=True)
        log = self.folder.file(f"background-{uuid.uuid4().hex[:8]}")
        with open(log, "w") as file:
            process = subprocess.Popen(["sh", "-c", f"exec {text}"], stdout=file, stderr=file, cwd=TOP,
                                       env=env or self.path_for(self.agent))
        self.callback(lambda: end(process))
        process.log = log
        return process


def read(path):
    with open(path) as file:
        return file.read()


def test_each_command_is_run(env):
    """Each command of another program is one that a test runs, and each of these rows is of use."""
    used = set()
    for place, text, _ in env.commands:
        text = text.removeprefix(AS_NOVA)
        if program_of(text) in (*OWN, "make") or program_of(text).startswith("tests/") or text in NAMES + HERE:
            used.add(text)
            continue
        rows = [row for row in ELSEWHERE if re.fullmatch(row[0], text)]
        used.update(rows or [pattern for pattern in NOT_TRIED if re.fullmatch(pattern, text)] or [None])
        assert None not in used, f"{place}: no test runs {text}"
    unused = {*ELSEWHERE, *NOT_TRIED, *NAMES, *HERE} - used
    assert not unused, unused
    for pattern, path, words in ELSEWHERE:
        assert words in read(os.path.join(TOP, path)), (pattern, path, words)


def test_options_of_novasnap(env):
    """Each option that is named in a sentence is one of the command."""
    options = {name: set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", help_of("novasnap", name).split("Options:")[1]))
               for name in document_commands.subcommands()}
    for place, text, _ in env.commands + env.examples:
        words = text.removeprefix(AS_NOVA).split(" > ")[0].replace("[", "").replace("]", "").split()
        if words[0] == "novasnap" and words[1] in options:
            unknown = {word for word in words[2:] if word.startswith("-")} - options[words[1]]
            assert not unknown, f"{place}: {text}: no option {unknown}"
        elif words[0] == "novasnap":
            assert words[1] in ("--help", "COMMAND"), f"{place}: {text}: no command {words[1]}"


def test_targets_of_make(env):
    """Each target exists and is part of what must pass, or is a test or a tool itself; each variable is one of it."""
    makefile = read(os.path.join(TOP, "Makefile"))
    shell = "".join(read(os.path.join(TOP, path)) for path in (
        "tests/lib/check-all.sh", "tests/lib/matrix.sh", ".ci/run", "tests/lib/one.sh", "tests/lib/run.sh"))
    programs = "".join(read(path) for end in ("py", "sh", "c")
                       for path in glob.glob(os.path.join(TOP, "tests", "*", f"*.{end}")))
    described = set(re.findall(r"^([a-z0-9-]+):.* ## ", makefile, re.M)) | {"print-version"}
    for name in re.findall(r"\$\(or \$\(([A-Z_]+)\)", makefile):
        assert not re.search(rf"^{name} *:?=", makefile, re.M), f"{name} is a parameter, and the Makefile sets it, too"
    for place, text, _ in env.commands:
        for part in text.split(" && "):
            variables = re.findall(r"(?:^|(?<= ))([A-Z_]+)=", part)
            words = re.sub(r'[A-Z_]+=("[^"]*"|\S+)', "", part).split()
            if "make" not in words or program_of(part) == "git":
                continue
            targets = set(words[words.index("make") + 1:])
            assert targets <= described, f"{place}: {part}: no target {targets - described}"
            for name in variables:
                known = makefile + (shell if not name.startswith("NOVASNAP_") else programs)
                assert re.search(rf"\b{name}\b", known), f"{place}: {part}: no variable {name}"
            file = re.search(r"\bT=([\w./-]+)", part)
            if file and file[1] != "FILE":
                name = re.sub(r"^test-|\.py$", "", os.path.basename(file[1]))
                assert glob.glob(f"tests/*/test-{name}*", root_dir=TOP), f"{place}: {part}: no test {name}"


# The commands of each subcommand, as an operator would use them.

def run_plain(env, text):
    env.run(env.fill(text))


def run_top(env, text):
    if "--once" in text:
        run_plain(env, text)
        return
    with Screen(["sh", "-c", f"exec {text}"], env=env.path_for(env.agent)) as screen:
        tap.wait_for("a frame", screen.frame, 20)
        screen.type("q")
        assert screen.wait() == 0, screen.text()


def run_watch(env, text):
    """With an image it ends with that snapshot, and else by Ctrl-C."""
    image = env.new_image()
    process = env.background(env.fill(text, image))
    time.sleep(1)  # it says nothing when it listens
    env.agent.command("send", "snapshot_instance", "--file", CAST, "--instance", env.guest.uuid, "--image", image)
    tap.wait_for("the end", lambda: f"{image[:8]} done" in read(process.log), 60, 0.1)
    if "--image" not in text:
        process.send_signal(signal.SIGINT)
    assert process.wait(30) == (0 if "--image" in text else 130), read(process.log)


def run_cancel(env, text):
    env.front.reset("hold")
    image = env.new_image()
    env.agent.command("send", "snapshot_instance", "--file", CAST, "--instance", env.guest.uuid, "--image", image)
    tap.wait_for("the upload", lambda: env.front.puts() == ["hold"], 30)
    env.run(env.fill(text, image))
    env.front.release.set()
    tap.wait_for("its end", lambda: env.agent.has_ended(image), 60)
    env.front.reset()


def run_record(env, text):
    file = env.folder.file(f"recording-{uuid.uuid4().hex[:8]}")
    process = env.background(env.fill(text, file=file))
    time.sleep(1)
    image = env.new_image()
    env.broker.publish(json.loads(read(env.cast_file(image))), f"compute.{env.agent.host}")
    tap.wait_for("the message", lambda: os.path.exists(file) and image in read(file), 30)
    if "--count" not in text:
        process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0, read(process.log)
    tap.wait_for("its end", lambda: env.agent.has_ended(image), 60)


def run_file(env, text):
    """The file has a cast for a new image."""
    image = env.new_image()
    env.run(env.fill(text, image, env.cast_file(image)))
    if "--local" not in text and "decode" not in text:
        tap.wait_for("its end", lambda: env.agent.has_ended(image), 60)
    assert "decode" in text or env.glance.get(image)["status"] == "active", env.agent.text()[-3000:]


def run_unhandled(env, text):
    """In a novasnapd's place that has been stopped."""
    other = env.make_agent()
    with env.broker.connection() as connection:
        connection.channel().queue_declare(f"novasnap.unhandled.{other.host}", durable=True, auto_delete=False)
        connection.channel().queue_declare(f"compute.{other.host}", auto_delete=False)
    assert "messages moved" in env.run(text, env=env.path_for(other))


def run_replay(env, text):
    if "--unhandled" in text:
        run_unhandled(env, text)
    elif "--job" in text:
        before = len(env.agent.command("jobs", "--all").stdout.splitlines())
        run_plain(env, text)
        tap.wait_for("the new job", lambda: len(env.agent.command("jobs", "--all").stdout.splitlines()) > before, 30)
        tap.wait_for("its end", lambda: not env.agent.command("jobs", "--open").stdout, 60)
    else:
        run_file(env, text)


def run_send(env, text):
    (run_file if "--file" in text else run_plain)(env, text)


RUN = {"check": run_plain, "top": run_top, "watch": run_watch, "jobs": run_plain, "show": run_plain,
       "cancel": run_cancel, "record": run_record, "replay": run_replay, "decode": run_file, "snapshot": run_plain,
       "send": run_send}


def test_the_commands_of_novasnap(env):
    assert {*RUN, "beside"} == set(document_commands.subcommands())
    for name, run in RUN.items():
        texts = env.texts("novasnap", name)
        assert texts, f"no document shows novasnap {name}"
        for text in texts:
            run(env, text)


def test_beside(env):
    texts = env.texts("novasnap", "beside")
    site = CommandSite(env, LAYOUTS["defaults"]).start()
    path = env.path_for(site.agent)
    assert len(texts) >= 6, texts

    def change(verb, exchange):
        """Restarts nova-compute while the command waits for that. When it is repeated, nothing is left to do."""
        for text in [text for text in texts if verb in text]:
            process = env.background(env.fill(text), path)

            def has_asked(process=process):
                return process.poll() is not None or site.exchange in read(process.log)
            tap.wait_for("the line", has_asked, 30)
            site.restart_nova(exchange)
            assert process.wait(60) == 0, read(process.log)
    change("--enable", site.exchange)
    for text in texts:
        if "--enable" not in text and "--disable" not in text:
            env.run(env.fill(text), env=path)
    change("--disable", None)


def test_the_commands_of_novasnapd(env):
    for text in env.texts("novasnapd"):
        agent = env.make_agent()
        for path, own in (("/etc/nova/nova.conf", "nova.conf"), ("/etc/nova/more", "more")):
            place = os.path.join(agent.folder, own)
            os.makedirs(place) if own == "more" else open(place, "w").close()
            text = text.replace(path, place)
        text = text.replace("/etc/novasnap/novasnap.conf", agent.conf)
        if "--config" in text:
            process = env.background(f"{BUILD}/{text}")
        else:
            process = env.background(text, env.path_for(agent, "novasnapd"))
        tap.wait_for("readiness", lambda log=process.log: " ready after " in read(log), 30, 0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, read(process.log)


# The commands of other programs that are run here.

def run_curl(env, text):
    assert "novasnap_snapshots_total" in env.run(text.replace("9178", str(env.metrics_port)))


def run_rabbitmqctl(env, text):
    queue = "novasnap.unhandled.somehost"
    with env.broker.connection() as connection:
        connection.channel().queue_declare(queue, durable=True, auto_delete=False)
    words = text.replace("novasnap.unhandled.HOST", queue).split()
    env.broker.ctl(*words[1:])


def run_rebase(env, text):
    base, overlay = env.folder.file("base"), env.folder.file("overlay")
    qemu_img("create", "-f", "qcow2", base, "1M")
    qemu_img("create", "-f", "qcow2", "-b", base, "-F", "raw", overlay)
    env.run(text.replace("FORMAT", "qcow2").replace("FILE", base).replace("OVERLAY", overlay))
    assert json.loads(qemu_img("info", "--output=json", overlay))["backing-filename-format"] == "qcow2"


HERE_RUN = {"curl http://127.0.0.1:9178/metrics": run_curl,
            "rabbitmqctl purge_queue novasnap.unhandled.HOST": run_rabbitmqctl,
            "qemu-img rebase -u -f qcow2 -F FORMAT -b FILE OVERLAY": run_rebase,
            "grep -rn extract conf agent/check": lambda env, text: env.run(text)}
HERE = tuple(HERE_RUN)


def test_other_programs(env):
    for text, run in HERE_RUN.items():
        run(env, text)


if __name__ == "__main__":
    tap.main(Documents)
