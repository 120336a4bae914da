#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the integration tests that need only a broker against a RabbitMQ in a container. Needs root.
    tests/container/rabbitmq.py
    NOVASNAP_TESTS=PATTERN: only the files whose path matches
The image is the official one where a registry can be reached. Otherwise it is made of Debian's packages and kept as a
tar in the build folder. Where no dockerd answers, a private one is started. Whatever happens, everything that was
started is ended."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import supervisor  # noqa: E402
from paths import BUILD, TOP  # noqa: E402
from process import end, free_port, processes, spawn, unmount_below, wait_port  # noqa: E402

# The other tests stop, starve or mute their broker.
TESTS = ["test-rpc", "test-broker", "test-glance", "test-snapshot"]
OFFICIAL, OURS = "rabbitmq:3", "novasnap-rabbitmq"
RELEASE = "bookworm"
TAR = os.path.join(BUILD, "container", f"{OURS}.tar")


def say(text):
    print(f"# {text}", flush=True)


def tail(path):
    with open(path, errors="replace") as file:
        return file.read()[-3000:]


def run(log, argv, seconds, env=None):
    """Runs a command, whose output goes to a log. It is killed when this process ends."""
    process = spawn(argv, log, env)
    try:
        status = process.wait(seconds)
    finally:
        end(process)
    if status != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit status {status}\n{tail(log)}")


class Docker:
    """The dockerd that answers, or else a private one without a network, all of whose files are in our folder."""

    def __init__(self, folder):
        self.folder = folder.make("docker")
        self.log = folder.file("dockerd.log")
        self.env = dict(os.environ)
        self.process = None

    def run(self, *args, seconds=60, check=True):
        done = subprocess.run(["docker", *args], env=self.env, check=False, capture_output=True,
                              text=True, timeout=seconds)
        if check and done.returncode != 0:
            raise RuntimeError(f"docker {args[0]}: {done.stderr.strip()}")
        return done.returncode == 0

    def answers(self):
        try:
            return self.run("version", check=False)
        except subprocess.TimeoutExpired:
            return False

    def start(self):
        if self.answers():
            say("using the dockerd that is running")
            return
        socket = os.path.join(self.folder, "sock")
        name = f"novasnap-{uuid.uuid4().hex[:8]}"
        for key in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
            self.env.pop(key, None)
        self.env["DOCKER_HOST"] = f"unix://{socket}"
        config = os.path.join(self.folder, "daemon.json")
        with open(config, "w") as file:
            json.dump({}, file)
        # dockerd uses the machine's containerd where one is running, so its names must be unique there.
        self.process = spawn([
            "dockerd", "--config-file", config, "--host", self.env["DOCKER_HOST"],
            "--storage-driver", "vfs", "--iptables=false", "--bridge=none",
            "--data-root", os.path.join(self.folder, "data"),
            "--exec-root", os.path.join(self.folder, "exec"),
            "--pidfile", os.path.join(self.folder, "pid"),
            "--containerd-namespace", name, "--containerd-plugins-namespace", f"{name}-plugins",
        ], self.log)
        limit = time.monotonic() + 60
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"dockerd did not come up:\n{tail(self.log)}")
            time.sleep(0.2)
        say("no dockerd answered, so a private one was started")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            end(self.process, 30)
            unmount_below(self.folder)


def make_tar(folder):
    """Makes the root of a Debian with a RabbitMQ, as a tar."""
    root, log = folder.file("root"), folder.file("bootstrap.log")
    say(f"making {OURS} of Debian's packages; this takes some minutes, once")
    try:
        run(log, [os.path.join(TOP, "tests/lib/bootstrap.sh"), RELEASE, root, "rabbitmq-server"], 3000)
        os.makedirs(os.path.dirname(TAR), exist_ok=True)
        skip = ["dev/*", "proc/*", "sys/*", "run/*", "tmp/*", "var/cache/apt/*", "var/lib/apt/lists/*",
                "var/lib/rabbitmq/.erlang.cookie", "usr/share/doc/*", "usr/share/locale/*", "usr/share/man/*"]
        run(log, ["tar", "--create", "--file", f"{TAR}.part", "--numeric-owner", "--directory", root,
                  *(f"--exclude=./{each}" for each in skip), "."], 300)
        os.rename(f"{TAR}.part", TAR)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{TAR}.part")


