# SPDX-License-Identifier: Apache-2.0
"""The code blocks of the README and of docs/, what their markers say, and the folder that they run in.

A marker is an HTML comment above a block, which no reader sees:

    <!-- not run: WHY -->                   nothing of the block is run; names and flags are checked all the same
    <!-- not run `longtake live`: WHY -->   lines that begin so are not run, the others are
    <!-- slow: WHY -->                      run among the slow tests

A block without a marker is run. Words of another kind above a block are an error, so a slip does not hide one.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<marks>(?:<!--[^\n]*-->\n)*)```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
MARK = re.compile(r"<!-- (?:(?P<slow>slow)|not run(?: `(?P<start>[^`]+)`)?): (?P<why>\S.*?) -->")

# Pages whose commands are records of long runs. Their Python runs; of their commands, names and flags are checked.
RECORDS = {
    "training.md": "trainings of minutes to hours, most of them on a GPU; tests/training runs the loop",
    "performance.md": "measurements of minutes, most of them on a GPU; two of the programs have small tests",
    "results.md": "the whole yardstick, an hour; tests/evaluation runs it small",
}


@dataclass(frozen=True, slots=True)
class Skip:
    """Lines that are not run, and why."""

    start: str  # how they begin; "": all
    why: str


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int  # of its fence, from 1
    language: str
    text: str
    skips: tuple[Skip, ...]
    slow: str  # why it is slow, or ""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def whole(self) -> Skip | None:
        """The marker that keeps the whole block from being run, if there is one."""
        return next((skip for skip in self.skips if not skip.start), None)

    @property
    def lines(self) -> list[str]:
        """The commands of a shell block, comments and continuations resolved."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]

    def why_not(self, line: str) -> str | None:
        """Why a command is not run, or None if it is."""
        return next((skip.why for skip in self.skips if line.startswith(skip.start)), None)


def blocks_of(page: Path) -> list[Block]:
    """Read a page's blocks. Raises ValueError for a marker of an unknown kind and for a fence in another form."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        marks = [_mark(page, line) for line in match["marks"].splitlines()]
        skips = [Skip(mark["start"] or "", mark["why"]) for mark in marks if not mark["slow"]]
        slow = next((mark["why"] for mark in marks if mark["slow"]), "")
        if page.name in RECORDS and match["language"] == "bash":
            skips.append(Skip("", RECORDS[page.name]))
        line = text[: match.start("language")].count("\n") + 1
        found.append(Block(page, line, match["language"], match["text"], tuple(skips), slow))
    if text.count("```") != 2 * len(found):
        raise ValueError(f"{page.name}: a fence that is not ```LANGUAGE at the beginning of a line would go unchecked")
    return found


def _mark(page: Path, line: str) -> re.Match[str]:
    match = MARK.fullmatch(line)
    if not match:
        raise ValueError(f"{page.name}: {line!r} stands above a block and is no marker; see tests/doc_blocks.py")
    return match


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def make_clip(path: Path, frames: int = 4) -> None:
    """Write a short video of moving texture."""
    import av

    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (96, 192, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for shift in range(frames):
            picture = np.ascontiguousarray(texture[:, 4 * shift : 4 * shift + 128])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def make_workshop(folder: Path) -> Path:
    """Make what the commands of the pages name, each as small as can be; return the folder to run them in.

    Beside it lies `shared/data`, as beside a checkout: the same layouts with takes of a few frames.
    """
    import longtake
    from longtake import cli

    shop, data = folder / "longtake", folder / "shared" / "data"
    (shop / "frames").mkdir(parents=True)
    (shop / "examples").mkdir()
    make_clip(shop / "clip.mp4")
    shutil.copy(shop / "clip.mp4", shop / "examples" / "office_walk.mp4")
    from PIL import Image

    for frame in longtake.video(shop / "clip.mp4"):
        Image.fromarray(frame.image).save(shop / "frames" / f"{frame.index:03}.png")
    shutil.copy(shop / "frames" / "002.png", shop / "photo.jpg")
    (shop / "photos").mkdir()
    for number in range(2):
        tags = Image.Exif()
        tags.get_ifd(0x8769)[0xA405] = 26  # FocalLengthIn35mmFilm
        with Image.open(shop / "frames" / f"00{number}.png") as picture:
            picture.save(shop / "photos" / f"{number}.jpg", exif=tags)
    (shop / "rgb.txt").write_text("".join(f"{0.1 * n:.6f} {n:03}.png\n" for n in range(4)))
    (shop / "cameras.txt").write_text("1 PINHOLE 128 96 100 100 64 48\n")
    for name in ("office_walk", "live"):
        longtake.reconstruct(shop / "clip.mp4", out=shop / "out" / name, report=False)
    shutil.copy(shop / "out" / "office_walk" / "trajectory.txt", shop / "truth.txt")
    for made, layout in ((folder / "made", "rgbd"), (shop / "FOLDER", "tum")):
        small = ["--takes", "1", "--frames", "3", "--size", "64", "48", "--layout", layout]
        assert cli.main(["data", "synthesize", str(made), *small]) == 0
    (take,) = (path for path in (folder / "made").iterdir() if path.is_dir())
    for where in (data / "office_walk", data / "heldout_v1" / "short_00", shop / "takes" / "a"):
        shutil.copytree(take, where)
    return shop
