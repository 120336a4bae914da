#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnap's commands close their connections to RabbitMQ as AMQP demands, however they end. A connection that only
breaks is a warning in the broker's log, and monitoring takes it for a fault of the network."""
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from command_conf import write_command_conf  # noqa: E402
from environment import Environment  # noqa: E402
from paths import BUILD, CAST  # noqa: E402

IMAGE = "2f6e1c2e-8f0b-4a58-9d0c-1d2b2f6f8c11"


def catches(process, number):
    with open(f"/proc/{process.pid}/status") as file:
        caught = next(line for line in file if line.startswith("SigCgt:"))
    return int(caught.split()[1], 16) >> (number - 1) & 1


class Connections(Environment):
    services = ("broker",)
    own_broker = True

    def set_up(self):
        self.conf = write_command_conf(self.folder, self.broker)

    def read_log(self):
        with open(self.broker.log, errors="replace") as file:
            return file.read()

    def check(self, status, *arguments, number=None):
        """Runs a command, which ends by itself or by a signal, and checks what the broker logged of it."""
        before = self.read_log()
        process = subprocess.Popen([os.path.join(BUILD, "novasnap"), "--config-file", self.conf, *arguments],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

        def added(words):
            return self.read_log()[len(before):].count(words)

        try:
            if number:
                # Two connections: for messages to this process and from it.
                tap.wait_for("connections", lambda: added("granted access to vhost") >= 2)
                tap.wait_for("the handler of the signal", lambda: catches(process, number))
                process.send_signal(number)
            shown, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        opened = added("accepting AMQP connection")
        assert process.returncode == status and opened > 0, (arguments, process.returncode, shown)
        tap.wait_for("their ends in the broker's log", lambda: added("closing AMQP connection") == opened)
        assert not added("unexpectedly closed"), self.read_log()[len(before):]


def test_commands_that_end_by_themselves(env):
    env.check(1, "send", "snapshot_instance", "--file", CAST, "--image", IMAGE)
    env.check(1, "watch", "--timeout", "1")
    env.check(1, "replay", CAST)
    env.check(0, "replay", "--unhandled")
    env.check(1, "beside", "--status")
    env.check(1, "check")


def test_commands_that_are_ended_by_a_signal(env):
    for number in (signal.SIGINT, signal.SIGTERM):
        env.check(130, "watch", number=number)
        env.check(0, "record", env.folder.file(f"record-{number}.jsonl"), number=number)


if __name__ == "__main__":
    tap.main(Connections)
