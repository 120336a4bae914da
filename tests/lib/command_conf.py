# SPDX-License-Identifier: LGPL-2.1-or-later
"""A configuration for commands that need a broker, and neither libvirt nor Glance."""


def write_command_conf(folder, broker):
    """Returns its path. The host is h."""
    state, path = folder.make("state"), folder.file("novasnap.conf")
    with open(path, "w") as file:
        file.write(f"[DEFAULT]\nhost = h\ntransport_url = {broker.url}\n[novasnap]\nstate_dir = {state}\n"
                   f"run_dir = {state}/run\nimages = directory\nimages_dir = {state}/images\n")
    return path
