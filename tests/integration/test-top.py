#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""novasnap top in a terminal: what it shows of a real snapshot, also while novasnapd is away and started again; every
size of the terminal; keys and signals, after which the terminal is as it was. And as plain text and JSON. Also the tables,
bars and JSON of the other commands, whose keys conf/docs/commands.md must have."""
import json
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import WriterEnvironment  # noqa: E402
from images import MIB  # noqa: E402
from paths import CAST, TOP  # noqa: E402
from screen import Screen, lines_of  # noqa: E402

GIVEN_BACK = "\x1b[?7h\x1b[?25h\x1b[?1049l"
COLOR = re.compile(r"\x1b\[[\d;]*m")
SLOW = str(MIB)  # bytes a second: 36 seconds for a guest of 36 MiB


class Top(WriterEnvironment):
    services = ("broker", "libvirt", "kernel")

    folders = 0

    def agent(self, **novasnap):
        return self.enter(self.stopped_agent(**{"upload_bytes_per_second": SLOW, "shutdown_grace": "0", **novasnap}))

    def stopped_agent(self, **novasnap):
        return self.make_agent(sections={"images": self.own_images()}, **novasnap)

    def own_images(self):
        self.folders += 1
        return self.folder.make(f"images{self.folders}")

    def send(self, agent):
        """Sends a cast for the guest. Returns the image's id."""
        return agent.command("send", "snapshot_instance", "--file", CAST, "--instance", self.guest.uuid).stdout.strip()

    def queued_image(self, agent):
        """Makes an image that waits for data. Returns its id."""
        done = agent.command("send", "snapshot_instance", "--file", CAST, "--instance", self.guest.uuid, "--host",
                             "elsewhere", check=False)
        return re.search(r"image (\S+) was created, but the cast was not sent", done.stderr)[1]

    def top(self, agent, *more, prefix=(), **terminal):
        argv = [*prefix, os.path.join(agent.programs, "novasnap"), *agent.files, "top", "--interval", "0.2", *more]
        return self.enter(Screen(argv, **terminal))

    def plain(self, agent, *more):
        return agent.command("top", *more, check=False)


