#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tests/lib/supervisor.py leaves no process and no folder of a test, however the test ends: also when it is killed
together with prove, its process group."""
import contextlib
import glob
import os
import signal
import subprocess
import sys

LIB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib")
sys.path.insert(0, LIB)
import tap  # noqa: E402
from environment import Environment  # noqa: E402

# A test that starts a daemon, as RabbitMQ's scripts start an epmd.
PROGRAM = """
import os, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
import supervisor

def work(folder):
    pid = sys.argv[2] + ".pid"
    if "daemon" in sys.argv[3:]:
        subprocess.run(["setsid", "--fork", "sh", "-c", "echo $$ >" + pid + ".new && mv " + pid + ".new " + pid +
                        " && exec sleep 1000"], check=True)
        while not os.path.exists(pid):
            time.sleep(0.02)
    print("started", flush=True)
    while "wait" in sys.argv[3:]:
        print("waiting", flush=True)
        time.sleep(0.1)
    if "fail" in sys.argv[3:]:
        raise RuntimeError("failed as asked")
    return 3

sys.exit(supervisor.run(work, os.path.basename(sys.argv[2]) + "-"))
"""


class Supervised(Environment):
    services = ()

    def start(self, name, *how):
        """The program in a session of its own, after its first line."""
        self.name = self.folder.file(f"{os.path.basename(self.folder.path)}-{name}")
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, LIB, self.name, *how], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.callback(self.forget, process)
        assert process.stdout.readline() == "started\n"
        return process

    @staticmethod
    def forget(process):
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()

    def is_daemon_there(self):
        with contextlib.suppress(FileNotFoundError), open(f"{self.name}.pid") as file:
            pid = int(file.read())
            return os.path.exists(f"/proc/{pid}")
        return False

    def folders(self):
        return glob.glob(f"/var/tmp/{os.path.basename(self.name)}-*")

    def wait_clean(self):
        tap.wait_for("no daemon", lambda: not self.is_daemon_there(), 20)
        tap.wait_for("no folder", lambda: not self.folders(), 20)


def test_the_exit_status(env):
    assert env.start("status").wait(20) == 3
    process = env.start("failure", "fail")
    assert process.wait(20) == 1 and "failed as asked" in process.stderr.read()
    env.wait_clean()


def test_a_daemon_that_is_left_fails_the_test(env):
    process = env.start("left", "daemon")
    assert env.is_daemon_there() and len(env.folders()) == 1
    assert process.wait(20) == 3 and "left running: sleep" in process.stderr.read()
    env.wait_clean()


def test_signals(env):
    for number in (signal.SIGTERM, signal.SIGINT):
        process = env.start(f"signal{int(number)}", "daemon", "wait")
        process.send_signal(number)
        assert process.wait(20) == 128 + signal.SIGTERM
        env.wait_clean()


def test_a_kill(env):
    process = env.start("kill", "daemon", "wait")
    process.kill()
    env.wait_clean()


def test_a_kill_of_the_process_group(env):
    process = env.start("group", "daemon", "wait")
    # Nobody reads what it prints, as when prove is killed, too.
    process.stdout.close()
    os.killpg(process.pid, signal.SIGKILL)
    env.wait_clean()


if __name__ == "__main__":
    tap.main(Supervised)
