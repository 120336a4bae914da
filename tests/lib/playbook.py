# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the playbooks of conf/ansible."""
import os
import re
import uuid

from paths import TOP
from process import end, spawn

ANSIBLE = os.path.join(TOP, "conf/ansible")


def environment(folder):
    """Returns variables with which Ansible writes nothing outside of the folder."""
    home = folder.make("ansible")
    return {"ANSIBLE_HOME": home, "ANSIBLE_LOCAL_TEMP": f"{home}/local", "ANSIBLE_REMOTE_TEMP": f"{home}/remote",
            "ANSIBLE_NOCOWS": "1", "ANSIBLE_NOCOLOR": "1", "TMPDIR": home}


def play(folder, name, hosts, variables, status=0):
    """Runs a playbook with this exit status. `hosts`: the Python of each host, by its name. Returns what it says."""
    inventory = folder.file("inventory.ini")
    with open(inventory, "w") as file:
        file.write("[compute]\n")
        file.writelines(f"{host} ansible_connection=local ansible_become=false ansible_python_interpreter={python}\n"
                        for host, python in hosts.items())
        file.write('[compute:vars]\nnovasnap_package=""\nnovasnap_groups=[]\nnovasnap_user=root\nnovasnap_wait=40\n')
        file.writelines(f"{key}={value}\n" for key, value in variables.items())
    log = folder.file(f"ansible-{uuid.uuid4().hex[:8]}.log")
    process = spawn(["ansible-playbook", "-i", inventory, os.path.join(ANSIBLE, f"{name}.yml")], log,
                    environment(folder))
    try:
        found = process.wait(600)
    finally:
        end(process)
    with open(log) as file:
        text = file.read()
    assert found == status, text[-5000:]
    return text


def changes(text):
    """Returns how many steps of a playbook have changed each host."""
    return {host: int(count) for host, count in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", text, re.M)}