def wait_for(screen, pattern, seconds=40):
    try:
        return tap.wait_for(pattern, lambda: screen.shows(pattern), seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; the screen: {screen.frame()}, {screen.text()[-300:]!r}") from None


def documented(*objects):
    with open(os.path.join(TOP, "conf/docs/commands.md"), encoding="utf-8") as file:
        page = file.read()
    for key in set().union(*objects):
        assert re.search(rf"`{key}`", page), key


def objects_of(done, status=0):
    """Returns the objects that a command has printed, one on each line."""
    assert done.returncode == status, done
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    documented(*objects)
    return objects


def as_it_was(screen):
    """The terminal's modes are those before, and its last page is shown again."""
    assert screen.modes() == screen.before
    # What a program that is stopped has written may arrive a little later.
    tap.wait_for("its last page", lambda: screen.text().endswith(GIVEN_BACK), 5, 0.02)


def fits(screen):
    frame = screen.frame()
    return 0 < len(frame) <= screen.rows and all(len(line) <= screen.columns for line in frame)


def test_a_snapshot_and_one_that_waits(env):
    agent = env.agent()
    first, second = env.send(agent), env.send(agent)
    screen = env.top(agent, columns=100)
    wait_for(screen, r"1 running, 1 waiting, 0 recovering; broker connected; mode exclusive")
    row = wait_for(screen, rf"{env.guest.uuid[:8]} +{first[:8]} +stream +uploading the im.* +\[#+\.+\] +[1-9]\d? %"
                           r" +(\d+(\.\d)?) MiB/s +\d+ s")
    assert 0.5 <= float(row[1]) <= 1.5, row
    assert screen.shows(rf"{second[:8]} +snapshot_?.* waiting for its"), screen.frame()
    assert screen.shows(rf"host {agent.host}  novasnapd [\d.]+, process {agent.process.pid}\b"), screen.frame()
    assert COLOR.search(screen.text())
    screen.type("q")
    assert screen.wait() == 0
    as_it_was(screen)


def test_every_size(env):
    agent = env.agent()
    image = env.send(agent)
    env.send(agent)
    screen = env.top(agent, columns=250)
    wait_for(screen, rf"{env.guest.uuid} +{image} +stream +uploading the image +\[[#.]{{28}}\]")
    for columns, rows in ((120, 30), (80, 24), (60, 10), (40, 5), (20, 4), (9, 3), (1, 1), (300, 50)):
        before = len(screen.text())
        screen.resize(columns, rows)
        tap.wait_for("new frames", lambda: screen.text()[before:].count("\x1b[J") > 1, 20)
        assert fits(screen), (columns, rows, screen.frame())
    wait_for(screen, image)
    # The column of the bar is given up before that of the phase.
    screen.resize(60, 10)
    wait_for(screen, rf"\n[^\[\n]*{image[:8]}  uploading the")


def test_a_change_of_the_size_is_drawn_at_once(env):
    agent = env.agent()
    screen = env.top(agent, "--interval", "60")
    wait_for(screen, "0 running")
    screen.resize(30, 10)
    tap.wait_for("a new frame", lambda: fits(screen), 5)


def test_novasnapd_is_killed_and_started(env):
    agent = env.agent()
    image = env.send(agent)
    screen = env.top(agent, columns=120)
    wait_for(screen, rf"{image[:8]}.*uploading")
    assert not screen.shows("restarted"), screen.frame()
    agent.kill()
    wait_for(screen, "novasnapd does not answer, trying again")
    assert not screen.shows(image[:8])
    agent.start()
    wait_for(screen, "novasnapd was restarted")
    wait_for(screen, rf"{image[:8]}.*uploading")
    assert screen.shows(rf"process {agent.process.pid}\b")
    agent.command("cancel", image)


def test_it_waits_for_the_first_start(env):
    agent = env.stopped_agent()
    screen = env.top(agent)
    wait_for(screen, "does not answer")
    env.enter(agent)
    wait_for(screen, "0 running")
    assert not screen.shows("restarted")


def test_a_novasnapd_that_hangs(env):
    agent = env.agent()
    screen = env.top(agent)
    wait_for(screen, "0 running")
    os.kill(agent.process.pid, signal.SIGSTOP)
    try:
        wait_for(screen, r"novasnapd has not answered for \d s")
        screen.type("q")
        assert screen.wait(3) == 0
        as_it_was(screen)
    finally:
        os.kill(agent.process.pid, signal.SIGCONT)


def test_signals_give_the_terminal_back(env):
    agent = env.agent()
    for end in (lambda screen: screen.type("\x03"), lambda screen: os.kill(screen.process.pid, signal.SIGTERM)):
        screen = env.top(agent)
        wait_for(screen, "0 running")
        assert screen.modes() != screen.before
        end(screen)
        assert screen.wait() == 130
        as_it_was(screen)


def test_ctrl_z(env):
    agent = env.agent()
    screen = env.top(agent)
    wait_for(screen, "0 running")
    screen.type("\x1a")
    # Without a shell the session's leader is an orphan, but SIGSTOP stops that one, too.
    tap.wait_for("stop", lambda: open(f"/proc/{screen.process.pid}/stat").read().split(") ")[1][0] == "T", 10)
    as_it_was(screen)
    os.kill(screen.process.pid, signal.SIGCONT)
    tap.wait_for("a frame", lambda: screen.text().split(GIVEN_BACK)[-1].count("\x1b[J") > 0, 10)
    assert screen.modes() != screen.before
    screen.type("q")
    assert screen.wait() == 0
    as_it_was(screen)


def test_colors_and_terminals_without_a_cursor(env):
    agent = env.agent()
    plain = env.top(agent, env={"NO_COLOR": "1"})
    wait_for(plain, "0 running")
    assert not COLOR.search(plain.text())
    dumb = env.top(agent, env={"TERM": "dumb"})
    tap.wait_for("text", lambda: dumb.text().count("0 running") > 1, 20)
    assert "\x1b" not in dumb.text()


def test_no_terminal(env):
    agent = env.agent()
    image = env.send(agent)
    tap.wait_for("upload", lambda: "bytes to upload" in agent.text(), 30)
    done = env.plain(agent, "--once")
    assert done.returncode == 0 and "\x1b" not in done.stdout, done
    row = next(line for line in done.stdout.split("\n") if image in line)
    assert env.guest.uuid in row and "uploading the image" in row and "MiB/s" in row, row
    begin = time.monotonic()
    with subprocess.Popen([os.path.join(agent.programs, "novasnap"), *agent.files, "top", "--interval", "0.3"],
                          stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(30)]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert time.monotonic() - begin < 20 and "\x1b" not in "".join(lines)
    assert sum("1 running" in line for line in lines) >= 3, lines
    agent.command("cancel", image)


def test_json(env):
    agent = env.agent()
    images = {env.send(agent), env.send(agent)}
    tap.wait_for("upload", lambda: "bytes to upload" in agent.text(), 30)
    once = env.plain(agent, "--once", "--json")
    status = json.loads(once.stdout)
    assert once.returncode == 0 and once.stdout.count("\n") == 1, once
    assert status["answers"] and not status["restarted"] and status["host"] == agent.host, status
    assert abs(status["time"] - time.time()) < 10 and status["ready"] and status["mode"] == "exclusive", status
    [job], [waiting] = status["jobs"], status["waiting_jobs"]
    assert {job["image"], waiting["image"]} == images and status["waiting"] == 1, status
    assert job["stage"] == "running" and job["snapshot_method"] == "stream" and not job["resumed"], job
    assert 0.5 * MIB <= job["bytes_per_second"] <= 1.5 * MIB and 0 < job["seconds_left"] < 80, job
    assert job["job"] < waiting["job"] and waiting["stage"] == "waiting" and job["seconds"] > 0, status
    documented(status, job, waiting)
    with subprocess.Popen([os.path.join(agent.programs, "novasnap"), *agent.files, "top", "--interval", "0.2", "--json"],
                          stdout=subprocess.PIPE, text=True) as process:
        assert all(json.loads(process.stdout.readline())["answers"] for _ in range(5))
        agent.stop()
        problem = next(line for line in map(json.loads, process.stdout) if not line["answers"])
        assert problem["problem"], problem
        agent.start()
        again = next(line for line in map(json.loads, process.stdout) if line["answers"])
        assert again["restarted"], again
        process.terminate()
        assert process.wait(20) == 130
    for image in images:
        agent.command("cancel", image)


def test_once_without_novasnapd(env):
    agent = env.stopped_agent()
    done = env.plain(agent, "--once")
    assert done.returncode == 1 and not done.stdout and "novasnapd does not answer" in done.stderr, done
    done = env.plain(agent, "--once", "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["answers"] is False, done


def test_beside_nova_compute(env):
    agent = env.start_beside_agent(sections={"images": env.own_images()})
    screen = env.top(agent, columns=120)
    wait_for(screen, r"broker connected; mode beside \(enabled, takes its methods\), \d+ forwarded, \d+ taken")


def test_jobs_as_a_table(env):
    agent = env.agent()
    image = env.send(agent)
    tap.wait_for("upload", lambda: "bytes to upload" in agent.text(), 30)
    argv = [os.path.join(agent.programs, "novasnap"), *agent.files, "jobs"]
    for columns in (200, 100, 80, 40, 12):
        screen = env.enter(Screen(argv, columns=columns))
        assert screen.wait() == 0
        titles, row = lines_of(screen.text())[:2]
        assert max(len(titles), len(row)) <= columns, (columns, titles, row)
        assert titles.split()[0] == "JOB" and row.split()[0] == "1", (titles, row)
        assert columns < 40 or "STATE" in titles and " open " in f"{row} ", (columns, titles, row)
        assert columns < 80 or image[:8] in row and env.guest.uuid[:8] in row and "uploading" in row, (columns, row)
        assert (image in row) == (columns >= 150), (columns, row)
        assert "\x1b[33mopen" in screen.text()
    line = agent.command("jobs").stdout
    assert image in line and "\x1b" not in line and "JOB" not in line, line
    agent.command("cancel", image)


def test_bars_fit_the_terminal(env):
    """Each upload has a bar of its own, which a line above does not end."""
    agent = env.agent()
    screen = env.enter(Screen([os.path.join(agent.programs, "novasnap"), *agent.files, "watch"], columns=44))
    time.sleep(1)  # it says nothing when it listens
    image = env.send(agent)
    tap.wait_for("bar", lambda: re.search(rf"{image[:8]} .*\[#+\.+\]", screen.text()), 30)
    bars = [line for line in lines_of(screen.text()) if "[#" in line]
    assert bars and all(len(line) <= 44 and " MiB" in line for line in bars), bars
    screen.resize(90, 24)
    tap.wait_for("a longer bar", lambda: re.search(r"\[[#.]{28}\].* \d+ s left\r\n", COLOR.sub("", screen.text())), 30)
    agent.command("cancel", image)
    tap.wait_for("failure", lambda: f"{image[:8]} failed: it was" in COLOR.sub("", screen.text()), 20)
    screen.type("\x03")
    assert screen.wait() == 130


def test_json_of_the_other_commands(env):
    agent = env.agent(upload_bytes_per_second="0")
    sent, *events = objects_of(agent.command("send", "snapshot_instance", "--file", CAST, "--instance", env.guest.uuid,
                                             "--watch", "--timeout", "60", "--json"))
    assert sent["topic"] == f"compute.{agent.host}" and events[-1]["phase"] == "done", (sent, events)
    assert {event["image_id"] for event in events} == {sent["image"]}
    [job] = objects_of(agent.command("jobs", "--json"))
    assert job["image"] == sent["image"] and job["state"] == "done" and job["step"] is None, job
    [shown] = objects_of(agent.command("show", "--json", sent["image"]))
    assert shown["steps"] and {key: shown[key] for key in job} == job, shown
    documented(*shown["steps"])
    message = json.loads(agent.command("show", "--message", "--json", str(job["job"])).stdout)
    assert message["args"]["image_id"] == sent["image"], message
    [none] = objects_of(agent.command("cancel", "--json", sent["image"], check=False), 1)
    assert none["cancelled"] == 0 and none["host"] == agent.host, none
    first, *events = objects_of(agent.command("snapshot", "--json", env.guest.name, "--to", env.own_images()))
    assert events[-1]["phase"] == "done" and events[-1]["image_id"] == first["image"], events


def test_replay_from_the_journal(env):
    agent = env.agent(upload_bytes_per_second="0")
    first = agent.snapshot(env.guest.uuid)[0]
    image = json.loads(agent.command("show", "--json", first).stdout)["job"]
    queued = env.queued_image(agent)
    recording = env.folder.file("recording.jsonl")
    argv = [os.path.join(agent.programs, "novasnap"), *agent.files, "record", "--json", "--count", "1", recording]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as recorder:
        assert "recording messages" in recorder.stderr.readline()
        [cast] = objects_of(agent.command("replay", "--json", "--job", str(image), "--image", queued))
        [recorded] = [json.loads(line) for line in recorder.stdout]
        assert recorder.wait(20) == 0
    documented(recorded)
    assert cast == {"method": "snapshot_instance", "image": queued, "topic": f"compute.{agent.host}"}, cast
    assert recorded == {"recorded": 1, "method": "snapshot_instance"}, recorded
    tap.wait_for("end", lambda: agent.has_ended(queued), 60)
    assert json.loads(agent.command("show", "--json", queued).stdout)["state"] == "done", agent.text()
    # An image of the journal, and in this process.
    queued = env.queued_image(agent)
    agent.stop()
    cast, *events = objects_of(agent.command("replay", "--local", "--json", "--job", first, "--image", queued))
    assert cast["topic"] is None and events[-1]["phase"] == "done" and events[-1]["image_id"] == queued, events
    done = agent.command("replay", "--job", "99", check=False)
    assert done.returncode == 1 and "has no job, image or instance 99" in done.stderr, done


def test_beside_in_json(env):
    agent = env.start_beside_agent(sections={"images": env.own_images()})
    done = agent.command("beside", "--guard", "--json")
    assert objects_of(done)[0] == {"result": "done", "stage": "enabled", "given_back": False,
                                   "line_in_configuration": False}, done
    done = agent.command("beside", "--disable", "--wait", "0", "--json", check=False)
    [result] = objects_of(done, 3)
    assert result["result"] == "pending" and done.stderr, done


if __name__ == "__main__":
    tap.main(Top)
