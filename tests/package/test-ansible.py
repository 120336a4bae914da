#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Ansible role enables novasnap on two hosts, one after the other, and rolls back: with real novasnapds and real
messaging of nova-compute (oslo.messaging). A host is a mount namespace with its own /etc/nova and /etc/novasnap.
systemctl and docker are stand-ins, which stop and start as units and containers would. Needs root."""
import grp
import os
import re
import shutil
import stat
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
import tap  # noqa: E402
from beside_command import CommandEnvironment, CommandSite  # noqa: E402
from layouts import LAYOUTS  # noqa: E402
from mount_points import make_mount_points  # noqa: E402
from paths import BUILD, TOP  # noqa: E402
from playbook import changes, environment, play  # noqa: E402
from process import end, spawn  # noqa: E402
from standin_conductor import ConductorStandIn  # noqa: E402
from standin_systemctl import SystemdStandIn, Unit  # noqa: E402

SERVICE, TIMER, COMPUTE = "novasnapd.service", "novasnap-beside-guard.timer", "nova-compute.service"
# What is in nova-compute's file before, and must be there afterwards.
COMPUTE_CONF = "# nova-compute's own\n[DEFAULT]\ncompute_driver = libvirt.LibvirtDriver\n[libvirt]\nvirt_type = qemu\n"
# A stand-in for docker: its containers are units of the stand-in for systemd, and one that was stopped is gone. There
# are the images novasnap:latest, whose number is in the file "image", and novasnap:pulled, and no other.
DOCKER = """#!/bin/sh
unit() {
	case $1 in
	novasnap_guard) echo novasnap-beside-guard.timer ;;
	nova_compute) echo nova-compute.service ;;
	*) echo "$1.service" ;;
	esac
}
here=$(dirname "$0") verb=$1
shift
case $verb in
ps) for name in novasnapd novasnap_guard nova_compute; do
		if systemctl -q is-active "$(unit $name)"; then echo $name; fi
	done ;;
run) for word; do
		shift
		case $word in
		--name=*) name=${word#--name=} ;;
		--volume=*:/var/lib/kolla/novasnap:ro) folder=${word#--volume=} folder=${folder%%:*} ;;
		--label=novasnap.made_of=*) label=${word#*made_of=} ;;
		novasnap:latest | novasnap:pulled) break ;;
		*:missing) echo "Unable to find image '$word' locally" >&2; exit 125 ;;
		esac
	done
	if [ "$1" = novasnap ]; then
		mkdir -p /etc/novasnap/novasnap.conf.d
		exec unshare --mount sh -c 'mount --bind "$0" /etc/novasnap/novasnap.conf.d && exec "$@"' "$folder" "$@"
	fi
	echo "$label" >"$here/made-of-$name"
	systemctl start "$(unit "$name")" ;;
image)
	for word; do :; done
	case $word in
	novasnap:latest) cat "$here/image" ;;
	novasnap:pulled) [ -e "$here/pulled" ] && echo sha256:pulled ;;
	*) exit 1 ;;
	esac ;;
pull)
	[ "$1" = novasnap:pulled ] || { echo "Unable to find image '$1'" >&2; exit 1; }
	touch "$here/pulled" ;;
container) cat "$here/made-of-$4" ;;
exec)
	systemctl -q is-active "$(unit "$1")" || { echo "Error response from daemon: No such container: $1" >&2; exit 1; }
	shift 2
	exec "$@" ;;
restart) [ "$1" != --time ] || shift 2; systemctl restart "$(unit "$1")" ;;
stop) shift 2
	systemctl -q is-active "$(unit "$1")" || { echo "Error: No such container: $1" >&2; exit 1; }
	systemctl stop "$(unit "$1")" ;;
