# SPDX-License-Identifier: LGPL-2.1-or-later
"""Folders of this machine on which a test mounts its own, in a mount namespace."""
import fcntl
import os

import tap

LIMIT_S = 600


def make_mount_points(env, paths):
    """Makes those that do not exist, until the end of the test. To remove such a folder would end the mounts of another
    test on it, so one test at a time has them."""
    lock = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    env.callback(lambda: os.close(lock))

    def is_locked():
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    tap.wait_for("end of the test that mounts there", is_locked, LIMIT_S, 1)
    for path in paths:
        if not os.path.isdir(path):
            os.makedirs(path)
            env.callback(lambda path=path: os.rmdir(path))
