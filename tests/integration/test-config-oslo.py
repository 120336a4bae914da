#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The configuration's reader, compared with the real oslo.config: both read the same files with the same keys, and must
come to the same values, or both refuse. Then the table of novasnap's keys, compared with the options that
oslo.messaging, oslo.log and keystoneauth1 register.  Known exceptions, which `expected` knows: an empty string or
number counts as not set here, and lists have no empty items."""
import importlib.metadata
import json
import locale
import logging
import os
import random
import subprocess
import sys

from keystoneauth1 import loading
from oslo_config import cfg

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from paths import BUILD  # noqa: E402

TOOL = os.path.join(BUILD, "tests/tools/config-reader")
SEED, GENERATED = 20120927, 600


def key(section, name, kind, default=None, old=(), **more):
    return {"section": section, "name": name, "type": kind, "default": default, "old": list(old), **more}


KEYS = [
    key("DEFAULT", "text", "text"),
    key("DEFAULT", "text2", "text", "two $text3"),
    key("DEFAULT", "text3", "text", "three"),
    key("DEFAULT", "flag", "bool", "false"),
    key("DEFAULT", "count", "uint", "5", min=0, max=1000),
    key("DEFAULT", "items", "list", "a,b"),
    key("DEFAULT", "many", "multi", old=["many_old"]),
    key("DEFAULT", "kind", "choice", "red", choices=["red", "green", "dark blue"]),
    key("DEFAULT", "word", "string", "a word"),
    key("one", "text", "text", "one's $text2"),
    key("one", "flag", "bool", "true", old=["flag_old"]),
    key("one", "number", "uint", "7", min=1, max=4294967295),
    key("one", "integer", "int64", "-3"),
    key("one", "items", "list"),
    key("one", "many", "multi", old=["DEFAULT.one_many", "one_older"]),
    key("two", "text4", "text", "$one.text", old=["text4_old", "one.text4"]),
    key("two", "count", "uint", "3", min=0, max=10),
]
TYPES = {"bool": cfg.BoolOpt, "uint": cfg.IntOpt, "int64": cfg.IntOpt, "string": cfg.StrOpt, "text": cfg.StrOpt, "list": cfg.ListOpt,
         "multi": cfg.MultiStrOpt, "choice": cfg.StrOpt, "host": cfg.HostDomainOpt, "path": cfg.StrOpt, "switch": cfg.StrOpt}
# What oslo.config raises where it refuses a file or a value.
REFUSALS = (cfg.Error, ValueError, RecursionError, cfg.ParseError)

# One file each, or a tuple of files.
TRICKY = {
    "nothing": "",
    "comments": "# a\n; b\n[DEFAULT]\n#text = x\n;text = y\ntext = z # no comment ; nor this\n",
    "a semicolon behind a space": "[DEFAULT]\ntext = a ; b\n",
    "a hash in the value": "[DEFAULT]\ntext = #fff\n",
    "an indented comment": "[DEFAULT]\ntext = a\n  # b\n",
    "an indented comment after a section": "[DEFAULT]\n  # b\ntext = a\n",
    "a comment between a value and its continuation": "[DEFAULT]\ntext = a\n# c\n  b\n",
    "colons and equals": "[DEFAULT]\ntext: a = b\ntext2 = a: b\ntext3 : c\n",
    "no space": "[DEFAULT]\ntext=a\ntext2:b\n",
    "much space": "[DEFAULT]\ntext \t = \t a  b \t\n",
    "a space in the key": "[DEFAULT]\nte xt = a\ntext = b\n",
    "empty values": "[DEFAULT]\ntext =\ntext2 = \nitems =\nmany =\n",
    "empty and not set": "[DEFAULT]\nword =\ncount =\n[two]\ncount = '  '\n",
    "an empty bool": "[DEFAULT]\nflag =\n",
    "no key": "[DEFAULT]\n = a\n",
    "no key at the margin": "[DEFAULT]\n= a\n",
    "neither": "[DEFAULT]\nnonsense\n",
    "a key before any section": "text = a\n[DEFAULT]\n",
    "a bracket that is not closed": "[DEFAULT\ntext = a\n",
    "a section with a comment": "[DEFAULT] # c\ntext = a\n",
    "a section without a name": "[]\ntext = a\n",
    "a section with spaces": "[ one ]\ntext = a\n",
    "a section with spaces behind it": "[one]  \ntext = a\n",
    "an indented section": "[DEFAULT]\ntext = a\n [one]\n",
    "brackets in a section": "[[one]]\ntext = a\n[a]b]\ntext = c\n",
    "a key that begins with a bracket": "[DEFAULT]\n[text = a\n",
    "sections in another case": "[ONE]\ntext = a\n[Two]\ntext4 = b\n[default]\ntext = c\n[Default]\ntext2 = d\n",
    "keys in another case": "[DEFAULT]\nTEXT = a\nText = b\n",
    "a section twice": "[one]\ntext = a\n[two]\ntext4 = b\n[one]\nflag = no\n",
    "a key twice": "[DEFAULT]\ntext = a\ntext = b\nmany = 1\nmany = 2\nmany = 1\n",
    "continuations": "[DEFAULT]\ntext = a\n  b\n\tc\n \t d  \nitems = 1,\n  2,\n  3\n",
    "a continuation of nothing": "[DEFAULT]\n  a\n",
    "a continuation of a section": "[DEFAULT]\n\n  text = a\n",
    "a continuation after a blank line": "[DEFAULT]\ntext = a\n\n  b\n",
    "a continuation after a line of spaces": "[DEFAULT]\ntext = a\n   \n  b\n",
    "a continuation that looks like a key": "[DEFAULT]\ntext = a\n  text2 = b\n",
    "a continuation of an empty value": "[DEFAULT]\ntext =\n  a\n  b\n",
    "a continuation of a quoted value": "[DEFAULT]\ntext = 'a'\n  'b'\n",
    "quotes": "[DEFAULT]\ntext = 'a b'\ntext2 = \" c \"\ntext3 = 'it''s'\n",
    "quotes that do not match": "[DEFAULT]\ntext = 'a\"\ntext2 = 'b\ntext3 = c'\n",
    "single quotation marks": "[DEFAULT]\ntext = '\ntext2 = \"\ntext3 = ''\n",
    "quotes twice": "[DEFAULT]\ntext = \"'a'\"\ntext2 = ''b''\n",
    "quotes in a list": "[DEFAULT]\nitems = 'a',\"b\", 'c,d'\n",
    "quotes in the key": "[DEFAULT]\n'text' = a\n",
    "lists": "[DEFAULT]\nitems = a, b ,c,\n[one]\nitems = ,a,,b,\n",
    "a list of commas": "[DEFAULT]\nitems = ,,,\n",
    "choices": "[DEFAULT]\nkind = dark blue\n",
    "no choice": "[DEFAULT]\nkind = blue\n",
    "a choice in another case": "[DEFAULT]\nkind = RED\n",
    "carriage returns": "[DEFAULT]\r\ntext = a\r\n  b\r\n\r\nflag = yes\r\n",
    "carriage returns alone": "[DEFAULT]\rtext = a\r  b\r\rflag = yes\r",
    "no end of line": "[DEFAULT]\ntext = a",
    "no end of a continuation": "[DEFAULT]\ntext = a\n  b",
    "a long value": "[DEFAULT]\ntext = " + "x y;" * 50000 + "\n",
    "a long word": "[DEFAULT]\ntext = " + "x" * 300000 + "\n",
    "many continuations": "[DEFAULT]\ntext = a\n" + "  b ; c\n" * 5000,
    "other whitespace": "[DEFAULT]\n\u00a0text\u2003=\u3000a\u00a0b\u2028\ntext2 = \x0ba\x1c\x1d\n\x0c\ntext3 = \x85\n",
    "a continuation by other whitespace": "[DEFAULT]\ntext = a\n\u00a0b\n",
    "line separators are not line ends": "[DEFAULT]\ntext = a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g\n",
    "text that is not ASCII": "[DEFAULT]\ntext = grün 日本 \U0001f427\n[grün]\ntext = a\n",
    "a byte order mark": "\ufeff[DEFAULT]\ntext = a\n",
    "Latin-1": b"[DEFAULT]\n# gr\xfcn\ntext = a\n",
    "a half character": b"[DEFAULT]\ntext = a\xe6\x97\n",
    "a surrogate": b"[DEFAULT]\ntext = \xed\xa0\x80\n",
    "a directory": None,
    "later files": ("[DEFAULT]\ntext = a\ntext2 = b\nmany = 1\nflag = yes\n", "[DEFAULT]\ntext = c\nmany = 2\nmany = 3\n",
                    "[default]\ntext = d\n"),
    "an error in a later file": ("[DEFAULT]\ntext = a\n", "[DEFAULT]\ntext\n"),
    "old names": "[one]\nflag_old = no\n[two]\ntext4_old = a\n",
    "an old name beside the new one": "[two]\ntext4 = a\ntext4_old = b\n[one]\ntext4 = c\n",
    "an old name in another section": "[one]\ntext4 = c\n",
    "an old name in a later file": ("[two]\ntext4 = a\n", "[one]\ntext4 = b\n[two]\ntext4_old = c\n"),
    "old names of many": ("[one]\nmany = a\none_older = b\n[DEFAULT]\none_many = c\nmany_old = d\nmany = e\n",
                          "[one]\none_older = f\n[DEFAULT]\none_many = g\n[one]\nmany = h\n"),
    "references": "[DEFAULT]\ntext = $text2-${text3}.$one.text\ntext2 = b\n[one]\ntext = c\n",
    "a reference to a default": "[DEFAULT]\ntext = $text3 $count $flag $kind ${one.number}\n",
    "a reference to one that is not set": "[DEFAULT]\ntext2 = <$text>\n",
    "a reference to DEFAULT from a section": "[DEFAULT]\ntext3 = x\n[one]\ntext = $text3\n",
    "the section goes first": "[DEFAULT]\ntext = x\ncount = 1\n[one]\ntext = a\n[two]\ntext4 = $count $text\n",
    "a reference's references": "[DEFAULT]\ntext = a $text3\ntext3 = c\n[two]\ntext4 = $text\n",
    "a reference's references are in its section": "[DEFAULT]\ntext2 = $text\ntext = x\n[one]\ntext = y\n"
                                                  "[two]\ntext4 = $text2\n",
    "a chain of references": "[DEFAULT]\ntext = $text2\ntext2 = $one.text\n[one]\ntext = $two.text4\n[two]\ntext4 = e\n",
    "dollar signs": "[DEFAULT]\ntext = a$$b $ $5 $- $$text3\ntext2 = ${ ${} ${text3 $}\n",
    "escaped dollar signs": "[DEFAULT]\ntext = a\\$b \\\\$text3 $\\$text3 \\$\\$\ntext2 = $$$text3 $$$$ \\\n",
    "a dollar sign at the end": "[DEFAULT]\ntext = a$\n",
    "a reference with a dot behind it": "[DEFAULT]\ntext = /$text3./x\n",
    "a reference in braces with a dot behind it": "[DEFAULT]\ntext = /${text3}./x\n",
    "a reference in another case": "[DEFAULT]\ntext = $TEXT3\n",
    "a reference to another section's case": "[DEFAULT]\ntext = ${One.text}\n",
    "a reference to nothing": "[DEFAULT]\ntext = $nothing\n",
    "a reference to nothing in a section": "[DEFAULT]\ntext = ${one.nothing}\n",
    "a reference to no section": "[DEFAULT]\ntext = ${nothing.text}\n",
    "a reference to DEFAULT by its name": "[one]\ntext = ${DEFAULT.text3}\n",
    "a reference with two dots": "[DEFAULT]\ntext = ${one.text.more}\n",
    "a reference to a key that the section does not have": "[DEFAULT]\ntext3 = a\n[one]\ntext3 = b\ntext = $text3\n",
    "a reference to itself": "[DEFAULT]\ntext = $text\n",
    "references in a circle": "[DEFAULT]\ntext = $text2\ntext2 = $text3\ntext3 = a$text\n",
    "references as values": "[DEFAULT]\nflag = $one.flag\ncount = $two.count\nkind = $text\ntext = green\nitems = x,$text\n"
                            "many = $text\nmany = $$\n[one]\nflag = YES\n[two]\ncount = 007\n",
    "a reference to a bool": "[DEFAULT]\nflag = oN\ntext = $flag\n",
    "a reference to a number": "[DEFAULT]\ncount = +0_7\ntext = $count\n",
    "a reference is not read again": "[DEFAULT]\ntext = $text2\ntext2 = $$text3\n",
    "a bool that a reference spoils": "[DEFAULT]\nflag = $text3\n",
    "bools with spaces": "[DEFAULT]\nflag = ' true'\n",
}
BOOLS = ["true", "True", "TRUE", "1", "on", "ON", "yes", "Yes", "false", "False", "0", "off", "no", "NO", "t", "y", "n",
         "2", "enabled", "none", "", "tr ue", "01", "true,", "ｔｒｕｅ", "yes\n  no"]
NUMBERS = ["0", "7", "007", "+7", "-7", "-0", "+ 7", "7 ", "'7 '", "' 7'", "1_000", "1__000", "_1", "1_", "1000", "1001",
           "99999999999999999999999", "-99999999999999999999999", "0x10", "1e3", "5.0", "seven", "''", "' '", "\u00a07",
           "'\u20037'", "7\n  8", "4294967296", "18446744073709551617", "0b1", "1,000", "--7", "+"]


def options_of(keys):
    for at in keys:
        default, old = at["default"], [name.rpartition(".") for name in at["old"]]
        more = {name: at[name] for name in ("min", "max", "choices") if at.get(name) not in (None, [])}
        if default is not None:
            default = {"bool": lambda: default == "true", "uint": lambda: int(default),
                       "int64": lambda: int(default),
                       "list": lambda: default.split(",")}.get(at["type"], lambda: default)()
        yield at, TYPES[at["type"]](at["name"], default=default, **more, deprecated_opts=[
            cfg.DeprecatedOpt(name, group=section or None) for section, _, name in old])


def read_by_oslo(paths):
    """Returns the values in the order of KEYS. Raises one of REFUSALS."""
    conf = cfg.ConfigOpts()
    for at, option in options_of(KEYS):
        conf.register_opt(option, group=None if at["section"] == "DEFAULT" else at["section"])
    conf([arg for path in paths for arg in ("--config-file", path)], project="test", default_config_files=[])
    return [(conf if at["section"] == "DEFAULT" else conf[at["section"]])[at["name"]] for at in KEYS]


def expected(at, value):
    """Returns what our reader makes of oslo.config's value."""
    if at["type"] == "multi":
        return value or []
    if at["type"] == "list":
        return [item for item in value or [] if item]
    if value is None or (at["type"] == "string" and value == ""):
        return int(at["default"]) if at["type"] in ("uint", "int64") else at["default"]
    return value


