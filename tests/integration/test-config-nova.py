#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What novasnap makes of a configuration, compared with what nova's libraries make of it: each key that novasnap reads
with the options that nova registers, transport URLs with oslo.messaging and kombu, credentials with the requests of
keystoneauth1, and the default files with oslo.config. Either both agree, or novasnap refuses with a line that says why.
test-config-oslo.py compares the rules of the files themselves."""
import contextlib
import io
import json
import logging
import os
import random
import re
import subprocess
import sys
import warnings

import kombu
import nova.conf
import requests
from keystoneauth1 import exceptions, loading
from keystoneauth1 import session as keystone_session
from keystonemiddleware import auth_token  # noqa: F401, registers [keystone_authtoken]
from oslo_config import cfg
from oslo_log import log as oslo_log
from oslo_messaging import opts as messaging_opts
from oslo_messaging import transport
from oslo_messaging._drivers import common as driver_common
from oslo_messaging._drivers import impl_rabbit

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from paths import BUILD, TOP  # noqa: E402

TOOL = os.path.join(BUILD, "tests/tools/config-reader")
SEED = 20261126
CONF = nova.conf.CONF
RABBIT = "oslo_messaging_rabbit"
KEYSTONE_TYPES = ("password", "v3password", "token", "v3token", "v3applicationcredential")
# novasnap's only, or of a Nova that is older or newer than the installed one.
NOT_IN_NOVA = {("compute", "topic"), ("notifications", "include_share_mapping"), *((RABBIT, name) for name in (
    "rabbit_quorum_max_memory_length", "rabbit_quorum_max_memory_bytes", "rabbit_transient_quorum_queue",
    "rabbit_stream_fanout", "use_queue_manager", "hostname", "processname"))}
# oslo.config raises these where it refuses a file, a value or a reference; SystemExit for a bad value of an option that
# is also one of nova-compute's command line.
REFUSALS = (cfg.Error, ValueError, RecursionError, SystemExit)
# What novasnap may refuse although nova takes it: a number over its limits, a relative path, a reference to an option
# that is not in its table and not set, a value that nova would fail with later.
STRICTER = re.compile(r"must be a whole number .*from \d|must be an absolute path|, which is not set \(write|"
                      r"which is a list|is empty after its references")


class Tool:
    def __init__(self):
        self.process = subprocess.Popen([TOOL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        encoding="utf-8")

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0
        self.process.stdout.close()


def print_table(option):
    done = subprocess.run([TOOL, option], check=True, capture_output=True, text=True, timeout=20)
    return [json.loads(line) for line in done.stdout.splitlines()]


def register_options():
    oslo_log.register_options(CONF)
    # As nova.config.parse_args.
    transport.set_transport_defaults(control_exchange="nova")
    for group, options in messaging_opts.list_opts():
        CONF.register_opts(options, group=group)
    for section in ("keystone_authtoken", "service_user"):
        options = {option.dest: option for kind in reversed(KEYSTONE_TYPES)
                   for option in loading.get_auth_plugin_conf_options(kind)}
        for option in options.values():
            # keystoneauth1 asks for them only where their type is in use.
            option.required = False
        CONF.register_opts(options.values(), group=section)
    # nova's own default is the folder of its Python files; every distribution sets this one.
    CONF._get_opt_info("state_path")["opt"].default = "/var/lib/nova"


def nova_reads(*arguments):
    CONF.reset()
    with contextlib.redirect_stderr(io.StringIO()):
        CONF(list(arguments), project="nova", default_config_files=[], default_config_dirs=[])


class NovaConfig(Environment):
    def set_up(self):
        logging.disable()
        warnings.simplefilter("ignore")
        register_options()
        self.tool = Tool()
        self.callback(self.tool.close)
        self.keys = [key for key in print_table("--table")
                     if key["section"] != "novasnap" and (key["section"], key["name"]) not in NOT_IN_NOVA]

    def write(self, text, name="test.conf"):
        path = self.folder.file(name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path


# Each key that we read.

def option_of(key):
    return CONF._get_opt_info(key["name"], None if key["section"] == "DEFAULT" else key["section"])["opt"]


def value_of(key):
    return (CONF if key["section"] == "DEFAULT" else CONF[key["section"]])[key["name"]]


def expected_value(key, value):
    """What novasnap makes of oslo.config's value: an empty string or number counts as not set, and lists have no empty
    items."""
    if key["type"] in ("list", "multi"):
        return [item for item in value or [] if item or key["type"] == "multi"]
    if key["type"] in ("uint", "int64") and value is not None:
        return int(value)
    if value in (None, "") and key["type"] not in ("bool", "text"):
        return key["default"]
    return value


class KeyFiles:
    """Files that set several of our keys in odd ways."""
    WORDS = ["a", "b c", "x;y", "p ; q", "#r", "=", ":", "[one]", "é", "\\", "k=v", "%(x)s", "{}", "$$", "\\$", "a$$b",
             "pa\\$word", "/var/lib", "rabbit://u:p@h/v?ssl=1", "http://h:1/v3", "$state_path", "${libvirt.virt_type}",
             "${service_user.username}", "$use_cow_images"]

    PATTERNS = {"catalog_info": ["volumev3::publicURL", "'volume:cinder:internal'", "a::"],
                "instance_usage_audit_period": ["hour", "day@6", "'year@12'"]}

    def __init__(self, keys, seed):
        self.keys, self.random = keys, random.Random(seed)

    def chance(self, share):
        return self.random.random() < share

    def value(self, key):
        choose = self.random.choice
        kind = key["type"]
        if kind == "bool":
            return choose(["true", "True", "1", "on", "yes", "YES", "false", "0", "Off", "no", "'yes'", "$use_cow_images"]
                          if not self.chance(0.02) else ["t", "", "2"])
        if kind in ("uint", "int64"):
            if self.chance(0.1) and key["name"] != "rabbit_transient_queues_ttl":
                return "0"  # queues that do not expire came with oslo.messaging 14.1
            return choose(["1", "7", "05", "+6", "1_0", "'8'", "$report_interval"] if not self.chance(0.02)
                          else ["x", "1.5", "-3", "99999999999"])
        if kind in ("choice", "switch"):
            # An older Nova has more.
            return choose(list(option_of(key).type.choices)) if not self.chance(0.02) else "nonsense"
        if kind == "host":
            # What is no host name is taken as it is: Novas before Newton take any text.
            return choose(["node-1", "'node-2'", "node_3.", "a.example", "10.0.0.1", "::1"])
        if key["name"] in self.PATTERNS and not self.chance(0.1):
            return choose(self.PATTERNS[key["name"]])
        if kind == "path":
            return choose(["/a/b", "'/a b'", "$instances_path/x", "$state_path", "/a$$b"])
        if kind == "list":
            return choose([",", ", ", " , "]).join(choose(self.WORDS) for _ in range(self.random.randrange(4)))
        return "".join(choose(self.WORDS) for _ in range(self.random.randrange(1, 4)))

    def line(self):
        key = self.random.choice(self.keys)
        section, name = key["section"], key["name"]
        old = [(at.group or section, at.name or option_of(key).dest) for at in option_of(key).deprecated_opts]
        if old and self.chance(0.2):
            section, name = self.random.choice(old)
        elif self.chance(0.02):
            name = name.replace("_", "-") if self.chance(0.5) else name.upper()
        value = self.value(key)
        # A host name within two pairs of quotes is none.
        if self.chance(0.15) and not (key["type"] == "host" and value[0] == "'"):
            mark = self.random.choice("'\"")
            value = mark + value + mark
        if section != "DEFAULT" and self.chance(0.2):
            section = self.random.choice([section.upper(), section.title(), section.capitalize()])
        if key["type"] in ("string", "text", "list") and self.chance(0.1):
            value += self.random.choice(["\n more", "\n\t, d", "\n  # e"])
        return f"[{section}]\n{name}{self.random.choice(['=', ' = ', ':', ' : '])}{value}\n"

    def text(self):
        return "".join(self.line() for _ in range(self.random.randrange(2, 16)))


def test_every_key(env):
    for key in env.keys:
        option_of(key)
    files, seen, agreed, stricter, refused = KeyFiles(env.keys, SEED), set(), 0, 0, 0
    for number in range(700):
        texts = [files.text() for _ in range(files.random.choice([1, 1, 2]))]
        paths = [env.write(text, f"{at}.conf") for at, text in enumerate(texts)]
        ours, where = env.tool.ask(files=paths), f"file {number}: {texts!r}"
        try:
            nova_reads(*(f"--config-file={path}" for path in paths))
            theirs = [value_of(key) for key in env.keys]
        except REFUSALS as refusal:
            refused += 1
            assert "error" in ours, f"nova refuses ({refusal}), we do not: {where}"
            continue
        if "error" in ours:
            stricter += 1
            assert STRICTER.search(ours["error"]), f"we refuse ({ours['error']}), nova does not: {where}"
            continue
        agreed += 1
        table = {(key["section"], key["name"]): value
                 for key, value in zip(print_keys(env), ours["values"], strict=True)}
        for key, value in zip(env.keys, theirs, strict=True):
            mine, wanted = table[key["section"], key["name"]], expected_value(key, value)
            if mine != wanted and not is_default(key, mine, wanted):
                raise AssertionError(f"[{key['section']}]{key['name']} is {mine!r}, by nova {wanted!r}: {where}")
            if value:
                seen.add((key["section"], key["name"]))
    assert agreed >= 300 and refused >= 30 and stricter <= 200, (agreed, refused, stricter)
    assert len(seen) == len(env.keys), [key for key in env.keys if (key["section"], key["name"]) not in seen]


def print_keys(env):
    if not hasattr(env, "all_keys"):
        env.all_keys = print_table("--table")
    return env.all_keys


def is_default(key, mine, wanted):
    """Defaults that only nova's code or ours knows: nova's host is that of the machine, its directories are its own
    package's."""
    where = (key["section"], key["name"])
    return (where == ("DEFAULT", "host") and mine is None) or (
        mine == key["default"] and wanted is None) or (mine in (None, [], "") and wanted in (None, [], ""))


