# SPDX-License-Identifier: LGPL-2.1-or-later
"""The HTTP services of OpenStack, each as Debian's package of the release runs it: with a server of its own, or under
uwsgi."""
import time
import urllib.error
import urllib.request
from collections import namedtuple

import release

# module: has its application, where it exists. script: has it in older releases, or else `program` is a server of its
# own. variables: those that name its configuration, which is in the folder {etc}.
Api = namedtuple("Api", "module script program variables")
APIS = {
    "keystone": Api("keystone.wsgi.api", "/usr/bin/keystone-wsgi-public", None,
                    {"OS_KEYSTONE_CONFIG_FILES": "{etc}/keystone.conf"}),
    "glance-api": Api("glance.wsgi.api", None, "glance-api", {"OS_GLANCE_CONFIG_DIR": "{etc}"}),
    "placement": Api("placement.wsgi.api", "/usr/bin/placement-api", None, {"OS_PLACEMENT_CONFIG_DIR": "{etc}"}),
    # The first of its files is paste's.
    "nova-api": Api("nova.wsgi.osapi_compute", None, "nova-api",
                    {"OS_NOVA_CONFIG_DIR": "{etc}", "OS_NOVA_CONFIG_FILES": "/etc/nova/api-paste.ini;nova.conf"}),
}
# uwsgi gives up a body after 4 s of silence, and refuses chunks of more than 1 MiB, unless it is told otherwise, as in
# Debian's own configuration.
UWSGI = ["uwsgi_python3", "--master", "--lazy-apps", "--need-app", "--die-on-term", "--no-orphans", "--enable-threads",
         "--buffer-size", "65535", "--socket-timeout", "10", "--chunked-input-limit", "1073741824",
         "--add-header", "Connection: close"]


def command(name, port, etc, single=False):
    """Returns the command that serves this API on a port of the loopback, and its environment. `single`: requests are
    served one after the other, since SQLite locks its database for a writer."""
    api = APIS[name]
    if release.has_module(api.module):
        application = ["--module", f"{api.module}:application"]
    elif api.script:
        application = ["--wsgi-file", api.script]
    else:
        return [api.program, "--config-file", f"{etc}/{'nova' if name == 'nova-api' else name}.conf"], {}
    # nova-api was written for eventlet, which is no friend of threads, until it came to run in threads only.
    workers = ["2", "1"] if name == "nova-api" and release.NOVA < (32,) else ["1", "8"]
    workers = ["1", "1"] if single else workers
    argv = [*UWSGI, "--http-socket", f"127.0.0.1:{port}", *application, "--processes", workers[0],
            "--threads", workers[1], "--procname-prefix", f"{name} "]
    # The queue manager of oslo.messaging takes the program's name, which is uwsgi's.
    variables = {key: value.format(etc=etc) for key, value in api.variables.items()}
    return argv, {"OS_OSLO_MESSAGING_RABBIT__PROCESSNAME": name, **variables}


def wait_http(port, process, what, log, seconds=120):
    """Waits until a service answers on a port, whatever it says: uwsgi listens before it has loaded the application.
    Raises RuntimeError with the end of its log if it does not."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=until - time.monotonic() + 1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.2)
    with open(log, errors="replace") as file:
        raise RuntimeError(f"{what} did not come up:\n{file.read()[-3000:]}")
