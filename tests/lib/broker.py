# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private RabbitMQ with an Erlang cookie, an epmd and ports of its own."""
import json
import os
import shutil
import signal
import subprocess
import uuid

from process import end, free_port, spawn, wait_port


class _Client:
    """What a test does itself with a broker, a private or a given one."""
    url = None

    @property
    def host(self):
        return self.url.split("@")[1].strip("/")

    def connection(self):
        import kombu  # which the demo does without
        return kombu.Connection(self.url.replace("rabbit:", "amqp:", 1))

    def publish(self, body, routing_key, exchange="nova"):
        """Publishes a body unchanged, or a message that is encoded as JSON, to an exchange that exists."""
        with self.connection() as connection:
            connection.Producer().publish(
                body if isinstance(body, (str, bytes)) else json.dumps(body), exchange=exchange,
                routing_key=routing_key, content_type="application/json", content_encoding="utf-8")


class Broker(_Client):
    own = True

    def __init__(self, folder, tls=None, verify_clients=True, options=()):
        """`tls`: (CA, certificate, key): a second port speaks TLS, and wants a client's certificate unless
        `verify_clients` is false. `options`: lines of rabbitmq.conf."""
        self.folder = folder.make("rabbit")
        self.log = os.path.join(self.folder, "rabbit.log")
        self.port, self.dist, self.epmd = free_port(), free_port(), free_port()
        self.url = f"rabbit://guest:guest@127.0.0.1:{self.port}/"
        self.node = f"t{uuid.uuid4().hex[:8]}@localhost"
        self.process = self.epmd_process = None
        self.tls_port = free_port() if tls else None
        lines = list(options)
        if tls:
            lines += self._tls_options(tls, "true" if verify_clients else "false")
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
        # The server's script starts an epmd when there is none; this one ends with us.
        self.epmd_process = spawn(["epmd", "-port", str(self.epmd), "-address", "127.0.0.1"], self.log)
        self.process = spawn(["/usr/lib/rabbitmq/bin/rabbitmq-server"], self.log, self.env)
        if wait:
            self.wait()

    def wait(self):
        wait_port(self.port, self.process, "RabbitMQ", self.log)

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


def broker_for_tests(folder):
    """Returns the RabbitMQ of NOVASNAP_TEST_AMQP_URL, or else a private one."""
    url = os.environ.get("NOVASNAP_TEST_AMQP_URL")
    return GivenBroker(url) if url else Broker(folder)
