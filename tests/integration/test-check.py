#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `novasnap check` prints when everything is correct, and for each thing that is not. RabbitMQ, libvirt and Glance
are real, Keystone is a stand-in. test-tls.py has the checks with TLS, test-unprivileged.py those as a user other than
root."""
import json
import os
import subprocess
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from images import qemu_img  # noqa: E402
from process import free_port  # noqa: E402
from standin_keystone import KeystoneStandIn  # noqa: E402


class Checks(Environment):
    services = ("broker", "glance", "libvirt")

    def set_up(self):
        self.keystone = self.enter(KeystoneStandIn(ours=("right", "token")))

    def agent(self, glance_url=None, broker_url=None, **sections):
        return self.make_agent(sections={"glance_url": glance_url or self.glance.url,
                                         "broker_url": broker_url or self.broker.url, **sections})

    def user(self, password="right", **more):
        return self.keystone.section("ours", password, **more)


def check(agent, env=()):
    """Returns the exit status, the lines by subject, and all lines."""
    done = agent.command("check", check=False, env=env)
    assert not done.stderr, done.stderr
    lines = done.stdout.splitlines()
    assert all(line[:6].strip() in ("ok", "warn", "FAIL") for line in lines[:-1]), lines
    return done.returncode, {line.split()[1].strip(":"): line for line in lines[:-1]}, lines


def fails(agent, name, *words, env=()):
    status, lines, _ = check(agent, env)
    assert status == 1 and lines[name].startswith("FAIL"), lines
    assert all(word in lines[name] for word in words), (words, lines[name])


def test_all_is_well(env):
    with env.agent(keystone_authtoken=env.user(), service_user=env.user(send_service_user_token="true")) as agent:
        before = agent.text()
        status, lines, shown = check(agent)
        assert status == 0 and shown[-1].startswith("0 failed"), shown
        for name in ("configuration", "qemu-img", "qemu-nbd", "novasnap-thaw", "libvirt", "state_dir", "journal",
                     "run_dir", "scratch_dir", "snapshots_directory", "disks", "live_method", "RabbitMQ", "queues",
                     "[keystone_authtoken]", "[service_user]", "Glance"):
            assert lines[name].startswith("ok "), lines[name]
        assert "MiB free" in lines["scratch_dir"] and "QEMU runs as" in lines["libvirt"]
        # Each peer's line names the credential in use, without its secret.
        assert "user guest at " in lines["RabbitMQ"] and "vhost " in lines["RabbitMQ"], lines["RabbitMQ"]
        for section in ("[keystone_authtoken]", "[service_user]"):
            assert f"{section} user ours, project service at {env.keystone.url}" in lines[section], lines[section]
        assert ("the token of the cast, or else of [keystone_authtoken] user ours, project service, beside that of "
                "[service_user] user ours") in lines["Glance"], lines["Glance"]
        assert "user ours" in lines["Cinder"] and "Keystone's catalogue" in lines["Cinder"], lines["Cinder"]
        assert "right" not in "".join(shown), shown
        # The novasnapd that serves is not disturbed.
        assert "rpc:" not in agent.text()[len(before):], agent.text()[len(before):]


def test_the_mode(env):
    """A host that nova takes for dead is dangerous for its guests."""
    for keys, word in (({"control": "conductor", "report_state": "false"}, "warn"),
                       ({"control": "conductor", "report_state": "true"}, "ok "),
                       ({"control": "none"}, "ok ")):
        _, lines, _ = check(env.agent(novasnap=keys))
        assert lines["mode"].startswith(word) and "exclusive" in lines["mode"], lines
        assert ("server delete" in lines["mode"]) == (word == "warn"), lines
    status, lines, _ = check(env.agent(novasnap={"mode": "beside", "control": "none"}))
    assert status == 1 and lines["mode"].startswith("FAIL") and "exclusive" in lines["mode"], lines
    agent = env.agent(novasnap={"mode": "beside", "control": "conductor"})
    os.makedirs(os.path.join(agent.state, "journal"), exist_ok=True)
    for given_back, word in ((False, "ok "), (True, "warn")):
        with open(os.path.join(agent.state, "journal/beside.json"), "w") as file:
            json.dump({"stage": "enabled", "given_back": given_back, "marker": "0" * 32}, file)
        _, lines, _ = check(agent)
        assert lines["mode"].startswith(word) and ("beside --status" in lines["mode"]) == given_back, lines
    agent = env.agent()
    # As in an upgrade of a configuration that has only this key.
    agent.configure("novasnap", mode="beside", report_state="true")
    status, _, shown = check(agent)
    assert status == 2 and "report_state" in shown[0] and "exclusive" in shown[0], shown


def test_a_check_creates_nothing(env):
    agent = env.agent()
    before = sorted(os.listdir(agent.folder))
    status, lines, _ = check(agent)
    assert status == 0 and lines["state_dir"].startswith("ok"), lines
    assert "novasnapd will create it" in lines["run_dir"]
    assert sorted(os.listdir(agent.folder)) == before


def test_the_configuration(env):
    for text, word in (("[novasnap]\nstatedir = /x\n", "statedir"),
                       ("[novasnap]\nrun_dir = x\n", "absolute"), ("nonsense\n", ":")):
        agent = env.agent()
        with open(agent.conf, "a") as file:
            file.write(text)
        done = agent.command("check", check=False)
        assert done.returncode == 2 and "FAIL  configuration" in done.stdout, done
        assert word in done.stdout and agent.conf in done.stdout, done
    assert env.agent().command("check", "more", check=False).returncode == 2


def test_folders(env):
    agent = env.agent()
    run, state, journal = (os.path.join(agent.folder, name) for name in ("run", "state", "state/journal"))
    for path in (run, state, journal):
        os.mkdir(path)
    os.chmod(journal, 0o755)
    fails(agent, "journal", "other users may read", "0700")
    os.chmod(journal, 0o700)
    os.chmod(state, 0o777)
    fails(agent, "state_dir", "everybody may write", "0777")
    os.chmod(state, 0o711)
    os.chmod(run, 0o700)
    fails(agent, "run_dir", "QEMU's user", run, "mode 0700", f"chmod o+x {run}")
    os.chmod(run, 0o711)
    assert check(agent)[0] == 0
    # A folder above it.
    os.chmod(agent.folder, 0o700)
    fails(agent, "run_dir", f"cannot traverse {agent.folder} ")
    os.chmod(agent.folder, 0o755)
    os.rmdir(run)
    open(run, "w").close()
    fails(agent, "run_dir", "is not a folder")


def test_no_room(env):
    small = env.folder.make("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=711", "none", small], check=True, timeout=20)
    env.callback(subprocess.run, ["umount", small], check=True, timeout=20)
    agent = env.agent(novasnap={"scratch_dir": small})
    fails(agent, "scratch_dir", "make room")
    stream = check(agent)[1]["live_method"]
    assert stream.startswith("warn") and "scratch_dir" in stream and "can take" not in stream, stream


def test_libvirt(env):
    fails(env.agent(libvirt_uri="qemu+unix:///system?socket=/nonexistent"), "libvirt", "/nonexistent",
          "group libvirt")
    fails(env.agent(novasnap={"live_method": "magic"}), "libvirt", "magic")


def test_disks_of_guests(env):
    """A warning for each guest whose snapshot would be refused now."""
    guests = [env.make_guest(size_mib=16, data_mib=1) for _ in range(3)]
    agent = env.agent()
    status, lines, _ = check(agent)
    assert status == 0 and lines["disks"].startswith("ok ") and "3 guests checked, snapshots of 0" in lines["disks"], lines
    guests[1].define(guests[1].xml().replace("type='qcow2' cache", "type='qed' cache"))
    elsewhere = env.folder.file("elsewhere")
    qemu_img("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", elsewhere, guests[2].disk)
    open(elsewhere, "w").close()
    status, lines, shown = check(agent)
    found = {line.split()[2].strip(":"): line for line in shown if line.startswith("warn  guest ")}
    assert status == 0 and set(found) == {guest.name for guest in guests[1:]}, shown
    assert "format qed" in found[guests[1].name] and guests[1].uuid in found[guests[1].name], found
    assert elsewhere in found[guests[2].name] and "backing_dirs" in found[guests[2].name], found
    assert lines["disks"].startswith("warn") and "snapshots of 2" in lines["disks"], lines
    # QEMU reads what is below the disk of a guest that is streamed while it runs.
    guests[2].set_condition("running")
    assert "snapshots of 1" in check(agent)[1]["disks"]


def test_rabbitmq(env):
    fails(env.agent(broker_url=f"rabbit://guest:guest@127.0.0.1:{free_port()}/"), "RabbitMQ",
          "is RabbitMQ running there")
    if env.broker.own:
        fails(env.agent(broker_url=env.broker.url.replace("guest:guest", "guest:wrong")), "RabbitMQ",
              "cannot log in", "guest")
        fails(env.agent(broker_url=env.broker.url + "no-such-vhost"), "RabbitMQ", "no-such-vhost")


def test_queues_of_other_services(env):
    """What exists is compared with the configuration, and stays as it is."""
    unique = uuid.uuid4().hex[:8]
    exchange, topic = f"nova-{unique}", f"compute-{unique}"
    names = {"DEFAULT": {"control_exchange": exchange}, "compute": {"topic": topic}}
    with env.broker.connection() as connection:
        channel = connection.channel()
        channel.exchange_declare(exchange, "topic", durable=False, auto_delete=False)
        channel.queue_declare(topic, durable=False, auto_delete=False)
        channel.exchange_declare(f"{topic}_fanout", "fanout", durable=True, auto_delete=True)
        shown = check(env.agent(**names, oslo_messaging_rabbit={"rabbit_quorum_queue": "true"}))[2]
        found = {line.split(": ")[1]: line for line in shown if line[6:].startswith("queues: ")}
        assert set(found) == {f"exchange {exchange}", f"queue {topic}", f"exchange {topic}_fanout"}, shown
        assert all(line.startswith("warn") for line in found.values()), found
        assert 'durable is "false" at the broker, and "true"' in found[f"queue {topic}"], found
        assert "rabbit_quorum_queue" in found[f"queue {topic}"], found
        assert "rabbit_transient_quorum_queue" in found[f"exchange {topic}_fanout"], found
        # As they were; and nothing is missing that was not before.
        channel.exchange_declare(exchange, "topic", durable=False, auto_delete=False)
        channel.queue_delete(topic)
        channel.exchange_delete(f"{topic}_fanout")
        channel.exchange_delete(exchange)


def test_glance_and_keystone(env):
    away = f"http://127.0.0.1:{free_port()}"
    status, _, shown = check(env.agent(f"{env.glance.url},{away}"))
    found = [line[:4].strip() for line in shown if "  Glance at" in line]
    assert status == 1 and found == ["ok", "FAIL"], shown
    fails(env.agent(keystone_authtoken=env.user("wrong")), "[keystone_authtoken]", "401",
          "its name, password, project or domains are wrong")
    fails(env.agent(keystone_authtoken=env.user(auth_url=away)), "[keystone_authtoken]", away)
    fails(env.agent(service_user={"send_service_user_token": "true"}), "[service_user]", "auth_url")


def test_credentials(env):
    """Other types than password, and another section."""
    url = f"{env.keystone.url}/v3"
    for section, words in (
            ({"auth_type": "v3applicationcredential", "auth_url": url, "application_credential_id": "app",
              "application_credential_secret": "hidden-secret"}, "application credential app"),
            ({"auth_type": "v3token", "auth_url": url, "token": "hidden-token", "project_id": "p"},
             "a token from the configuration, project p"),
            ({"auth_type": "password", "auth_url": url, "user_id": "ours-id", "password": "right", "system_scope": "all"},
             "user ours-id, system all")):
        status, lines, shown = check(env.agent(keystone_authtoken=section))
        assert lines["[keystone_authtoken]"].startswith("ok ") and words in lines["[keystone_authtoken]"], lines
        assert status == 0 and "hidden" not in "".join(shown), shown
    refused = {"auth_type": "v3applicationcredential", "auth_url": url, "application_credential_id": "app",
               "application_credential_secret": "wrong-secret"}
    status, lines, shown = check(env.agent(keystone_authtoken=refused))
    assert status == 1 and "401" in lines["[keystone_authtoken]"] and "wrong-secret" not in "".join(shown), shown
    status, lines, _ = check(env.agent(keystone_authtoken={"auth_section": "Elsewhere"}, Elsewhere=env.user()))
    assert status == 0 and "[keystone_authtoken] in [elsewhere] user ours" in lines["[keystone_authtoken]"], lines
    # What novasnap does not support is refused, and not taken for no credential.
    done = env.agent(keystone_authtoken=env.user(auth_type="v3oidcpassword")).command("check", check=False)
    assert done.returncode == 2 and "v3oidcpassword" in done.stdout and "v3applicationcredential" in done.stdout, done


def test_second_broker(env):
    """A broker for notifications, with a user of its own."""
    away = f"rabbit://other:hidden@127.0.0.1:{free_port()}/"
    driver = {"driver": "messagingv2", "transport_url": away}
    status, _, shown = check(env.agent(oslo_messaging_notifications=driver))
    lines = [line for line in shown if "RabbitMQ" in line]
    assert status == 1 and lines[0].startswith("ok ") and lines[1].startswith("FAIL  RabbitMQ for notifications"), shown
    assert "[oslo_messaging_notifications]transport_url" in lines[1] and "hidden" not in "".join(lines), shown
    status, _, shown = check(env.agent(oslo_messaging_notifications={**driver, "driver": "noop"}))
    assert status == 0 and len([line for line in shown if "RabbitMQ" in line]) == 1, shown


def test_programs(env):
    tools = env.folder.make("tools")
    os.symlink("/usr/bin/qemu-img", os.path.join(tools, "qemu-img"))
    fails(env.agent(), "qemu-nbd", "install it", env=["env", f"PATH={tools}"])


if __name__ == "__main__":
    tap.main(Checks)
