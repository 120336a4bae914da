#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual pages as man shows them: each has every option, exit status and example of its program's help, or every key
of the sample and of the table of keys; and man, groff and whatis have nothing to object to."""
import glob
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from paths import BUILD, TOP  # noqa: E402

LISTS = ("Options", "Exit status", "Example")


def run(*argv, **env):
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, cwd=TOP,
                          env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "2000", **env})


def plain(text):
    """A page shows `words` in bold."""
    return " ".join(text.replace("`", "").split())


def sections(text, indent):
    """Returns the parts of a page by their titles, which are indented that much."""
    parts = re.split(rf"^ {{{indent}}}(\S.*)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


class Pages(Environment):
    def set_up(self):
        with open(os.path.join(TOP, "conf/man/pages")) as file:
            lines = [line.split(" ", 2) for line in file.read().splitlines() if line[0] != "#"]
        self.what = {f"{name}.{section}": text for name, section, text in lines}
        self.paths = {page: os.path.join(BUILD, "man", page) for page in self.what}

    def text(self, page):
        # Indented by 7 and not adjusted, whatever the default of this groff is.
        return run("man", "-P", "cat", "-l", self.paths[page], MANROFFOPT="-rBP=7n -rHY=0 -dAD=l").stdout

    @staticmethod
    def help(*command):
        return run(os.path.join(BUILD, command[0]), *command[1:], "--help").stdout


def test_every_program_and_the_configuration_have_one(env):
    programs = {os.path.basename(path)[:-2] for path in glob.glob(os.path.join(TOP, "agent/novasnap*.c"))}
    programs.add("novasnap-rbd")  # of image/rbd/server
    assert {page.rsplit(".", 1)[0] for page in env.what} == programs | {"novasnap.conf"}
    assert set(os.listdir(os.path.join(BUILD, "man"))) >= set(env.what)


def check_warnings(text, where, allowed):
    said = [line for line in text.splitlines() if not re.search(rf"(can't|cannot) ({allowed}) line", line)]
    assert not said, (where, said)


def test_man_has_nothing_to_object_to(env):
    for page, path in env.paths.items():
        # A line that is not adjusted is only less even.
        for width in ("40", "80", "200"):
            check_warnings(run("man", "--warnings", "-P", "cat", "-l", path, MANWIDTH=width).stderr, (page, width),
                           "adjust|break" if width == "40" else "adjust")
        check_warnings(run("groff", "-man", "-Tutf8", "-ww", path).stderr, page, "adjust")
        name = page.rsplit(".", 1)[0]
        assert run("lexgrog", path).stdout == f'{path}: "{name} - {env.what[page]}"\n', page
        with open(path, "rb") as file:
            assert file.read().isascii(), page


def check_help(text, shown, where):
    """What a help says is what is shown of it."""
    parts = re.split(r"^([A-Z][a-z ]+):\n", text, flags=re.M)
    lists = dict(zip(parts[1::2], parts[2::2], strict=True))
    shown_words = plain(shown)
    options = re.findall(r"^  ((?:-\w, )?--\S+) +(.*)$", lists["Options"], re.M)
    assert options and "-h, --help" in dict(options), (where, options)
    for names, meaning in options:
        assert plain(f"{names} {meaning}") in shown_words, (where, names, shown)
    statuses = re.findall(r"^  (\d+) +(.*(?:\n {4,}.*)*)", lists["Exit status"], re.M)
    assert statuses, (where, lists)
    for number, meaning in statuses:
        assert plain(f"{number} {meaning}") in shown_words, (where, number, shown)
    usage = lists["Usage"].strip().split("\n")[0]
    assert plain(usage) in shown_words, (where, usage, shown)
    if "Example" in lists:
        assert lists["Example"].split("\n\n")[0].strip() in shown_words, (where, shown)
    # The rest is text.
    for paragraph in re.sub(rf"^(Usage|Commands|{'|'.join(LISTS)}):\n(?:.+\n)*", "", text, flags=re.M).split("\n\n"):
        if not re.search(r"^Global options|--help. describes", paragraph.strip()):
            assert plain(paragraph) in shown_words, (where, paragraph, shown)
    # And nothing is shown that is not there.
    known = {name for names, _ in options for name in re.findall(r"(?<![\w-])--[\w-]+", names)}
    listed = set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)(?:=\S+)?(?:  | ?$|\n)", shown, re.M))
    assert listed <= known, (where, listed - known)


def test_programs_by_their_help(env):
    for page in env.what:
        name = page.rsplit(".", 1)[0]
        if name == "novasnap.conf":
            continue
        text = env.help(name)
        parts = sections(env.text(page), 0)
        if name == "novasnap":
            commands = re.findall(r"^  ([a-z]+)  ", text.split("Commands:\n")[1].split("\n\n")[0], re.M)
            shown = sections(parts.pop("COMMANDS"), 3)
            assert list(shown) == commands and "top" in commands, (list(shown), commands)
            for command in commands:
                check_help(env.help("novasnap", command), shown[command], command)
        check_help(text, "".join(parts.values()), name)
        others = {other.rsplit(".", 1)[0] for other in env.what} - {name}
        assert all(f"{other}(" in parts["SEE ALSO"] for other in others), (name, parts["SEE ALSO"])


def test_the_configuration_by_the_sample_and_the_table(env):
    with open(os.path.join(TOP, "conf/novasnap.conf")) as file:
        sample = file.read()
    parts = sections(env.text("novasnap.conf.5"), 0)
    head, *groups = re.split(r"^\[(\w+)\]\n", sample, flags=re.M)
    assert plain(re.sub(r"^# ", "", head, flags=re.M)) in plain(parts["DESCRIPTION"])
    table = [json.loads(line) for line in
             run(os.path.join(BUILD, "tests/tools/config-reader"), "--table").stdout.splitlines()]
    keys = {(key["section"], key["name"]): key for key in table}
    for group, text in zip(groups[::2], groups[1::2], strict=True):
        shown = sections(parts[f"[{group}]"], 7)
        found = re.findall(r"((?:^# .*\n)+)^#(\w+) =(.*)\n", text, re.M)
        assert {title.split(" = ")[0] for title in shown} == {name for _, name, _ in found}, group
        for comment, name, default in found:
            key = keys.pop((group, name))
            own = shown[f"{name} = {default.strip() or '(not set)'}"]
            assert plain(re.sub(r"^# ", "", comment, flags=re.M)) in plain(own), (group, name, own)
            facts = own.split("\n\n")[1].strip()
            if key["choices"]:
                assert facts.startswith(f"One of {', '.join(key['choices'])}."), (name, facts)
            else:
                assert facts.startswith("Value: "), (name, facts)
            assert key["type"] != "uint" or re.match(r"Value: from \d+ to \d+", facts), (name, facts)
            assert all(f"Old name: {old}." in facts for old in key["old"] or []), (name, facts)
    assert not keys, keys
    # Of the table's other members, one key that has each.
    for name, facts in (("journal_days", "from 1 to 36500 days"), ("debug", "SIGHUP changes it"),
                        ("catalog_info", "Value: matches"), ("transport_url", "It is never printed")):
        assert re.search(rf" {name} = [^\n]*\n[^\n]*\n\n *[^\n]*{facts}", "".join(parts.values())), name


if __name__ == "__main__":
    tap.main(Pages)
