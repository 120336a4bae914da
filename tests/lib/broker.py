# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private RabbitMQ with an Erlang cookie, an epmd and ports of its own."""
import base64
import glob
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import uuid

from process import end, free_port, spawn, wait_port


def installed_version():
    """Returns the version of the installed RabbitMQ, as numbers."""
    paths = glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*")
    return max(tuple(int(part) for part in re.findall(r"\d+", os.path.basename(path))) for path in paths)


class _Client:
    """What a test does itself with a broker, a private or a given one."""
    url = None

    @property
    def host(self):
        return self.url.split("@")[1].strip("/")

    def connection(self, vhost="", **options):
        """`options`: of kombu's transport."""
        import kombu  # which the demo does without
        return kombu.Connection(self.url.replace("rabbit:", "amqp:", 1) + vhost, transport_options=options)

    def publish(self, body, routing_key, exchange="nova", vhost=""):
        """Publishes a body unchanged, or a message that is encoded as JSON, to an exchange that exists."""
        with self.connection(vhost) as connection:
            connection.Producer().publish(
                body if isinstance(body, (str, bytes)) else json.dumps(body), exchange=exchange,
                routing_key=routing_key, content_type="application/json", content_encoding="utf-8")


class Broker(_Client):
    own = True

    def __init__(self, folder, tls=None, verify_clients=True, options=(), management=False,
                 name="rabbit"):
        """`tls`: (CA, certificate, key): a second port speaks TLS, and wants a client's certificate unless
        `verify_clients` is false. `options`: lines of rabbitmq.conf. `management`: with its HTTP API, which
        add_vhost and objects need."""
        self.folder = folder.make(name)
        self.log = os.path.join(self.folder, "rabbit.log")
        self.port, self.dist, self.epmd = free_port(), free_port(), free_port()
        self.url = f"rabbit://guest:guest@127.0.0.1:{self.port}/"
        self.node = f"t{uuid.uuid4().hex[:8]}@localhost"
        self.process = self.epmd_process = None
        self.tls_port = free_port() if tls else None
        lines = list(options)
        if tls:
            lines += self._tls_options(tls, "true" if verify_clients else "false")
        self.management_port = free_port() if management else None
        if management:
            lines += ["management.tcp.ip = 127.0.0.1", f"management.tcp.port = {self.management_port}"]
            with open(os.path.join(self.folder, "plugins"), "w") as plugins:
                plugins.write("[rabbitmq_management].\n")
        with open(os.path.join(self.folder, "rabbitmq.conf"), "w") as conf:
            conf.writelines(f"{line}\n" for line in lines)
        shutil.chown(self.folder, "rabbitmq", "rabbitmq")
        self.env = {
            "HOME": self.folder,
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist),
            "RABBITMQ_MNESIA_BASE": self.folder,
            "RABBITMQ_LOG_BASE": self.folder,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": os.path.join(self.folder, "plugins"),
            "RABBITMQ_CONFIG_FILE": os.path.join(self.folder, "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": os.path.join(self.folder, "none"),
            "RABBITMQ_PID_FILE": os.path.join(self.folder, "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _tls_options(self, files, verify):
        return [f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}",
                f"ssl_options.verify = verify_{'peer' if verify == 'true' else 'none'}",
                f"ssl_options.fail_if_no_peer_cert = {verify}",
                *(f"ssl_options.{key} = {path}" for key, path in zip(("cacertfile", "certfile", "keyfile"), files))]

    def start(self, wait=True):
        self._start_epmd()
        self.process = spawn(["/usr/lib/rabbitmq/bin/rabbitmq-server"], self.log, self.env)
        if wait:
            self.wait()

    def _start_epmd(self):
        """The server's script starts an epmd when there is none; this one ends with us."""
        self.epmd_process = spawn(["epmd", "-port", str(self.epmd), "-address", "127.0.0.1"], self.log)

    def wait(self):
        for port in filter(None, (self.management_port, self.port)):
            wait_port(port, self.process, "RabbitMQ", self.log)

    def is_up(self):
        return self.process is not None

    def stop(self):
        end(self.process, 30)
        end(self.epmd_process)
        self.process = self.epmd_process = None

    def kill(self):
        """Kills it, as when its host loses power. It may be started again."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)
        self.stop()

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def ctl(self, *args):
        return subprocess.run(["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "-n", self.node, *args],
                              env={**os.environ, **self.env}, check=True, timeout=60,
                              capture_output=True, text=True).stdout

    def _manage(self, method, path, content=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.management_port, timeout=60)
        try:
            connection.request(method, f"/api/{path}", json.dumps(content) if content else None, headers={
                "Authorization": "Basic " + base64.b64encode(b"guest:guest").decode(),
                "Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"RabbitMQ answered {method} {path} with {answer.status}: {body[:500]}")
        return json.loads(body) if body else None

    @staticmethod
    def message_limit(size):
        """Returns Erlang that sets max_message_size, in bytes. RabbitMQ 4 reads it at its start, and keeps it as a term."""
        return f"application:set_env(rabbit, max_message_size, {size}), persistent_term:put(max_message_size, {size})"

    def limit_messages(self, size):
        """Sets max_message_size: RabbitMQ 4.0 applies it at once, the others to connections that follow."""
        self.ctl("eval", f"{self.message_limit(size)}.")

    def add_vhost(self, name):
        """Returns the transport URL of a new vhost."""
        self._manage("PUT", f"vhosts/{name}")
        return self.url + name

    def permit(self, user, vhost, configure=".*", write=".*", read=".*"):
        """Makes a user whose password is his name, and sets what he may do in a vhost."""
        self._manage("PUT", f"users/{user}", {"password": user, "tags": ""})
        self._manage("PUT", f"permissions/{vhost}/{user}", {"configure": configure, "write": write, "read": read})

    def objects(self, vhost):
        """Returns the exchanges of a vhost that somebody declared, its queues, and the bindings of those."""
        exchanges, queues, bindings = (self._manage("GET", f"{kind}/{vhost}?disable_stats=true&enable_queue_totals=true")
                                       for kind in ("exchanges", "queues", "bindings"))
        return ([each for each in exchanges if each["name"] and not each["name"].startswith("amq.")], queues,
                [each for each in bindings if each["source"]])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()


class GivenBroker(_Client):
    """A RabbitMQ that was given to the tests. It is used, and neither started nor ended."""
    own = False
    log = os.devnull

    def __init__(self, url):
        self.url = url

    def start(self, wait=True):
        pass

    def wait(self):
        pass

    def stop(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def broker_for_tests(folder, **more):
    """Returns the RabbitMQ of NOVASNAP_TEST_AMQP_URL, or else a private one with these arguments."""
    url = os.environ.get("NOVASNAP_TEST_AMQP_URL")
    return GivenBroker(url) if url else Broker(folder, **more)
