# SPDX-License-Identifier: Apache-2.0
"""A training run as plain values: in a file, for a process of its own, and with single numbers changed by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from longtake.catalog import find
from longtake.errors import InputError, OutputError
from longtake.synthetic.config import WorldConfig
from longtake.training.loop import TrainConfig
from longtake.training.losses import LossWeights
from longtake.training.schedule import Stage

PATHS = ("out", "resume")


def write_job(path: Path, config: TrainConfig, model: str, model_config: Any) -> None:
    """Write a run, and the model by a name of the table that has its kind. Raises OutputError."""
    values = {"model": model, "model_config": model_config.to_dict(), "train": asdict(config)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values, default=str, indent=1), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}. Give --out a folder that can be written to.") from error


def read_job(path: Path) -> tuple[TrainConfig, Any]:
    """What `write_job` wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    told = _tuples(values["train"])
    told |= {name: Path(told[name]) for name in PATHS if told[name] is not None}
    told["stages"] = tuple(Stage(**stage) for stage in told["stages"])
    told |= {"world": WorldConfig(**told["world"]), "weights": LossWeights(**told["weights"])}
    return TrainConfig(**told), type(find(values["model"]).config).from_dict(values["model_config"])


def changed(config: TrainConfig, changes: Iterable[str]) -> TrainConfig:
    """Change numbers by NAME=VALUE, such as minutes=26, out=runs/v4, world.mesh_share=0.2, compiled=true.

    Values are JSON, or words. Raises InputError for a name or a kind of value that the run does not have.
    """
    for change in changes:
        name, equals, word = change.partition("=")
        if not equals:
            raise InputError(f"{change}: wanted NAME=VALUE, such as minutes=26 or world.mesh_share=0.2.")
        config = _put(config, name.split("."), _value(word), change)
    return config


def _put(holder: Any, way: list[str], value: Any, change: str) -> Any:
    names = [field.name for field in fields(holder)]
    if way[0] not in names:
        raise InputError(f"{change}: there is no {way[0]}; there are {', '.join(names)}.")
    old = getattr(holder, way[0])
    if len(way) > 1 and is_dataclass(old):
        return replace(holder, **{way[0]: _put(old, way[1:], value, change)})
    if way[0] in PATHS and value is not None:
        value = Path(str(value))
    elif isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    optional = old is None or (value is None and way[0] in ("resume", "max_steps"))
    if len(way) > 1 or not (optional or (type(value) is type(old) and way[0] != "stages")):
        raise InputError(f"{change}: {'.'.join(way)} is {old!r} by default; give a value of that kind.")
    return replace(holder, **{way[0]: value})


def _value(word: str) -> Any:
    try:
        return _tuples(json.loads(word))
    except json.JSONDecodeError:
        return word


def _tuples(value: Any) -> Any:
    """Lists of JSON as the tuples they were."""
    if isinstance(value, Mapping):
        return {name: _tuples(each) for name, each in value.items()}
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