# Transport URLs.

class Urls:
    LOGINS = ["", "nova:pw@", "nova@", ":pw@", "nova:@", "@", "n%40va:p%3Aw%25@", "a@b:c@", "n:p:q@"]
    HOSTS = ["h", "h:5673", "h:", "h:0", "10.0.0.1:7", "[::1]", "[2001:db8::1]:5671", "", "H.Example"]
    PATHS = ["", "/", "//", "/v", "//v", "/%2Fv", "/a%252Fb", "/v%20w", "/v/w", "/100%25", "/%C3%BC", "/v/"]
    OPTIONS = ["ssl=1", "ssl=0", "ssl=true", "ssl_ca_file=%2Fa+b", "ssl_cert_file=/c%20d", "ssl_key_file=k", "ssl=",
               "rabbit_quorum_queue=on", "amqp_auto_delete=yes", "heartbeat_timeout_threshold=7", "amqp_durable_queues=1",
               "rabbit_retry_interval=3", "rabbit_transient_queues_ttl=60", "kombu_compression=gzip", "novalue", "ssl=no",
               "ssl_ca_file=", "heartbeat_rate=3", "rabbit_quroum_max_memory_length=5"]
    WRONG = ["ssl=maybe", "rabbit_use_ssl=1", "nothing=1", "heartbeat_timeout_threshold=x", "SSL=1"]
    SECTION = ["ssl = true", "ssl_ca_file = /section", "ssl_cert_file = /section", "amqp_durable_queues = true",
               "heartbeat_timeout_threshold = 44", "rabbit_quorum_queue = yes"]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def url(self):
        choose, chance = self.random.choice, lambda share: self.random.random() < share
        scheme = choose(["rabbit"] * 8 + ["RABBIT", "kombu+rabbit", "kombu+amqp"]) if not chance(0.02) else ""
        hosts = choose(self.LOGINS) + choose(self.HOSTS)
        # Python's urlsplit takes an IPv6 address in a list of hosts or not, depending on its version.
        if "[" not in hosts:
            hosts = ",".join([hosts] + [choose(self.LOGINS) + choose(self.HOSTS).strip("[]:21db") + "x"
                                        for _ in range(choose([0, 0, 0, 1, 2]))])
        if chance(0.05):
            hosts = choose(["h:x", "[::1", "h,,i", "h:1:2", ",h", "h\n ,i"])
        options = [choose(self.OPTIONS if not chance(0.05) else self.WRONG)
                   for _ in range(choose([0, 0, 1, 1, 2, 3]))]
        path = choose(self.PATHS) or ("/" if options else "")
        return f"{scheme}://{hosts}{path}{'?' if options else ''}{'&'.join(options)}{choose(['', '', '', '#f?ssl=1'])}"

    def section(self):
        return "\n".join(self.random.sample(self.SECTION, self.random.randrange(4)))


