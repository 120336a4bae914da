#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks the pages (*.md): relative links and their anchors exist, files that are named exist, log messages that are
quoted occur in the code, and no page is longer than it may be. Prints each mistake with its place."""
import functools
import glob
import os
import re
import subprocess
import sys

ROOMS = ("agent", "rpc", "virt", "image")
FOLDERS = (*ROOMS, "tests", "conf")
MOST_LINES = {"README.md": 120, "HACKING.md": 220}
# Named without their folder, a file of the project is recognised by these.
ENDINGS = (".c", ".h", ".py", ".sh", ".md")
OF_OTHERS = {"amqp.h", "libvirt.h", "curl.h", "libnbd.h"}
SHORTEST_PIECE = 8  # of a message between two "…"


def all_files():
    output = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], check=True,
                            capture_output=True, text=True).stdout
    return [name for name in output.splitlines() if os.path.exists(name)]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


@functools.cache
def anchors(path):
    """Returns the names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", read(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_link(page, target):
    """Returns what is wrong with a link, or None."""
    if re.match(r"[a-z]+:", target):
        return None
    path, _, anchor = target.partition("#")
    path = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
    if not os.path.exists(path):
        return f"the link {target} leads to no file"
    if anchor and path.endswith(".md") and anchor not in anchors(path):
        return f"the link {target} leads to no heading"
    return None


def expand(name):
    """Expands journal.{c,h} to journal.c, journal.h."""
    found = re.fullmatch(r"(.*)\{([^{}]*)\}(.*)", name)
    return [found[1] + part + found[3] for part in found[2].split(",")] if found else [name]


def is_there(name, names):
    """Returns whether a file of the project has that name. True for a name that is not one of the project's files."""
    if not re.fullmatch(r"[\w.+*/{},-]+", name) or "NAME" in name:
        return True
    if "/" in name and name.split("/")[0] in FOLDERS:
        return all(glob.glob(part) for part in expand(name))
    if "/" not in name and name.endswith(ENDINGS):
        return name in OF_OTHERS or all(part in names for part in expand(name))
    return True


@functools.cache
def code():
    """Returns all strings of the rooms on one line; adjacent strings are joined."""
    text = "".join(read(path) for room in ROOMS for path in glob.glob(f"{room}/**/*.[ch]", recursive=True))
    text = re.sub(r'"(?:\s*[A-Z][A-Z0-9_]*\s+|\s*)"', "", text)
    return re.sub(r"\s+", " ", text.replace('\\"', '"'))


def check_message(message):
    missing = [piece.strip() for piece in message.split("…") if len(piece.strip()) >= SHORTEST_PIECE and
               piece.strip() not in code()]
    return f'the code has no message with "{missing[0]}"' if missing else None


def check_page(page, names):
    lines = read(page).splitlines()
    if len(lines) > MOST_LINES.get(page, len(lines)):
        yield len(lines), f"it has {len(lines)} lines, {MOST_LINES[page]} are the most"
    # A link's text may go over a line's end.
    for found in re.finditer(r"\]\(([^()\s]+)\)", "\n".join(lines)):
        yield found.string.count("\n", 0, found.start()) + 1, check_link(page, found[1])
    for number, line in enumerate(lines, 1):
        code_block = line.startswith("    ") and not re.match(r"\s+([-*]|\d+\.) ", line)
        quoted = [line] if code_block else re.findall(r"`([^`]+)`", line)
        for name in (word.rstrip(",.;:") for text in quoted for word in text.split()):
            if not is_there(name, names):
                yield number, f"there is no file {name}"
        message = re.match(r'\| "([^"]+)" \|', line)
        if message:
            yield number, check_message(message[1])


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    files = all_files()
    names = {os.path.basename(name) for name in files}
    mistakes = [f"{page}:{number}: {mistake}" for page in files if page.endswith(".md")
                for number, mistake in check_page(page, names) if mistake]
    print("\n".join(mistakes), end="\n" if mistakes else "")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