def image(docker, folder):
    """Returns the name of an image with a RabbitMQ."""
    if docker.run("image", "inspect", OFFICIAL, check=False):
        return OFFICIAL
    try:
        if docker.run("pull", "--quiet", OFFICIAL, seconds=300, check=False):
            return OFFICIAL
    except subprocess.TimeoutExpired:
        pass
    say(f"{OFFICIAL} cannot be pulled")
    if not docker.run("image", "inspect", OURS, check=False):
        if not os.path.exists(TAR):
            make_tar(folder)
        docker.run("import", "--change", "USER rabbitmq", "--change", "ENV HOME=/var/lib/rabbitmq",
                   "--change", 'CMD ["/usr/lib/rabbitmq/bin/rabbitmq-server"]', TAR, OURS,
                   seconds=600)
    return OURS


class Container:
    """A RabbitMQ on the machine's own loopback, with a node name and epmd of its own."""

    def __init__(self, docker, folder, name):
        self.docker, self.image = docker, name
        self.log = folder.file("container.log")
        self.name = f"novasnap-{uuid.uuid4().hex[:8]}"
        self.port = free_port()
        self.process = None

    @property
    def url(self):
        return f"rabbit://guest:guest@127.0.0.1:{self.port}/"

    def __enter__(self):
        env = {
            "RABBITMQ_NODENAME": f"t{uuid.uuid4().hex[:8]}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_DIST_PORT": free_port(),
            "RABBITMQ_LOGS": "-",
            # No plugins: they would listen on ports of the machine.
            "RABBITMQ_ENABLED_PLUGINS_FILE": "/tmp/plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
                "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": free_port(),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        argv = ["docker", "run", "--rm", "--name", self.name, "--network", "host"]
        for key, value in env.items():
            argv += ["--env", f"{key}={value}"]
        self.process = spawn([*argv, self.image], self.log, self.docker.env)
        try:
            wait_port(self.port, self.process, "The container", self.log, 180)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.docker.run("rm", "--force", "--volumes", self.name, check=False)
        end(self.process)

    def __exit__(self, *_):
        self.stop()


def processes_of(session):
    return [process.pid for process in processes() if process.session == session]


def run_tests(tests, url):
    """Runs the tests and returns their exit status. When this process ends, so do all processes of their session."""
    process = subprocess.Popen([os.path.join(TOP, "tests/lib/run.sh"), *tests], cwd=TOP,
                               stdin=subprocess.DEVNULL, start_new_session=True,
                               env={**os.environ, "NOVASNAP_TEST_AMQP_URL": url})
    try:
        return process.wait()
    finally:
        limit = time.monotonic() + 60
        while left := [pid for pid in processes_of(process.pid)
                       if pid != process.pid or process.poll() is None]:
            number = signal.SIGTERM if time.monotonic() < limit else signal.SIGKILL
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(1)


def main():
    if os.geteuid() != 0:
        print("rabbitmq.py: needs root", file=sys.stderr)
        return 1
    return supervisor.run(run_all, "novasnap-container-")


def run_all(folder):
    with contextlib.ExitStack() as stack:
        docker = stack.enter_context(Docker(folder))
        docker.start()
        name = image(docker, folder)
        container = stack.enter_context(Container(docker, folder, name))
        say(f"RabbitMQ is running in a container of the image {name}")
        return run_tests([f"tests/integration/{test}.py" for test in TESTS], container.url)


if __name__ == "__main__":
    sys.exit(main())
