# SPDX-License-Identifier: Apache-2.0
"""`longtake replay`: run a take again from its manifest, and say whether it is the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTIONS = (
    "reset_every",
    "reset_when",
    "join",
    "loop_closure",
    "refine",
    "window",
    "budget",
    "camera",
    "revise",
    "intrinsics",
    "lens",
    "size",
    "stride",
    "fps",
    "start",
    "end",
    "max_frames",
)
RETOLD = ("manifest.json", "report.html", "report.png")  # hold times of day and speeds, which are never the same


def main(
    take: Annotated[Positional[Path], arg(metavar="TAKE")],
    *,
    out: Path | None = None,
    source: Path | None = None,
    weights: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> int:
    """Run a take again as its manifest says: the same model, weights, rule, seed, options and source.

    On the CPU and the same versions, every file is the same, bit for bit. Ends with 1 where one is not.

    Args:
        take: A folder that `longtake reconstruct` wrote.
        out: Folder for the new take; by default beside the old one, with _replay at the end.
        source: Where the source is now, if not where it was.
        weights: Weight file, for models whose weights are not in the package.
        device: Another device than that of the take; then the files may differ in their last digits.
        quiet: Print only what differs.
    """
    import numpy as np

    from longtake.errors import InputError
    from longtake.geometry.lens import Lens
    from longtake.outputs.manifest import read_manifest, sha256_of
    from longtake.outputs.take import read_take
    from longtake.registry import load
    from longtake.scene import reconstruct

    old = read_manifest(take / "manifest.json")
    if old is None:
        raise InputError(f"{take}: no manifest of Longtake is here. Give the folder that `longtake reconstruct` wrote.")
    options = {key: old["options"].get(key) for key in OPTIONS}
    options["stride"] = options["stride"] or 1
    options["camera"] = options["camera"] or "head"
    options |= {key: bool(options[key]) for key in ("loop_closure", "refine", "revise")}
    options["join"] = options["join"] or "exact"
    if options["intrinsics"] is not None:
        options["intrinsics"] = np.array(options["intrinsics"], np.float64)
    if isinstance(options["lens"], dict):
        options["lens"] = Lens.from_dict(options["lens"])
    if old["options"].get("timestamps"):  # the take holds the times of its frames, and which these were
        options |= {"timestamps": {frame.index: frame.time for frame in read_take(take).frames}}
        options |= {"stride": 1, "fps": None, "start": None, "end": None}
    if old["status"] not in ("complete", "complete, with notes"):
        options["max_frames"] = old["frames"]  # as far as it came
    if not old.get("frames"):
        raise InputError(f"{take}: the take has no frames (status: {old['status']}): there is nothing to replay.")
    path = source or find_source(old)
    note = old["source"]
    if note.get("sha256") and (not path.is_file() or sha256_of(path) != note["sha256"]):
        raise InputError(
            f"{path}: not the file that {take} was made from (its SHA-256 differs). Name it with --source."
        )
    precision = old["options"].get("precision") or "float32"
    model = load(old["model"], weights, device=device or old["device"], size=options.pop("size"), precision=precision)
    if model.weights_sha256 != old["weights"]["sha256"]:
        raise InputError(
            f"the weights are not those of {take} (SHA-256 {model.weights_sha256[:12]}, wanted "
            f"{str(old['weights']['sha256'])[:12]}). Name them with --weights."
        )
    target = out or take.resolve().with_name(take.resolve().name + "_replay")
    if target.resolve() == take.resolve():
        raise InputError(f"{target}: this is the take itself; give another folder.")
    reconstruct(path, model=model, rule=old["rule"], seed=old["seed"] or 0, out=target, report=False, **options)
    new = read_manifest(target / "manifest.json") or {}
    differ = differing(old["files"], new.get("files", {}))
    compared = len([name for name in old["files"] if name not in RETOLD])
    if differ:
        print(f"{len(differ)} of {compared} files differ: {', '.join(differ[:5])}{', ...' if len(differ) > 5 else ''}")
        changed = [key for key, value in old["versions"].items() if new.get("versions", {}).get(key) != value]
        if changed or device:
            print(f"not the same as then: {', '.join([*changed, *(['device'] if device else [])])}")
    elif not quiet:
        print(f"{target}: all {compared} files are the same, bit for bit")
    return int(bool(differ))


def find_source(manifest: Mapping[str, Any]) -> Path:
    """Return where the source of a take probably is. Raises InputError."""
    from longtake.errors import InputError

    name = str(manifest["source"]["name"])
    words = [word for word in manifest.get("command", []) if Path(word).name == Path(name).name]
    for place in (*words, name):
        if Path(place).exists():
            return Path(place)
    raise InputError(
        f"{name}, the source of the take, is not here. Name it with --source; live sources cannot be replayed."
    )


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the names of the files that are not the same in both, but for those that tell times and speeds."""
    return sorted(name for name in {*old, *new} - set(RETOLD) if old.get(name) != new.get(name))
