# SPDX-License-Identifier: Apache-2.0
"""What a running take says of itself: the same facts on a terminal and in plain lines, none where none is wanted."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from clips import write_clip
from rich.console import Console

from longtake import cli
from longtake.doctor import Check
from longtake.scene import Progress
from longtake.verbs import doctor
from longtake.verbs._live import LiveLine, Pace, clock, describe


def progress(frames: int, seconds: float, expected: int | None = 100, tracking: str = "ok") -> Progress:
    return Progress(frames, expected, seconds, 4000 * frames, 209_000, tracking, 408_000_000)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")]
)
def test_time_is_short(seconds: float, words: str) -> None:
    assert clock(seconds) == words


def test_the_rate_is_of_late_and_tells_what_is_left() -> None:
    pace = Pace()
    for i in range(1, 41):
        pace.see(progress(i, i / 4))  # ten seconds at four a second
    assert pace.rate == pytest.approx(4) and pace.left(progress(40, 10)) == pytest.approx(15)
    for i in range(41, 81):
        pace.see(progress(i, 10 + (i - 40)))  # then one a second
    assert pace.rate == pytest.approx(1) and pace.left(progress(80, 50)) == pytest.approx(20)
    assert pace.left(progress(80, 50, None)) is None and pace.left(progress(120, 50)) == 0


def test_both_ways_of_telling_have_every_fact() -> None:
    for forced in (True, False):
        told = io.StringIO()
        with LiveLine(Console(file=told, force_terminal=forced, width=100)) as line:
            for i in range(1, 51):
                line(progress(i, i / 5, tracking="weak"))
            if forced:
                line._live.refresh()
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told.getvalue())
        for words in ("tracking weak", "memory 408.0 MB", "state 209.0 kB", "points"):
            assert words in text, (forced, words)
        assert ("50 of 100 frames" in text and "0:10 left" in text) == forced
    assert describe(progress(1, 0.2), Pace()).startswith("1/100 frames  ")


def test_plain_lines_quiet_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reconstruct", str(write_clip(tmp_path / "a.mp4", 3)), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["frames"] == 3
    assert told.err.startswith("1/3 frames") and "memory" in told.err and "\x1b[" not in told.err
    assert cli.main([*words, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_real_terminal_gets_lines_that_change(tmp_path: Path) -> None:
    clip, code = (
        write_clip(tmp_path / "a.mp4", 3),
        "import sys; from longtake import cli; sys.exit(cli.main(sys.argv[1:]))",
    )
    words = ["reconstruct", str(clip), "--device", "cpu", "--out", str(tmp_path / "out")]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    told = b""
    with contextlib.suppress(OSError):  # which is how Linux says that the other end is closed
        while piece := os.read(ours, 4096):
            told += piece
    os.close(ours)
    out, _ = process.communicate()
    assert process.returncode == 0 and out.startswith(b"3 frames in")
    assert b"\x1b[" in told and b"tracking" in told


def test_doctor_on_a_terminal_says_what_to_type_and_what_is_broken() -> None:
    for status, words in (("missing", "can be added"), ("broken", "must be mended")):
        told = io.StringIO()
        checks = [
            Check("disk", "in [/old] there", "ok"),  # may look like markup, and is none
            Check("[view]", "viser is not there", status, "pip install 'a[view]'"),
        ]
        doctor._print(checks, Console(file=told, force_terminal=True, width=100))
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told.getvalue())
        assert "in [/old] there" in text and "[view]" in text and "pip install 'a[view]'" in text and words in text
