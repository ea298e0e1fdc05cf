# SPDX-License-Identifier: Apache-2.0
"""localize, replay, completion and view, from the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from clips import picture, write_clip
from model_files import our_file
from PIL import Image

import longtake
from longtake import cli
from longtake.outputs.manifest import read_manifest
from longtake.verbs.completion import verb_flags


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return our_file(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "walk.mp4", 8)


@pytest.fixture(scope="module")
def take(weights: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("take") / "walk"
    words = ["reconstruct", str(clip), "--out", str(out), "--weights", str(weights), "--device", "cpu", "--quiet"]
    more = ["--reset-every", "5", "--max-frames", "7", "--stride", "1", "--state", str(out.with_suffix(".safetensors"))]
    assert cli.main([*words, *more]) == 0
    return out


def test_a_photo_is_found_by_reading_the_memory_and_not_writing_it(
    take: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = take.with_suffix(".safetensors")
    for i in (2, 5):
        Image.fromarray(picture(i)).save(tmp_path / f"photo{i}.png")
    words = ["localize", str(state), *(str(tmp_path / f"photo{i}.png") for i in (2, 5, 2)), "--weights", str(weights)]
    before = state.read_bytes()
    assert cli.main([*words, "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [Path(each["name"]).name for each in found] == ["photo2.png", "photo5.png", "photo2.png"]
    assert found[0] == found[2], "the photo in between was written into the memory"
    assert state.read_bytes() == before
    stream = longtake.load("longtake-small", weights, device="cpu").resume(state)
    assert isinstance(stream, longtake.stream.Stream)  # pyright: ignore[reportAttributeAccessIssue]
    wanted = stream.step(picture(5), update=False)
    np.testing.assert_allclose(found[1]["world_from_cam"], wanted.world_from_cam.numpy(), atol=1e-6)
    assert found[1]["confidence"] == pytest.approx(float(wanted.confidence.median()))
    assert cli.main([*words, "--device", "cpu"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.parametrize(("words", "said"), [([], "no photo is given"), (["x.png"], "no such file")])
def test_what_cannot_be_localized_is_named(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["localize", "nowhere.safetensors", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_replay_is_the_same_bit_for_bit(
    take: Path, weights: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["replay", str(take), "--weights", str(weights), "--source", str(clip), "--out", str(tmp_path / "again")]
    assert cli.main(words) == 0
    assert "files are the same, bit for bit" in capsys.readouterr().out
    for name in ("cloud.ply", "trajectory.txt", "cameras.json", "depth/000006.png", "confidence/000003.png"):
        assert (tmp_path / "again" / name).read_bytes() == (take / name).read_bytes()


def test_a_replay_that_differs_says_so(
    take: Path, weights: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(take, changed)
    manifest = read_manifest(take / "manifest.json")
    assert manifest
    manifest["options"]["reset_every"] = 3
    (changed / "manifest.json").write_text(json.dumps(manifest))
    words = ["replay", str(changed), "--weights", str(weights), "--source", str(clip), "--out", str(tmp_path / "again")]
    assert cli.main(words) == 1
    assert "files differ: cameras.json, cloud.ply" in capsys.readouterr().out


def test_a_replay_wants_the_same_source_and_weights(
    take: Path, weights: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other_clip = write_clip(tmp_path / "walk.mp4", 5)
    other_weights = our_file(tmp_path / "other.safetensors", seed=1)
    for source, file, said in (
        (other_clip, weights, "its SHA-256 differs"),
        (clip, other_weights, "the weights are not those"),
    ):
        words = ["replay", str(take), "--weights", str(file), "--source", str(source), "--out", str(tmp_path / "x")]
        assert cli.main(words) == 2
        assert said in capsys.readouterr().err
    assert cli.main(["replay", str(tmp_path)]) == 2
    assert "no manifest" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["longtake", "rec"], {"reconstruct"}),
        (["longtake", "export", "out", "--keep"], {"--keep-percentile"}),
        (["longtake", "export", "out", "--format", "colmap"], {"colmap", "colmap-bin"}),
        (["longtake", "reconstruct", "a.mp4", "--device", "c"], {"cpu", "cuda"}),
        (["longtake", "train", "--curriculum", "s"], {"standard", "short"}),
        (["longtake", "data", "syn"], {"synthesize"}),
    ],
)
def test_bash_completes(typed: list[str], offered: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    words = " ".join(f"'{word}'" for word in typed)
    ask = f"COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; _longtake; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    told = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    assert set(told.stdout.split()) == offered


def test_completion_knows_every_verb_and_the_values_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    from longtake.outputs.exports import FORMATS
    from longtake.registry import MODELS
    from longtake.verbs.completion import flag_values

    assert set(verb_flags()) == {verb.split()[0] for verb in cli.VERBS}
    from longtake.continuity.joining import JOINS
    from longtake.continuity.trigger import read_trigger
    from longtake.rules import rule_names

    values = flag_values()
    assert values["--rule"].split() == list(rule_names()) and values["--join"].split() == list(JOINS)
    assert all(read_trigger(words) for words in values["--reset-when"].split())
    assert values["--format"].split() == list(FORMATS) and values["--model"].split() == list(MODELS)
    assert values["--precision"].split() == ["float32", "bf16"] and values["--camera"].split() == ["head", "solve"]
    for shell in ("zsh", "fish"):
        assert cli.main(["completion", shell]) == 0
        assert "reconstruct" in capsys.readouterr().out


def test_the_viewer_wants_a_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["view", str(tmp_path)]) == 2
    assert "not a take" in capsys.readouterr().err
    assert cli.main(["view", str(tmp_path), "--max-points", "3"]) == 2
    assert "give at least" in capsys.readouterr().err
