# SPDX-License-Identifier: Apache-2.0
"""Every update rule a second time, word by word from its formula: one stream, loops, full attention maps, numpy.

Nothing here imports a rule of the library. `Moment` holds what a frame offers, `memory` is the rule's own, a dict that
the caller keeps only where the frame really wrote.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Moment:
    """One frame of one stream."""

    state: np.ndarray  # (S, E) before the frame
    proposal: np.ndarray  # (S, E)
    maps: list[np.ndarray]  # a layer's scaled logits (heads, S, 1 + N), the pose token's key first
    features: np.ndarray  # (N, D)
    grid: tuple[int, int]
    before: np.ndarray  # (1 + N, E) image tokens into the decoder
    after: np.ndarray  # (1 + N, E) out of it


Answer = tuple[list[float], np.ndarray]  # a rate per token, the directions (S, E)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def clamp(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def norm(x: np.ndarray) -> float:
    return math.sqrt(sum(float(v) ** 2 for v in x))


def dot(a: np.ndarray, b: np.ndarray) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    size = norm(a) * norm(b)
    return dot(a, b) / size if size else 0.0


def mean(values: Any) -> float:
    values = list(values)
    return sum(values) / len(values)


def logits_of(m: Moment, i: int) -> list[float]:
    return [float(v) for layer in m.maps for head in layer for v in head[i]]


def gates(m: Moment) -> list[float]:
    return [sigmoid(mean(logits_of(m, i))) for i in range(len(m.state))]


def overwrite(m: Moment, memory: dict) -> Answer:
    return [1.0] * len(m.state), m.proposal - m.state


def ttt3r(m: Moment, memory: dict) -> Answer:
    return gates(m), m.proposal - m.state


def calibrated(m: Moment, memory: dict, offset: float = -3.0) -> Answer:
    return [sigmoid(mean(logits_of(m, i)) + offset) for i in range(len(m.state))], m.proposal - m.state


def constant(m: Moment, memory: dict, rate: float = 0.15) -> Answer:
    return [rate] * len(m.state), m.proposal - m.state


def half(m: Moment, memory: dict) -> Answer:
    return [g / 2 for g in gates(m)], m.proposal - m.state


def filt3r(m: Moment, memory: dict) -> Answer:
    p0, r, qmin, qmax, a, tau, ema, floor, kmin, kmax, eps = 1.5, 1.0, 0.02, 0.5, 20, 3.0, 0.05, 0.01, 0.01, 0.99, 1e-6
    n = len(m.state)
    if "last" not in memory:
        memory |= {"last": m.proposal, "p": [p0] * n}
        return [1.0] * n, m.proposal - m.state
    d = [norm(m.proposal[i] - memory["last"][i]) for i in range(n)]
    e = (1 - ema) * memory["e"] + ema * mean(d) if "e" in memory else mean(d)
    e = max(e, floor)
    rates, variances = [], []
    for i in range(n):
        q = qmin + (qmax - qmin) * sigmoid(a * (d[i] / (e + eps) - tau))
        before = memory["p"][i] + q
        k = clamp(before / (before + r + eps), kmin, kmax)
        rates.append(k)
        variances.append((1 - k) ** 2 * before + k**2 * r)
    memory |= {"last": m.proposal, "p": variances, "e": e}
    return rates, m.proposal - m.state


def ttsa3r(m: Moment, memory: dict) -> Answer:
    n, patches = len(m.state), len(m.features)
    if "last" not in memory:
        rates = [1.0] * n
    else:
        d = [norm(m.proposal[i] - memory["last"][i]) for i in range(n)]
        same = memory["grid"] == m.grid
        new = [1 - cosine(m.features[j], memory["features"][j]) if same else 0.0 for j in range(patches)]
        rates = []
        for i in range(n):
            looks = [abs(mean(float(head[i][1 + j]) for layer in m.maps for head in layer)) for j in range(patches)]
            spatial = sigmoid(max(look * change for look, change in zip(looks, new, strict=True)))
            rates.append(sigmoid(d[i] / mean(d) - 1.5) * spatial)
    memory |= {"last": m.proposal, "features": m.features, "grid": m.grid}
    return rates, m.proposal - m.state


def ranks(values: list[float]) -> list[int]:
    return [sum(other < value for other in values) for value in values]


def entropy_of(row: np.ndarray) -> float:
    top = max(float(v) for v in row)
    weights = [math.exp(float(v) - top) for v in row]
    return -sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights if w)


def recal3r(m: Moment, memory: dict) -> Answer:
    n = len(m.state)
    start = memory.setdefault("start", m.state)
    prior = [0.5] * n
    if "h" in memory:
        prior = [1 - (rank + 1) / n for rank in ranks([norm(m.state[i] - start[i]) for i in range(n)])]
    habit = memory.get("h", [0.0] * n)
    entropies = [mean(entropy_of(head[i][1:]) for layer in m.maps for head in layer) for i in range(n)]
    vague = [rank / (n - 1) for rank in ranks(entropies)]
    lost = mean(norm(x - y) for x, y in zip(m.before[1:], m.after[1:], strict=True))
    r = sigmoid(lost / mean(norm(x) for x in m.before[1:]) - 0.2)
    g = gates(m)
    habit = [0.95 * habit[i] + 0.05 * g[i] for i in range(n)]
    beta = []
    for i in range(n):
        for_, against = prior[i] * (1 - vague[i]), (1 - prior[i]) * vague[i]
        rho = for_ / (for_ + against) if for_ + against else 0.0
        trust = rho * (2 * rho - 1) ** 2
        beta.append((1 - trust) * 0.1 + trust * r * g[i] * math.exp(-habit[i]))
    memory["h"] = habit
    return [clamp(0.5 * b + 0.5 * mean(beta), 0, 1) for b in beta], m.proposal - m.state


def memix(m: Moment, memory: dict, share: float = 0.922) -> Answer:
    n = len(m.state)
    average = [mean(float(token[c]) for token in m.before[1:]) for c in range(m.before.shape[1])]
    scores = [dot(m.proposal[i], np.array(average)) for i in range(n)]
    keep = round(share * n)
    return [1.0 if rank < keep else 0.0 for rank in ranks(scores)], m.proposal - m.state


def brake(m: Moment, memory: dict) -> Answer:
    delta = m.proposal - m.state
    turns = [cosine(delta[i], memory["last"][i]) if "last" in memory else 0.0 for i in range(len(delta))]
    memory["last"] = delta
    return [g * sigmoid(-turn) for g, turn in zip(gates(m), turns, strict=True)], delta


def ortho(m: Moment, memory: dict) -> Answer:
    delta = m.proposal - m.state
    drifts, directions = [], []
    for i in range(len(delta)):
        old = memory["drift"][i] if "drift" in memory else np.zeros_like(delta[i])
        drift = 0.95 * old + 0.05 * delta[i] / norm(delta[i])
        drift = drift / norm(drift)
        along = dot(delta[i], drift) * drift
        drifts.append(drift)
        directions.append(0.5 * (delta[i] - along) + 0.05 * along)
    memory["drift"] = drifts
    return gates(m), np.stack(directions)


def keyframe(m: Moment, memory: dict) -> Answer:
    n = len(m.state)
    if "reference" not in memory:
        memory["reference"] = m.proposal
        return [1.0] * n, m.proposal - m.state
    reference = memory["reference"]
    v = mean(norm(m.proposal[i] - reference[i]) for i in range(n)) / mean(norm(row) for row in reference)
    memory["usual"] = usual = 0.98 * memory["usual"] + 0.02 * v if "usual" in memory else v
    share = v**2 / (v**2 + usual**2)
    memory["reference"] = reference + share * (m.proposal - reference)
    return [share] * n, m.proposal - m.state


TWINS = {
    "overwrite": overwrite,
    "ttt3r": ttt3r,
    "ttt3r-calibrated": calibrated,
    "constant": constant,
    "half": half,
    "filt3r": filt3r,
    "ttsa3r": ttsa3r,
    "recal3r": recal3r,
    "brake": brake,
    "ortho": ortho,
    "memix": memix,
    "keyframe": keyframe,
}


def twin(name: str, m: Moment, memory: dict) -> Answer:
    """The answer of a rule by the library's name for it: parts multiplied, the first part's direction."""
    rates, directions = [1.0] * len(m.state), None
    for place, part in enumerate(name.split("+")):
        rule, _, number = part.partition(":")
        own, direction = TWINS[rule](m, memory.setdefault(place, {}), *([float(number)] if number else []))
        rates = [a * b for a, b in zip(rates, own, strict=True)]
        directions = direction if directions is None else directions
    assert directions is not None
    return rates, directions