def brokers_by_kombu(url):
    """As impl_rabbit.Connection gives the URL to kombu."""
    plain = impl_rabbit.Connection.__new__(impl_rabbit.Connection)
    if url.hosts:
        texts = [plain._transform_transport_url(url, host) for host in url.hosts]
    else:
        texts = [plain._transform_transport_url(url, transport.TransportHost(""), default_username="guest",
                                                default_password="guest", default_hostname="localhost")]
    found = [kombu.connection.Connection(text).info() for text in texts]
    return [[at["hostname"], at["port"], at["userid"], at["password"], at["virtual_host"]] for at in found]


def connection_by_oslo(url_text):
    url = transport.TransportURL.parse(CONF, url_text)
    if not url.transport.lower().startswith(("rabbit", "kombu")):
        raise ValueError("another driver")
    options = driver_common.ConfigOptsProxy(CONF, url, RABBIT)[RABBIT]
    return {"brokers": brokers_by_kombu(url),
            "durable": options.amqp_durable_queues or options.rabbit_quorum_queue,
            **{name: options[name] for name in ("ssl", "rabbit_quorum_queue", "amqp_auto_delete", "rabbit_retry_interval",
                                                "heartbeat_timeout_threshold", "rabbit_transient_queues_ttl")},
            **{name: options[name] or None for name in ("ssl_ca_file", "ssl_cert_file", "ssl_key_file")}}


