# SPDX-License-Identifier: LGPL-2.1-or-later
"""A folder that seems to have plenty of room, for the programs that are started with `env`: a library stands in for
statvfs. This is what a thin pool that is nearly full, or another mount namespace, shows to novasnapd."""
import os
import subprocess

from paths import TOP


class RoomStandIn:
    def __init__(self, folder, path):
        """`folder`: for the library; `path`: the folder that seems to have room."""
        library = folder.file("roomy.so")
        source = os.path.join(TOP, "tests/lib/roomy.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O", "-o", library, source, "-ldl"], check=True, timeout=60)
        self.env = {"LD_PRELOAD": library, "NOVASNAP_ROOMY_FOLDER": path,
                    "ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')}:verify_asan_link_order=0".strip(":")}
