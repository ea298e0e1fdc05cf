# SPDX-License-Identifier: Apache-2.0
"""How a model runs: in which precision, as plain calls or as one captured graph, and what follows it in a thread."""

from __future__ import annotations

from typing import Any

from longtake.engine.ahead import Ahead
from longtake.engine.captured import CapturedEngine
from longtake.engine.outbox import Outbox
from longtake.engine.packed import pack, packed
from longtake.engine.plain import Engine, PlainEngine
from longtake.engine.precision import PRECISIONS, narrow, precision_of, running
from longtake.engine.tuned import ATTENTION, Tuning, tune, tuning_of
from longtake.errors import CapabilityError

__all__ = [
    "ATTENTION",
    "PRECISIONS",
    "Ahead",
    "CapturedEngine",
    "Engine",
    "Outbox",
    "PlainEngine",
    "Tuning",
    "choose_engine",
    "narrow",
    "pack",
    "packed",
    "precision_of",
    "running",
    "tune",
    "tuning_of",
]


def choose_engine(model: Any, writer: Any, n: int, *, graphs: bool = False) -> Engine:
    """The engine for n streams of a model: plain calls, or with `graphs` one captured graph a picture size.

    Raises CapabilityError where a graph cannot be captured; nothing falls back in silence.
    """
    if graphs and (reason := CapturedEngine.refusal(model)):
        raise CapabilityError(f"graphs=True: {reason}. Leave it out: plain calls give the same results.")
    return CapturedEngine(model, writer, n) if graphs else PlainEngine(model, writer, n)