def same_connection(ours, theirs):
    # Names of hosts have no case.
    ours["brokers"], theirs["brokers"] = ([[broker[0].lower(), *broker[1:]] for broker in at["brokers"]]
                                          for at in (ours, theirs))
    return ours == theirs


EMPTY_PORT = re.compile(r"//[^\n]*:[,/?#\n]")


def test_transport_urls(env):
    """One for RPC, and often another one for notifications."""
    urls, agreed, refused, stricter, separate = Urls(SEED), 0, 0, 0, 0
    for number in range(800):
        notify = urls.url() if number % 3 == 0 else None
        text = (f"[DEFAULT]\ntransport_url = {urls.url()}\n[{RABBIT}]\n{urls.section()}\n"
                "[oslo_messaging_notifications]\ndriver = messagingv2\n"
                + (f"transport_url = {notify}\n" if notify else ""))
        path = env.write(text)
        ours = env.tool.ask(load=[path])
        try:
            nova_reads(f"--config-file={path}")
            theirs = [connection_by_oslo(None),
                      connection_by_oslo(CONF.oslo_messaging_notifications.transport_url)]
        except (*REFUSALS, TypeError, transport.InvalidTransportURL) as refusal:
            refused += 1
            # As in Zed, an empty port counts as none, and an option may have the name of that release.
            assert "error" in ours or EMPTY_PORT.search(text) or "quroum" in str(refusal), (
                f"oslo refuses ({refusal!r}), we do not: {text!r}: {ours}")
            continue
        if "error" in ours:
            stricter += 1
            assert re.search("IPv6|port|percent-encoded", ours["error"]), (ours, text, theirs)
            continue
        agreed += 1
        assert same_connection(ours["rpc"], theirs[0]), (text, ours["rpc"], theirs[0])
        separate += ours["notifications"] is not None
        assert same_connection(ours["notifications"] or ours["rpc"], theirs[1]), (text, ours, theirs[1])
    assert agreed >= 300 and refused >= 40 and stricter <= 80 and separate >= 60, (agreed, refused, stricter, separate)


# Credentials for Keystone.

