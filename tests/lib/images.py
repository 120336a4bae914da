# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is in an image: whether it is a guest's disk, whether its filesystem is clean, and whether all of it is of one
moment, which the numbered blocks of tests/guest/writer.c show."""
import os
import struct
import subprocess
import tempfile

MIB = 1 << 20
WRITTEN = 16 * MIB  # the head of the disk, where the guest may write
BLOCK, BLOCKS = 4096, 1024


def qemu_img(*args):
    return subprocess.run(["qemu-img", *args], check=True, capture_output=True, text=True,
                          timeout=300).stdout


def same_content(one, one_format, other, other_format, offset=0):
    """Returns whether two images hold the same bytes, from an offset on."""
    if not offset:
        done = subprocess.run(["qemu-img", "compare", "-U", "-f", one_format, "-F", other_format,
                               one, other], capture_output=True, text=True, timeout=300)
        if done.returncode > 1:
            raise RuntimeError(done.stderr)
        return done.returncode == 0
    raws = [one + ".one", one + ".other"]
    try:
        for path, image_format, raw in ((one, one_format, raws[0]), (other, other_format, raws[1])):
            qemu_img("convert", "-U", "-f", image_format, "-O", "raw", path, raw)
        return subprocess.run(["cmp", "-s", "-i", str(offset), *raws], timeout=300).returncode == 0
    finally:
        for raw in raws:
            if os.path.exists(raw):
                os.remove(raw)


def run_e2fs(program, *args, allowed=(0,)):
    """Runs a program of e2fsprogs, which may not be on the path of a user other than root."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run([program, *args], env={**os.environ, "PATH": path, "LC_ALL": "C"},
                          capture_output=True, text=True, timeout=300)
    if done.returncode not in allowed:
        raise RuntimeError(f"{program} {' '.join(args)}: {done.returncode}: "
                           f"{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done


def filesystem_state(image, image_format):
    """Returns whether the journal of the ext4 that fills an image needs to be replayed, and whether the ext4 is clean
    afterwards. The image is not changed."""
    with tempfile.TemporaryDirectory(prefix="filesystem-", dir=os.path.dirname(image)) as folder:
        raw = os.path.join(folder, "raw")
        qemu_img("convert", "-U", "-f", image_format, "-O", "raw", image, raw)
        features = [line for line in run_e2fs("dumpe2fs", "-h", raw).stdout.splitlines()
                    if line.startswith("Filesystem features:")]
        needs_replay = "needs_recovery" in features[0].split()
        # Without -f, what a mount does: it replays the journal and frees orphaned inodes. With -f it would
        # also mend what is broken, and a bad copy would be clean afterwards.
        mounted = run_e2fs("e2fsck", "-p", raw, allowed=range(16))
        checked = run_e2fs("e2fsck", "-fn", raw, allowed=range(16))
        return needs_replay, ": clean, " in mounted.stdout and checked.returncode == 0


def rounds_in(path, image_format):
    """Returns the round in which each numbered block of an image was written; 0: never."""
    raw = path + ".head"
    subprocess.run(["qemu-img", "dd", "-f", image_format, "-O", "raw", f"bs={BLOCK}",
                    f"count={BLOCKS}", f"if={path}", f"of={raw}"], check=True,
                   capture_output=True, timeout=120)
    found = []
    with open(raw, "rb") as file:
        for index in range(BLOCKS):
            magic, number, at = struct.unpack("<8sQQ", file.read(BLOCK)[:24])
            assert number == 0 or (magic == b"NUMBERED" and at == index), f"block {index} is torn"
            found.append(number)
    os.remove(raw)
    return found


def is_one_instant(rounds):
    """Returns whether the image is of one moment: the rounds decrease at most once, by one."""
    edges = [(a, b) for a, b in zip(rounds, rounds[1:]) if a != b]
    return not edges or (len(edges) == 1 and edges[0][0] == edges[0][1] + 1)
