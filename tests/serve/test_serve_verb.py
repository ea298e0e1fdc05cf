# SPDX-License-Identifier: Apache-2.0
"""`longtake serve` as it is typed: what it prints, that it serves, and that Ctrl-C ends it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from service_maker import picture

from longtake import cli
from longtake.serve.client import Client


def test_it_prints_where_it_is_and_ctrl_c_keeps_the_takes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "longtake", "serve", "--port", "0", "--clients", "1", "--device", "cpu"]
    with ExitStack() as stack:
        # A shell's background jobs ignore interrupts, and so would their children.
        stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        process = stack.enter_context(
            subprocess.Popen(
                [*command, "--states", str(tmp_path / "kept")],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)  # whatever fails: nothing waits for a server that goes on
        assert process.stdout and process.stderr
        token = process.stdout.readline().removeprefix("token:").strip()
        page = process.stdout.readline()
        assert (found := re.search(r"(http://127\.0\.0\.1:\d+)/#token=(\S+)", page))
        assert found[2] == token and len(token) >= 20
        with Client(found[1], token, want=("depth",)) as client:
            answer = client.step(picture(0, 96, 144))
            assert answer.depth is not None and np.isfinite(answer.depth).all()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED and "Traceback" not in errors
    assert len(list((tmp_path / "kept").glob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--clients", "0"], "--clients 0"),
        (["--token", "short"], "can be guessed"),
        (["--max-megapixels", "0"], "max_megapixels"),
        (["--model", "cut3r-512"], "weights"),
        (["--rule", "magic"], "magic"),
        (["--certificate", "a.pem"], "both"),
    ],
)
def test_what_cannot_be_served_is_said(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--port", "0", *flags]) == 2
    assert words in capsys.readouterr().err
