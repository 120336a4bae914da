#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real Keystone issues a token for each kind of credential that novasnap reads, and refuses a wrong one."""
import contextlib
import os
import sqlite3
import sys

import requests

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
import wsgi  # noqa: E402
from cloud import run  # noqa: E402
from environment import Environment  # noqa: E402
from process import end, free_port, spawn  # noqa: E402

PASSWORD = "e2e-password"


class Keystone(Environment):
    def set_up(self):
        self.port = free_port()
        self.url, self.log = f"http://127.0.0.1:{self.port}", self.folder.file("keystone.log")
        conf = self.folder.file("keystone.conf")
        with open(conf, "w") as file:
            file.write(f"[database]\nconnection = sqlite:///{self.folder.file('keystone.db')}\n[token]\nprovider = fernet\n"
                       f"[fernet_tokens]\nkey_repository = {self.folder.file('fernet')}\n"
                       f"[credential]\nkey_repository = {self.folder.file('credentials')}\n[cache]\nenabled = false\n")
        manage, user = ["keystone-manage", "--config-file", conf], ["--keystone-user", "root", "--keystone-group", "root"]
        run([*manage, "db_sync"], self.log)
        # One request may have two connections: a reader must not block the writer.
        with contextlib.closing(sqlite3.connect(self.folder.file("keystone.db"))) as database:
            database.execute("pragma journal_mode = wal")
        run([*manage, "fernet_setup", *user], self.log)
        run([*manage, "credential_setup", *user], self.log)
        run([*manage, "bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-public-url", f"{self.url}/v3"], self.log)
        argv, variables = wsgi.command("keystone", self.port, self.folder.path, single=True)
        process = spawn(argv, self.log, variables)
        self.callback(end, process)
        wsgi.wait_http(self.port, process, "Keystone", self.log)
        self.sign_in()

    @property
    def logs(self):
        return [self.log]

    def sign_in(self):
        """The admin's token and ids, and an application credential of the admin."""
        user = {"name": "admin", "domain": {"name": "Default"}, "password": PASSWORD}
        scope = {"project": {"name": "admin", "domain": {"name": "Default"}}}
        answer = requests.post(f"{self.url}/v3/auth/tokens", timeout=60, json={"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}})
        assert answer.status_code == 201, answer.text
        self.token = answer.headers["X-Subject-Token"]
        token = answer.json()["token"]
        self.user_id, self.project_id = token["user"]["id"], token["project"]["id"]
        answer = requests.post(f"{self.url}/v3/users/{self.user_id}/application_credentials", timeout=60,
                               headers={"X-Auth-Token": self.token}, json={"application_credential": {"name": "snapshots"}})
        assert answer.status_code == 201, answer.text
        self.credential = answer.json()["application_credential"]

    def line(self, **section):
        """What novasnap check says of this credential."""
        agent = self.make_agent(sections={"broker_url": "rabbit://127.0.0.1:1/", "glance_url": "http://127.0.0.1:1",
                                          "libvirt_uri": "test:///default",
                                          "keystone_authtoken": {"auth_url": self.url, **section}})
        shown = agent.command("check", check=False).stdout
        found = [line for line in shown.splitlines() if "  [keystone_authtoken]" in line]
        assert len(found) == 1, shown
        return found[0]


def test_each_kind_of_credential(env):
    by_id = {"auth_type": "v3applicationcredential", "application_credential_id": env.credential["id"],
             "application_credential_secret": env.credential["secret"]}
    by_name = {"auth_type": "v3applicationcredential", "application_credential_name": "snapshots", "username": "admin",
               "user_domain_id": "default", "application_credential_secret": env.credential["secret"]}
    user = {"username": "admin", "password": PASSWORD}
    project = {"project_name": "admin", "project_domain_name": "Default"}
    for section in (
            {"auth_type": "password", **user, "user_domain_name": "Default", **project},
            {"auth_type": "password", **user, "default_domain_id": "default", "project_name": "admin"},
            {"auth_type": "v3password", "user_id": env.user_id, "password": PASSWORD, "project_id": env.project_id},
            {**user, "user_domain_id": "default", "system_scope": "all"},
            {**user, "user_domain_id": "default"},
            {"auth_type": "token", "token": env.token, **project},
            {"auth_type": "v3token", "token": env.token, "project_id": env.project_id},
            by_id, by_name, {**by_name, "auth_url": f"{env.url}/v3/"}):
        said = env.line(**section)
        assert said.startswith("ok ") and "token issued" in said, (section, said)


def test_wrong_secrets(env):
    for section in (
            {"auth_type": "password", "user_id": env.user_id, "password": "wrong-secret", "project_id": env.project_id},
            {"auth_type": "password", "user_id": env.user_id, "project_id": env.project_id},
            {"auth_type": "token", "token": "wrong-secret", "project_id": env.project_id},
            {"auth_type": "v3applicationcredential", "application_credential_id": env.credential["id"],
             "application_credential_secret": "wrong-secret"}):
        said = env.line(**section)
        assert said.startswith("FAIL") and "requesting a token" in said and "wrong-secret" not in said, (section, said)


if __name__ == "__main__":
    tap.main(Keystone)
