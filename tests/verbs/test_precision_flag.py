# SPDX-License-Identifier: Apache-2.0
"""`--precision` reaches the model of every verb that loads one, and what ran is named in what they leave."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
from clips import write_clip
from model_files import our_file

from longtake import cli
from longtake.engine import PRECISIONS

LOADING = ("reconstruct", "live", "compare", "evaluate", "serve")


@pytest.mark.parametrize("verb", LOADING)
def test_every_verb_that_loads_a_model_has_the_choice(verb: str) -> None:
    flag = inspect.signature(import_module(f"longtake.verbs.{verb}").main, eval_str=True).parameters["precision"]
    assert flag.annotation.__args__ == tuple(PRECISIONS) and flag.default == "float32"


def test_localize_takes_that_of_the_state_by_default() -> None:
    from longtake.verbs.localize import main

    flag = inspect.signature(main, eval_str=True).parameters["precision"]
    assert get_args(get_args(flag.annotation)[0]) == tuple(PRECISIONS) and flag.default is None


def test_what_ran_is_in_json_manifest_state_and_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, weights = write_clip(tmp_path / "walk.mp4", 4), our_file(tmp_path / "tiny.safetensors")
    told = {}
    for precision in PRECISIONS:
        out, state = tmp_path / precision, tmp_path / f"{precision}.safetensors"
        words = [str(clip), "--weights", str(weights), "--out", str(out), "--device", "cpu", "--json", "--quiet"]
        assert cli.main(["reconstruct", *words, "--precision", precision, "--state", str(state)]) == 0
        told[precision] = json.loads(capsys.readouterr().out)
        manifest = json.loads((out / "manifest.json").read_text())
        assert told[precision]["precision"] == manifest["options"]["precision"] == precision
        assert cli.main(["replay", str(out), "--source", str(clip), "--weights", str(weights), "--quiet"]) == 0
        again = json.loads((out.with_name(f"{precision}_replay") / "manifest.json").read_text())
        assert again["options"]["precision"] == precision
        photo = [str(state), str(out / "images"), "--weights", str(weights), "--device", "cpu", "--json"]
        said = {}
        for asked in ([], *(["--precision", name] for name in PRECISIONS)):
            assert cli.main(["localize", *photo, *asked]) == 0
            said[asked[-1] if asked else None] = json.loads(capsys.readouterr().out)
        assert said[None] == said[precision] and len(said[None]) == 4
        assert said["float32"] != said["bf16"], "bf16 was asked for and rounds"
    clouds = [(tmp_path / precision / "cloud.ply").read_bytes() for precision in PRECISIONS]
    assert clouds[0] != clouds[1], "bf16 was asked for and rounds"


def test_compare_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_clip(tmp_path / "walk.mp4", 3)
    weights = our_file(tmp_path / "tiny.safetensors")
    words = [str(clip), "--models", f"longtake-small={weights}", "--rules", "ttt3r", "--out", str(tmp_path / "out")]
    assert cli.main(["compare", *words, "--device", "cpu", "--precision", "bf16"]) == 0
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["settings"]["precision"] == "bf16"


def test_the_untrained_twin_is_as_narrow_as_its_model(tmp_path: Path) -> None:
    import longtake
    from longtake.evaluation.nets import Net, untrained_twin

    model = longtake.load("longtake-small", our_file(tmp_path / "t.safetensors"), device="cpu", precision="bf16")
    net = Net.of(model)
    twin = untrained_twin(net)
    assert twin.settings()["precision"] == net.settings()["precision"] == "bf16"
    kinds = [{name: p.dtype for name, p in each.module.named_parameters()} for each in (net, twin)]
    assert kinds[0] == kinds[1]