class Comparison:
    def __init__(self, folder):
        self.folder, self.accepted, self.refused = folder, 0, 0
        self.tool = subprocess.Popen([TOOL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def close(self):
        self.tool.stdin.close()
        assert self.tool.wait(20) == 0
        self.tool.stdout.close()

    def read(self, paths):
        self.tool.stdin.write(json.dumps({"files": paths, "keys": KEYS}) + "\n")
        self.tool.stdin.flush()
        return json.loads(self.tool.stdout.readline())

    def write(self, contents):
        paths = []
        for number, content in enumerate(contents):
            paths.append(self.folder.file(f"{number}.conf") if content is not None else self.folder.path)
            if content is not None:
                with open(paths[-1], "wb") as file:
                    file.write(content if isinstance(content, bytes) else content.encode())
        return paths

    def compare(self, name, *contents):
        """Returns the difference, or None."""
        paths = self.write(contents)
        ours = self.read(paths)
        try:
            theirs = read_by_oslo(paths)
        except (*REFUSALS, OSError) as refusal:
            self.refused += 1
            if "error" in ours:
                return None
            return f"{name}: oslo.config refuses ({type(refusal).__name__}: {refusal}), we do not: {ours}: {contents!r}"
        self.accepted += 1
        if "error" in ours:
            return f"{name}: we refuse ({ours['error']}), oslo.config does not: {contents!r}"
        for at, value, other in zip(KEYS, ours["values"], theirs, strict=True):
            if value != expected(at, other):
                return (f"{name}: [{at['section']}]{at['name']} is {value!r:.200}, by oslo.config {other!r:.200}: "
                        f"{contents!r:.2000}")
        return None


class Generator:
    """Generates files that are mostly well-formed, since a file with many errors is not read at all."""
    WORDS = ["a", "b c", "x;y", "p ; q", "#r", "s # t", "=", ":", "[", "]", "[one]", ",", "é", "'", '"', "\\", "\u00a0",
             "/var/lib", "k=v", "  ", "\t", "\x0b", "%(x)s", "{}", "~"]
    REFERENCES = ["text", "text2", "text3", "flag", "count", "kind", "one.text", "one.flag", "one.number", "two.text4",
                  "two.count"]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, share):
        return self.random.random() < share

    def reference(self):
        name = self.random.choice(self.REFERENCES) if not self.chance(0.03) else self.random.choice(
            ["nothing", "TEXT", "one", "one.", "DEFAULT.text", "items2"])
        return self.random.choice(["$%s ", "${%s}"]) % name

    def text(self):
        parts = []
        for _ in range(self.random.randrange(5)):
            if self.chance(0.2):
                parts.append(self.reference())
            elif self.chance(0.15):
                parts.append(self.random.choice(["$$", "\\$", "$", "${", "$}", "$1", "\\\\$"]))
            else:
                parts.append(self.random.choice(self.WORDS))
        text = "".join(parts)
        if self.chance(0.2):
            mark = self.random.choice("'\"")
            text = mark + text + mark
        return text

    def value(self, at):
        kind = at["type"]
        if kind == "bool":
            return self.random.choice(BOOLS[:14] if not self.chance(0.02) else BOOLS)
        if kind in ("uint", "int64"):
            return str(self.random.randrange(1, 10)) if self.chance(0.8) else self.random.choice(
                ["+3", "004", "1_0", "'5'", "$two.count", "${one.number}"] if not self.chance(0.05) else NUMBERS[:12])
        if kind == "choice":
            return self.random.choice(at["choices"] if not self.chance(0.03) else ["", "blue", "RED"][1:])
        if kind == "list":
            return self.random.choice([",", ", ", " ,", ",,"]).join(self.text() for _ in range(self.random.randrange(4)))
        return self.text()

    def key_line(self):
        # Empty strings and numbers are where the two differ on purpose.
        at = self.random.choice([at for at in KEYS if at["type"] != "string"])
        names = [at["name"], *(name for name in at["old"] if "." not in name)]
        name = self.random.choice(names) if not self.chance(0.1) else self.random.choice(["other", "x y", "many_old"])
        sign = self.random.choice(["=", " = ", ":", " : ", "\t=", "= ", " =\u2003"])
        return [("section", at["section"]), f"{name}{sign}{self.value(at)}"]

    def lines(self):
        yield "[DEFAULT]"
        section, may_continue = "DEFAULT", False
        for _ in range(self.random.randrange(3, 25)):
            if self.chance(0.004):
                yield self.random.choice(["nonsense", "= a", "[one", "[]", " indented"])
            elif self.chance(0.12):
                yield self.random.choice(["# a comment", ";b = c", "#", "", "   "])
                may_continue = False
            elif may_continue and self.chance(0.2):
                yield self.random.choice([" ", "\t", "    "]) + self.random.choice(
                    ["more", "# more", "; more", "text = more", "[one]", "$text3 ", "'q'", "a,b", "\u00a0x"])
            else:
                (_, wanted), line = self.key_line()
                if wanted != section and not self.chance(0.1):
                    section = wanted
                    yield f"[{section}]" if section == "DEFAULT" else f"[{self.random.choice([section, section.upper()])}]"
                yield line
                may_continue = line.partition("=")[0].strip().startswith(("text", "items", "many"))

    def file(self):
        return self.random.choice(["\n", "\n", "\n", "\r\n", "\r"]).join([*self.lines(), ""])

    def files(self):
        return [self.file() for _ in range(self.random.choice([1, 1, 1, 2, 3]))]


def registered_options():
    """Returns section -> name -> option, of the libraries that nova uses."""
    found = {}
    for entry in importlib.metadata.entry_points(group="oslo.config.opts"):
        if entry.name in ("oslo.messaging", "oslo.log"):
            for section, options in entry.load()():
                found.setdefault(section or "DEFAULT", {}).update({option.dest: option for option in options})
    for section in ("keystone_authtoken", "service_user", "cinder"):
        found[section] = {option.dest: option for option in [*loading.get_auth_common_conf_options(),
                                                             *loading.get_auth_plugin_conf_options("password"),
                                                             *loading.get_session_conf_options()]}
    return found


class Readers(Environment):
    def set_up(self):
        logging.disable()
        assert locale.getpreferredencoding(False).lower() == "utf-8"
        self.both = Comparison(self.folder)
        self.callback(self.both.close)

    def agree(self, cases, least_accepted, least_refused):
        """Checks that both read each case alike, and that they accept and refuse at least this many."""
        both = self.both
        both.accepted = both.refused = 0
        different = [text for text in (both.compare(name, *files) for name, files in cases) if text]
        assert not different, f"{len(different)} different:\n" + "\n".join(different[:10])
        assert both.accepted >= least_accepted and both.refused >= least_refused, (both.accepted, both.refused)


def test_tricky_files(env):
    env.agree(((name, files if isinstance(files, tuple) else (files,)) for name, files in TRICKY.items()), 55, 25)


def test_a_missing_file(env):
    path = env.folder.file("missing.conf")
    assert path in env.both.read([path])["error"]
    try:
        read_by_oslo([path])
    except cfg.ConfigFilesNotFoundError:
        return
    raise AssertionError("oslo.config reads a file that is missing")


def test_bools_and_numbers(env):
    env.agree([(repr(word), [f"[DEFAULT]\nflag = {word}\n"]) for word in BOOLS], 14, 10)
    env.agree([(repr(word), [f"[DEFAULT]\ncount = {word}\n"]) for word in NUMBERS], 10, 15)
    env.agree([(repr(word), [f"[one]\nnumber = {word}\n"]) for word in NUMBERS], 10, 15)


def test_generated_files(env):
    make = Generator(SEED)
    env.agree(((f"generated file {number}", make.files()) for number in range(GENERATED)), GENERATED / 2, GENERATED / 20)


def test_the_table_of_keys(env):
    """Default, type and old names of each key are those of the library that registers it."""
    ours = [json.loads(line) for line in subprocess.run(
        [TOOL, "--table"], check=True, capture_output=True, text=True, timeout=20).stdout.splitlines()]
    options, compared = registered_options(), 0
    later = int(importlib.metadata.version("oslo.messaging").split(".")[0]) > 14
    for at in ours:
        option = options.get(at["section"], {}).get(at["name"])
        if not option:
            continue
        compared += 1
        where = f"[{at['section']}]{at['name']}"
        (_, mine), = options_of([at])
        # nova sets the first one's default itself. Those of the others are of the host and of the process.
        if where not in ("[DEFAULT]control_exchange", "[oslo_messaging_rabbit]hostname",
                         "[oslo_messaging_rabbit]processname"):
            assert (mine.default or None) == (option.default or None), (where, mine.default, option.default)
        assert isinstance(option, TYPES[at["type"]]) or at["type"] in ("string", "text"), (where, option)
        old, theirs = ({(one.group or at["section"], one.name or option.dest) for one in which.deprecated_opts}
                       for which in (mine, option))
        # Later releases no longer know the oldest names.
        assert old == theirs or (theirs < old and later), (where, old, theirs)
    assert compared >= 50, compared


if __name__ == "__main__":
    tap.main(Readers)