rm) ;;
volume) echo "Error: No such volume: $4" >&2; exit 1 ;;
*) echo "no stand-in for docker $verb" >&2; exit 125 ;;
esac
"""
# A stand-in for runuser: the folders of this test are root's.
RUNUSER = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""

KOLLA = {"novasnap_deployment": "kolla", "novasnap_nova_compute_conf": "/etc/nova/nova-compute.conf",
         "novasnap_config_file": "/etc/novasnap/novasnap.conf.d/ansible.conf"}


class ToldToFail(Exception):
    """What a test wants of a unit."""


class Host:
    """A compute host: its namespace, novasnapd and nova-compute."""

    def __init__(self, env, name):
        self.env, self.name, self.timer = env, name, False
        # `novasnap check` wants a conductor beside nova-compute.
        self.site = CommandSite(env, LAYOUTS["defaults"], novasnap={"control": "conductor"})
        env.enter(ConductorStandIn(self.site.url))
        self.agent = self.site.agent
        # `novasnap check` wants to know QEMU's user.
        self.agent.configure("libvirt", connection_uri=env.libvirt.uri)
        self.etc_nova, etc = env.folder.make(f"{name}-nova"), env.folder.make(f"{name}-novasnap")
        self.etc = etc
        self.compute_conf = os.path.join(self.etc_nova, "nova-compute.conf")
        os.chmod(self.etc_nova, 0o755)
        with open(self.compute_conf, "w") as file:
            file.write(COMPUTE_CONF)
        os.chmod(self.compute_conf, 0o644)  # as of Debian's package
        shutil.copy(self.agent.conf, os.path.join(etc, "novasnap.conf"))
        units = {SERVICE: Unit(self.agent.start, self.stop_service, self.agent.is_running),
                 TIMER: Unit(lambda: self.set_timer(True), lambda: self.set_timer(False), lambda: self.timer),
                 COMPUTE: Unit(self.start_compute, self.stop_compute, lambda: self.site.nova is not None)}
        self.systemd = env.enter(SystemdStandIn(env.folder, units))
        for program, text in (("docker", DOCKER), ("runuser", RUNUSER)):
            with open(os.path.join(self.systemd.bin, program), "w") as file:
                file.write(text)
            os.chmod(file.name, 0o755)
        self.set_image("sha256:first")
        self.follows = True  # nova-compute reads its file
        self.more = {}  # of its nova-compute
        self.fails = set()  # the next "start" or "stop" of nova-compute
        script = "".join(f"mount --bind {source} {target} && "
                         for source, target in ((self.etc_nova, "/etc/nova"), (etc, "/etc/novasnap")))
        self.namespace = spawn(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                                f"{script}touch /etc/novasnap/ready && exec sleep infinity"],
                               env.folder.file(f"{name}.log"))
        env.callback(lambda: end(self.namespace))
        tap.wait_for("the namespace", lambda: os.path.exists(os.path.join(etc, "ready")), 20)
        self.agent.run_as, self.agent.files = ["nsenter", "-t", str(self.namespace.pid), "-m"], []
        env.callback(lambda: self.agent.is_running() and self.agent.stop())
        self.python = env.folder.file(f"python-{name}")
        path = f"{self.systemd.bin}:{BUILD}:{os.environ['PATH']}"
        with open(self.python, "w") as file:
            # A module that is ended leaves a folder.
            file.write(f"#!/bin/sh\nexec nsenter -t {self.namespace.pid} -m env PATH={path} "
                       f'TMPDIR={env.folder.path} /usr/bin/python3 "$@"\n')
        os.chmod(self.python, 0o755)
        self.start_compute()
        self.before = self.site.objects()

    def stop_service(self):
        assert self.agent.stop() == 0

    def add_to_configuration(self, text):
        """Adds to novasnap.conf. Returns a function that takes it back."""
        path = os.path.join(self.etc, "novasnap.conf")
        with open(path) as file:
            before = file.read()
        with open(path, "w") as file:
            file.write(before + text)

        def take_back():
            with open(path, "w") as file:
                file.write(before)
        return take_back

    def set_timer(self, runs):
        self.timer = runs

    def text(self):
        if not os.path.exists(self.compute_conf):
            return ""
        with open(self.compute_conf) as file:
            return file.read()

    def set_image(self, number):
        with open(os.path.join(self.systemd.bin, "image"), "w") as file:
            file.write(f"{number}\n")

    def run_in(self, *command):
        """Runs a command on the host. Returns its output."""
        return subprocess.run(["nsenter", "-t", str(self.namespace.pid), "-m", *command], check=True,
                              capture_output=True, text=True, timeout=60).stdout

    def fail(self, verb):
        if verb in self.fails:
            self.fails.remove(verb)
            raise ToldToFail(verb)

    def start_compute(self):
        self.fail("start")
        found = re.search(r"^control_exchange *= *(\S+)$", self.text(), re.M)
        self.site.restart_nova(found.group(1) if found and self.follows else None, **self.more)

    def stop_compute(self):
        self.fail("stop")
        self.site.nova.close()
        self.site.nova = None

    def is_enabled(self):
        assert self.site.status()["stage"] == "enabled" and self.site.bound() == [self.site.queue], self.site.bound()
        assert f"[DEFAULT]\ncontrol_exchange = {self.site.exchange}\n" in self.text(), self.text()
        assert self.agent.is_running() and self.timer
        self.site.beside("--status")
        self.site.reaches()

    def is_as_before(self):
        assert self.site.objects() == self.before, self.site.objects()
        assert self.text() == COMPUTE_CONF, self.text()
        assert not self.agent.is_running() and not self.timer
        self.site.reaches()


class Fleet(CommandEnvironment):
    services = ("broker", "libvirt")

    def before_test(self):
        make_mount_points(self, ("/etc/nova", "/etc/novasnap"))
        self.hosts = [Host(self, name) for name in ("host1", "host2")]

    def play(self, name, status=0, **variables):
        text = play(self.folder, name, {host.name: host.python for host in self.hosts}, variables, status)
        assert all(isinstance(error, ToldToFail) for host in self.hosts for error in host.systemd.errors), text[-5000:]
        return text


UNCHANGED = {"host1": 0, "host2": 0}


def is_not_restarted(env):
    """Enabling again changes nothing, and restarts no service."""
    for host in env.hosts:
        host.systemd.calls.clear()
    assert changes(env.play("enable")) == UNCHANGED
    assert not [call for host in env.hosts for call in host.systemd.calls if "restart" in call]


def test_there_and_back(env):
    for host in env.hosts:
        host.more = {"report_s": 10}  # nova's default
    text = env.play("enable")
    first, second = (text.index("TASK [novasnap : Wait until everything is in order]"),
                     text.rindex("TASK [novasnap : Start novasnapd]"))
    assert first < second and f"[{env.hosts[1].name}]" not in text[:first], "host by host"
    for host in env.hosts:
        host.is_enabled()
    is_not_restarted(env)
    env.play("disable")
    for host in env.hosts:
        host.is_as_before()
    assert changes(env.play("disable")) == UNCHANGED


def test_a_host_whose_check_fails_is_rolled_back_and_the_next_one_untouched(env):
    env.hosts[0].add_to_configuration("[novasnap]\ncontrol = none\n")
    text = env.play("enable", status=2)
    assert "was not enabled on host1" in text and "Check everything" in text, text[-3000:]
    for host in env.hosts:
        host.is_as_before()
    assert not env.hosts[1].systemd.calls, env.hosts[1].systemd.calls


def test_a_nova_compute_that_is_seldom_seen_is_not_restarted(env):
    """As with another servicegroup_driver than db: mostly `--status` does not see it."""
    for host in env.hosts:
        host.add_to_configuration("[DEFAULT]\nreport_interval = 1\n")
        host.more = {"report_s": 20}
    env.play("enable")
    is_not_restarted(env)


def test_a_restart_that_has_failed_is_made_up_for(env):
    """When nova-compute was stopped, and when it still runs with the line that its file has no more."""
    env.play("enable")
    for host, verb in zip(env.hosts, ("start", "stop")):
        host.fails = {verb}
        text = env.play("disable", status=2)
        assert not host.fails and "Restart the service of nova-compute" in text, text[-3000:]
        assert host.text() == COMPUTE_CONF and host.agent.is_running() and host.timer
    env.play("disable")
    for host in env.hosts:
        host.is_as_before()
    assert changes(env.play("disable")) == UNCHANGED


def refuse_a_key(env, **variables):
    """A wrong configuration does not come into the place of the one that novasnapd has read."""
    pids = [host.agent.process.pid for host in env.hosts]
    for host in env.hosts:
        host.systemd.calls.clear()
    text = env.play("enable", status=2, novasnap_config={"novasnap": {"no_such_key": "1"}}, **variables)
    assert "was not enabled on host1" in text and "[novasnap] has no key" in text, text[-3000:]
    for host in env.hosts:
        host.is_enabled()
        assert not [call for call in host.systemd.calls if "stop" in call or "restart" in call], host.systemd.calls
    assert [host.agent.process.pid for host in env.hosts] == pids


def test_a_wrong_key_stops_nothing(env):
    env.play("enable")
    refuse_a_key(env)


def test_a_wrong_key_stops_no_container(env):
    env.play("enable", **KOLLA)
    refuse_a_key(env, **KOLLA)


def stop_nothing(env, name, problem, **variables):
    """novasnap cannot answer, and the host is enabled."""
    text = env.play(name, status=2, **variables)
    assert "Nothing was stopped" in text and problem in text, text[-3000:]
    assert f"control_exchange = {env.hosts[0].site.exchange}\n" in env.hosts[0].text(), env.hosts[0].text()


def test_a_configuration_that_cannot_be_read_stops_nothing(env):
    env.play("enable")
    host, pid = env.hosts[0], env.hosts[0].agent.process.pid
    take_back = host.add_to_configuration("[novasnap]\nno_such_key = 1\n")
    for name in ("disable", "enable"):
        stop_nothing(env, name, "by /etc/nova/nova-compute.conf")
        assert host.agent.is_running() and host.agent.process.pid == pid and host.timer
    line = host.text()
    with open(host.compute_conf, "w") as file:
        file.write(COMPUTE_CONF)
    text = env.play("disable", status=2, novasnap_state_dir=host.agent.state)
    assert f"by {host.agent.state}/journal/beside.json" in text and host.agent.is_running() and host.timer, text[-3000:]
    with open(host.compute_conf, "w") as file:
        file.write(line)
    take_back()
    env.play("disable")
    for each in env.hosts:
        each.is_as_before()


def test_a_host_without_novasnap(env):
    """Disabling a host whose configuration is wrong, or which has no novasnap, has nothing to do."""
    for host in env.hosts:
        host.add_to_configuration("[novasnap]\nno_such_key = 1\n")
    assert changes(env.play("disable")) == UNCHANGED
    for host in env.hosts:
        del host.systemd.units[SERVICE], host.systemd.units[TIMER]
    assert changes(env.play("disable", novasnap_command=["no-novasnap"])) == UNCHANGED
    for host in env.hosts:
        host.is_as_before()


def test_nova_compute_can_read_its_file(env):
    """A file that is there keeps its owner and mode, and a new one is for the user of nova-compute."""
    os.remove(env.hosts[1].compute_conf)
    env.play("enable", novasnap_user="daemon")
    group = grp.getgrnam("daemon").gr_gid
    for host, wanted in zip(env.hosts, ((0, 0, 0o644), (0, group, 0o640))):
        host.is_enabled()
        found = os.stat(host.compute_conf)
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == wanted, (host.name, found)
        host.run_in("setpriv", "--reuid", "daemon", "--regid", "daemon", "--clear-groups", "cat",
                    "/etc/nova/nova-compute.conf")
    env.play("disable", novasnap_user="daemon")
    assert stat.S_IMODE(os.stat(env.hosts[0].compute_conf).st_mode) == 0o644
    assert env.hosts[0].text() == COMPUTE_CONF and "control_exchange" not in env.hosts[1].text()


def test_a_nova_compute_that_does_not_follow_is_rolled_back(env):
    env.hosts[0].follows = False
    text = env.play("enable", status=2, novasnap_wait=5)
    assert "was not enabled on host1" in text, text[-3000:]
    for host in env.hosts:
        host.is_as_before()


def test_containers_there_and_back(env):
    env.play("enable", **KOLLA)
    for host in env.hosts:
        host.is_enabled()
    assert changes(env.play("enable", **KOLLA)) == UNCHANGED
    env.play("disable", **KOLLA)
    for host in env.hosts:
        host.is_as_before()
    assert changes(env.play("disable", **KOLLA)) == UNCHANGED


def test_containers_get_a_new_image(env):
    """Of the same name, and of another name, which is pulled. nova-compute is not restarted for it."""
    env.play("enable", **KOLLA)
    computes = [host.site.nova for host in env.hosts]

    def are_made_again(**variables):
        pids = [host.agent.process.pid for host in env.hosts]
        for host in env.hosts:
            host.systemd.calls.clear()
        env.play("enable", **KOLLA, **variables)
        for host, pid, compute in zip(env.hosts, pids, computes):
            host.is_enabled()
            assert host.agent.process.pid != pid and host.site.nova is compute
            stops = [call for call in host.systemd.calls if call.startswith("systemctl stop")]
            assert stops == [f"systemctl stop {TIMER}", f"systemctl stop {SERVICE}"], host.systemd.calls

    for host in env.hosts:
        host.set_image("sha256:second")
    are_made_again()
    are_made_again(novasnap_image="novasnap:pulled")


def test_containers_that_are_gone_are_rolled_back(env):
    env.play("enable", **KOLLA)
    for host in env.hosts:
        host.stop_service()
        host.set_timer(False)
    # Without an image nothing can give the requests back.
    stop_nothing(env, "disable", "Unable to find image", **KOLLA, novasnap_image="novasnap:missing")
    env.play("disable", **KOLLA)
    for host in env.hosts:
        host.is_as_before()


def test_a_missing_image_is_rolled_back(env):
    text = env.play("enable", status=2, **KOLLA, novasnap_image="novasnap:missing")
    assert "was not enabled on host1" in text and "Unable to find image" in text, text[-3000:]
    for host in env.hosts:
        host.is_as_before()
    assert not env.hosts[1].systemd.calls, env.hosts[1].systemd.calls


def test_the_override_for_kolla(env):
    """kolla-ansible renders its overrides with Jinja."""
    source = os.path.join(TOP, "conf/kolla/config/nova/nova-compute.conf")
    for enabled in ("true", "false"):
        to = env.folder.file(f"nova-compute-{enabled}.conf")
        subprocess.run(["ansible", "localhost", "-c", "local", "-m", "ansible.builtin.template", "-a",
                        f"src={source} dest={to}", "-e", f"novasnap_enabled={enabled}", "-e",
                        '{"ansible_facts": {"nodename": "rack1-node7"}}'], check=True, capture_output=True, timeout=120,
                       env={**os.environ, **environment(env.folder)})
        with open(to) as file:
            text = file.read().strip()
        assert text == ("[DEFAULT]\ncontrol_exchange = nova.rack1-node7" if enabled == "true" else ""), text


if __name__ == "__main__":
    tap.main(Fleet)
