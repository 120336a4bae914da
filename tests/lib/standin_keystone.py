# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for Keystone's tokens. It goes away and comes back within seconds, counts who asks, and says in a refusal
what it was sent, which the real one does not. The real one is in make e2e."""
import json

from standin_http import Handler, HttpStandIn


class _Handler(Handler):
    def do_POST(self):
        keystone, body = self.stand_in, self.body().decode()
        keystone.asked += 1
        identity = json.loads(body)["auth"]["identity"]
        method, = identity["methods"]
        secret, token = keystone.find(method, identity[method])
        if keystone.refuses or not secret:
            self.answer(401, f"this was refused: {body}".encode())
            return
        answer = {"token": {"expires_at": "2100-01-01T00:00:00.000000Z", "catalog": []}}
        self.answer(201, json.dumps(answer).encode(), X_Subject_Token=token)


class KeystoneStandIn(HttpStandIn):
    handler = _Handler

    def __init__(self, **users):
        """`users`: name -> (password, token)."""
        super().__init__()
        self.users = users or {"nova": ("secret", "token-of-the-agents-own")}
        self.asked, self.refuses = 0, False

    def find(self, method, sent):
        """(the secret, the token that is issued for it), or (None, None)."""
        if method == "password":
            user = sent["user"]
            name = user.get("name") or user["id"].removesuffix("-id")
            password, token = self.users.get(name, (None, None))
            return (password, token) if user["password"] == password else (None, None)
        known = {"application_credential": {"id": "app", "secret": "hidden-secret"}, "token": {"id": "hidden-token"}}
        return ("secret", f"token by {method}") if sent == known[method] else (None, None)

    def section(self, user="nova", password=None, **more):
        """Returns a section of the configuration with its user and the password, or a wrong one."""
        return {"auth_url": f"{self.url}/v3", "username": user, "password": password or self.users[user][0],
                "project_name": "service", "user_domain_name": "Default", "project_domain_name": "Default", **more}