class Capture(requests.adapters.BaseAdapter):
    """A Keystone that offers v3 and remembers what it was asked for."""

    def __init__(self):
        super().__init__()
        self.asked = None

    def send(self, request, **_):
        answer = requests.Response()
        answer.request, answer.url, answer.status_code = request, request.url, 200
        base = request.url.partition("/v3")[0].rstrip("/")
        document = {"version": {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{base}/v3/"}]}}
        if not request.url.rstrip("/").endswith("v3"):
            document = {"versions": {"values": [document["version"]]}}
        if request.method == "POST":
            self.asked = {"url": request.url, "body": json.loads(request.body)}
            answer.status_code = 201
            answer.headers["X-Subject-Token"] = "token"
            document = {"token": {"expires_at": "2100-01-01T00:00:00.000000Z", "methods": ["password"], "user": {
                "id": "u", "name": "u", "domain": {"id": "d", "name": "d"}}, "issued_at": "2000-01-01T00:00:00.000000Z"}}
        answer._content = json.dumps(document).encode()
        return answer

    def close(self):
        pass


def request_by_keystoneauth(path, section):
    """The request for a token; None: there is no credential."""
    conf = cfg.ConfigOpts()
    conf([f"--config-file={path}"], project="nova", default_config_files=[], default_config_dirs=[])
    loading.register_auth_conf_options(conf, section)
    plugin = loading.load_auth_from_conf_options(conf, section)
    if not plugin:
        return None
    capture, client = Capture(), requests.Session()
    client.mount("http://", capture)
    try:
        plugin.get_auth_ref(keystone_session.Session(session=client))
    except Exception as error:
        # Of no class of its own in later releases: "password is a required attribute".
        raise ValueError(str(error)) if type(error) is Exception else error
    return capture.asked


class Credentials:
    KEYS = {
        "username": ["nova"], "user_id": ["u1"], "user-name": ["old"], "password": ["pw", "'p w'", "a$$b", "pa\\$word", ""],
        "user_domain_name": ["Default"], "user_domain_id": ["ud"], "project_name": ["service"], "project_id": ["p1"],
        "tenant_name": ["old"], "tenant-name": ["older"], "tenant-id": ["t1"], "project_domain_name": ["Default"],
        "project_domain_id": ["pd"], "domain_id": ["d1"], "domain_name": ["D"], "trust_id": ["tr"],
        "system_scope": ["all", "all", "some"], "default_domain_id": ["dd"], "default_domain_name": ["DD"],
        "token": ["tok"], "application_credential_id": ["ac"], "application_credential_name": ["acn"],
        "application_credential_secret": ["acs"], "auth_url": ["http://k/", "http://k/v3", "http://k/identity/v3//"],
    }
    COMMON = ["username", "password", "user_domain_name", "project_name", "project_domain_name", "auth_url"]
    OF_TYPE = {"password": COMMON, "v3password": COMMON, "token": [*COMMON[3:], "token"], "v3token": [*COMMON[3:], "token"],
               "v3applicationcredential": ["auth_url", "application_credential_id", "application_credential_secret"]}
    OTHER = ["v3oidcpassword", "v3oidcclientcredentials", "v2password", "v3totp", "http_basic", "nonsense"]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self, section):
        choose, chance = self.random.choice, lambda share: self.random.random() < share
        kind = choose(KEYSTONE_TYPES) if not chance(0.03) else choose(self.OTHER)
        names = set(self.OF_TYPE.get(kind, self.COMMON))
        for _ in range(choose([0, 1, 1, 2, 3])):
            names ^= {choose(sorted(self.KEYS))}
        lines = [f"{name} = {choose(self.KEYS[name])}" for name in sorted(names)]
        lines.append(f"{choose(['auth_type', 'auth_type', 'auth_plugin'])} = {kind}")
        self.random.shuffle(lines)
        if not chance(0.2):
            return "\n".join([f"[{section}]", *lines, ""])
        other = choose(["Other", "other", "glance", "service_user" if section != "service_user" else "keystone_authtoken"])
        return "\n".join([f"[{section}]", f"auth_section = {other}", "username = not-this-one", f"[{other}]", *lines, ""])


def test_credentials(env):
    make, agreed, refused, stricter, kinds = Credentials(SEED), 0, 0, {}, set()
    for number in range(1200):
        section = ("keystone_authtoken", "service_user")[number % 2]
        text = make.text(section) + "[service_user]\nsend_service_user_token = true\n" * (section == "service_user")
        path = env.write(text)
        ours = env.tool.ask(load=[path])
        try:
            theirs = request_by_keystoneauth(path, section)
        except (*REFUSALS, exceptions.ClientException) as refusal:
            refused += 1
            # Earlier releases left it to Keystone that there is no password, and took the first one of several scopes.
            assert "error" in ours or re.search("is a required attribute|multiple targets", str(refusal)), (
                f"keystoneauth1 refuses ({refusal!r}), we do not: {text!r}: {ours}")
            continue
        if "error" in ours:
            # What Keystone answers with 400 or 401 in any case, or a type that we do not have.
            reason = re.search(r"must be set|needs \w+_domain|does not support|is of Keystone", ours["error"])
            assert reason, (ours, text, theirs)
            stricter[reason.group()] = stricter.get(reason.group(), 0) + 1
            continue
        agreed += 1
        mine = ours[section]
        assert mine and mine["body"] == theirs["body"], (text, mine, theirs)
        assert mine["url"].replace("//auth", "/auth") == theirs["url"].replace("//auth", "/auth"), (text, mine, theirs)
        kinds.add(tuple(mine["body"]["auth"]["identity"]["methods"]))
    assert agreed >= 300 and refused >= 50 and len(kinds) == 3, (agreed, refused, stricter, kinds)


def test_other_credentials_are_refused(env):
    """A type that novasnap does not have is never taken for no credential."""
    for kind in Credentials.OTHER:
        path = env.write(f"[keystone_authtoken]\nauth_type = {kind}\nauth_url = http://k\nusername = u\n")
        error = env.tool.ask(load=[path]).get("error", "")
        assert f"{path}:2: [keystone_authtoken]auth_type" in error and kind in error and "v3password" in error, error
    # [service_user] counts only with send_service_user_token.
    path = env.write("[service_user]\nauth_type = v3oidcpassword\n")
    assert env.tool.ask(load=[path])["service_user"] is None
    assert env.tool.ask(load=[env.write("[keystone_authtoken]\nauth_type = none\n")])["keystone_authtoken"] is None


# Which files are read.

class Home:
    """A home folder and a snap's, in which some of the default files and folders are."""
    PLACES = ("{home}/.nova", "{home}", "{snap}/etc/nova")
    NAMES = ("nova.conf", "nova-compute.conf", "nova.conf.d/b.conf", "nova.conf.d/a.conf", "nova-compute.conf.d/c.conf",
             "nova.conf.d/.hidden.conf", "nova.conf.d/other.txt", "nova.conf.d/B.conf")

    def __init__(self, env, number, seed):
        self.random = random.Random(seed)
        self.home, self.snap = (env.folder.make(f"{name}{number}") for name in ("home", "snap"))
        self.number = 0
        for place in self.PLACES:
            for name in self.NAMES:
                if self.random.random() < 0.4:
                    self.add(os.path.join(place.format(home=self.home, snap=self.snap), name))
        # A nova.conf of the machine itself is not part of the test.
        self.add(os.path.join(self.home, "nova.conf"))

    def add(self, path):
        """Each sets some of the keys, so that the order of the files shows."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.number += 1
        with open(path, "w") as file:
            file.write(f"[glance]\nregion_name = {path}\n[oslo_messaging_notifications]\ndriver = {path}\n")

    def arguments(self):
        made = []
        for _ in range(self.random.choice([0, 0, 1, 1, 2, 3])):
            name = f"more{self.number}"
            if self.random.random() < 0.5:
                self.add(os.path.join(self.home, name))
                made.append(f"--config-file={self.home}/{name}")
            else:
                for file in ("2.conf", "10.conf", "x.cnf"):
                    self.add(os.path.join(self.home, name, file))
                made.append(f"--config-dir={self.random.choice([self.home, '~'])}/{name}{self.random.choice(['', '/'])}")
        return made


def drivers_by_nova(home, arguments):
    kept = {name: os.environ.get(name) for name in ("HOME", "SNAP_COMMON")}
    os.environ.update(HOME=home.home, SNAP_COMMON=home.snap)
    try:
        CONF.reset()
        CONF(arguments, project="nova", prog="nova-compute")
        return CONF.oslo_messaging_notifications.driver, CONF.glance.region_name
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def test_which_files_are_read(env):
    """novasnapd reads the files that nova-compute reads, in the same order, with and without --config-file and
    --config-dir."""
    for number in range(60):
        home = Home(env, number, SEED + number)
        arguments = home.arguments()
        drivers, region = drivers_by_nova(home, arguments)
        done = subprocess.run([TOOL, "--files", *arguments], check=True, capture_output=True, text=True, timeout=20,
                              env={**os.environ, "HOME": home.home, "SNAP_COMMON": home.snap})
        mine = [path for path in json.loads(done.stdout) if not path.startswith("/etc/")]
        assert mine == drivers and mine[-1] == region, (arguments, mine, drivers, region)


def test_missing_files(env):
    for argument in ("--config-file=/nonexistent/x.conf", "--config-dir=/nonexistent", "--config-file=/etc/"):
        done = subprocess.run([os.path.join(BUILD, "novasnapd"), argument], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and argument.partition("=")[2] in done.stderr, done


# The options of oslo.messaging.

def test_messaging_options(env):
    """Each option that the installed oslo.messaging registers is implemented or in the table of those that are not, with
    its type and old name. Drivers for other brokers than RabbitMQ have sections of their own."""
    implemented = {(key["section"], name) for key in print_table("--table") for name in [key["name"], *key["old"]]}
    ignored = {(at["section"], at["name"]): at for at in print_table("--ignored-options")}
    assert not implemented & ignored.keys(), implemented & ignored.keys()
    compared = 0
    for group, options in messaging_opts.list_opts():
        if group not in (None, RABBIT, "oslo_messaging_notifications"):
            continue
        for option in options:
            where = (group or "DEFAULT", option.dest)
            assert where in implemented or where in ignored, f"an option that novasnap does not know: {where}"
            if where not in ignored:
                continue
            compared += 1
            mine, kinds = ignored[where], {"bool": cfg.BoolOpt, "uint": cfg.IntOpt, "string": (cfg.StrOpt, cfg.FloatOpt)}
            assert isinstance(option, kinds[mine["type"]]), (where, mine, option)
            old = {f"{at.group}.{at.name or option.dest}" if at.group else at.name for at in option.deprecated_opts}
            assert old <= {mine["old"], ".".join(where)}, (where, old, mine)
    assert compared >= 15, compared


def test_table_of_messaging_options(env):
    """conf/docs/messaging-options.md has the same table."""
    with open(os.path.join(TOP, "conf/docs/messaging-options.md")) as file:
        rows = [[cell.strip() for cell in line.strip("|\n ").split(" | ")] for line in file if line.startswith("| `")]
    documented = {row[0].strip("`"): row[1:] for row in rows}
    assert len(documented) == len(rows)
    for at in print_table("--ignored-options"):
        what = ("refused, unless it is " + " or ".join(f"`{value}`" for value in at["accepted"]) if at["accepted"]
                else "no effect")
        assert documented.pop(f"[{at['section']}]{at['name']}", None) == [what, at["why"]], (at, what)
    for key in print_table("--table"):
        row = documented.pop(f"[{key['section']}]{key['name']}", None)
        assert row[0] == "implemented" if row else not key["section"].startswith("oslo_messaging"), (key, row)
    assert not documented, documented


def test_refused_options(env):
    for lines, name in (("rabbit_login_method = EXTERNAL", "rabbit_login_method"), ("ssl_version = TLSv1", "ssl_version"),
                        ("ssl_enforce_fips_mode = 1", "ssl_enforce_fips_mode"), ("heartbeat_rate = x", "heartbeat_rate")):
        path = env.write(f"[{RABBIT}]\n{lines}\n")
        assert f"{path}:2: [{RABBIT}]{name}" in env.tool.ask(load=[path])["error"], lines
        option = lines.replace(" ", "")
        path = env.write(f"[DEFAULT]\ntransport_url = rabbit://u:secret@h/?{option}\n")
        error = env.tool.ask(load=[path])["error"]
        assert f"{path}:2: [DEFAULT]transport_url" in error and name in error and "secret" not in error, error
    path = env.write("[oslo_messaging_notifications]\ndriver = log\ndriver = routing\n")
    assert "routing" in env.tool.ask(load=[path])["error"]
    for lines in ("rabbit_login_method = PLAIN", "ssl_version = tlsv1_2", "heartbeat_rate = 5"):
        assert "error" not in env.tool.ask(load=[env.write(f"[{RABBIT}]\n{lines}\n")]), lines
    stream = f"[{RABBIT}]\nrabbit_stream_fanout = true\nrabbit_transient_quorum_queue = true\n"
    assert "rabbit_stream_fanout: needs" in env.tool.ask(load=[env.write(stream)])["error"]
    stream += "rabbit_qos_prefetch_count = 10\n"
    assert "error" not in env.tool.ask(load=[env.write(stream)])
    error = env.tool.ask(load=[env.write(f"{stream}rabbit_ha_queues = true\n")])["error"]
    assert "rabbit_ha_queues: cannot be combined" in error, error
    # With another driver, or none, the URL for notifications is not used, as in nova.
    for driver in ("", "driver = noop\n", "driver = log\n"):
        path = env.write(f"[oslo_messaging_notifications]\n{driver}transport_url = rabbit://h/?ssl=1\n")
        found = env.tool.ask(load=[path])
        assert found["notifications"] is None and not found["notify"], found


if __name__ == "__main__":
    tap.main(NovaConfig)
