# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program in a terminal of its own: a pseudo-terminal whose size can change, and what is on its screen."""
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time

class Screen:
    def __init__(self, argv, columns=80, rows=24, env=None):
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(slave)
        self.slave, self.output, self._lock = slave, "", threading.Lock()
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                                        env={**os.environ, "TERM": "xterm-256color", **(env or {})})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            with self._lock:
                self.output += data.decode(errors="replace")

    def resize(self, columns, rows):
        """Changes the size; the terminal then sends SIGWINCH."""
        self.columns, self.rows = columns, rows
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.master, keys.encode())

    def text(self):
        with self._lock:
            return self.output

    def frame(self):
        """Returns the lines of the last frame that was drawn as a whole."""
        text = self.text()
        frames = text.split("\x1b[H")[1:]
        whole = [frame for frame in frames if frame.endswith("\x1b[J") or "\x1b[J" in frame]
        return lines_of(whole[-1].split("\x1b[J")[0]) if whole else []

    def shows(self, pattern):
        return re.search(pattern, "\n".join(self.frame()))

    def modes(self):
        return termios.tcgetattr(self.slave)

    def wait(self, seconds=20):
        """Returns the exit status. The output is complete."""
        status = self.process.wait(seconds)
        time.sleep(0.1)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait(20)
        os.close(self.slave)
        os.close(self.master)


def lines_of(text):
    """Returns the lines as the terminal shows them, without escape sequences."""
    return [re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", line).rstrip("\r") for line in text.split("\n")]
