# SPDX-License-Identifier: Apache-2.0
"""Any sequence of views, flags and ray maps: the library's loop and the twin written from the kit's text agree.

Section 13.9 of the kit lists what its goldens leave open (a reset on a view that does not update, a blind first view,
an image that must not update right after a reset, resets in a row, the plain forward under ttt3r): all is drawn here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from case_files import DATA, NAMES, read_case, worst
from cut3r_twin import Twin, View
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from longtake.families.cut3r import STREAMING, Cut3r
from longtake.frame import Flags, Policy, Views
from longtake.rules import get_rule
from longtake.stream import absorb

RULES = {"cut3r": "overwrite", "ttt3r": "ttt3r"}
HEADS = {
    "pts3d_in_self_view": "points_self",
    "conf_self": "confidence_self",
    "pts3d_in_other_view": "points_world",
    "conf": "confidence_world",
    "rgb": "color",
    "camera_pose": "pose",
}
Drawn = tuple[int | None, int | None, bool, bool]  # frame, ray map, update, reset

VIEW = st.tuples(
    st.one_of(st.none(), st.integers(0, 4)), st.one_of(st.none(), st.integers(0, 2)), st.booleans(), st.booleans()
).filter(lambda view: view[:2] != (None, None))
SEQUENCE = st.lists(VIEW, min_size=1, max_size=6)
BLIND, PLAIN = (None, 0, True, False), (0, None, True, False)


@cache
def pair(name: str) -> tuple[Twin, Cut3r]:
    case = read_case(DATA / name)
    return case.twin(), case.model()


def views_of(name: str, drawn: list[Drawn]) -> list[View]:
    inputs = read_case(DATA / name).inputs
    frames, rays = inputs["frames_L"], inputs["raymaps_L"]
    return [
        View(None if f is None else frames[f], None if r is None else rays[r], update, reset)
        for f, r, update, reset in drawn
    ]


def batch(parts: list[Tensor | None]) -> tuple[Tensor | None, Tensor]:
    """Samples of one moment: stacked, nan where one is absent (a mask that leaked would spoil everything)."""
    some = next((part for part in parts if part is not None), None)
    present = torch.tensor([part is not None for part in parts])
    if some is None:
        return None, present
    return torch.stack([torch.full_like(some, torch.nan) if p is None else p for p in parts]).double(), present


def check(model: Cut3r, samples: list[list[View]], twins: list[list], update_type: str, policy: Policy) -> None:
    """Step all samples together and compare every output and state with the twin's, sample by sample."""
    rule = get_rule(RULES[update_type])
    with torch.no_grad():
        state = model.begin(len(samples), rule)
        for t, moment in enumerate(zip(*samples, strict=True)):
            image, has_image = batch([view.image for view in moment])
            rays, has_rays = batch([None if v.rays is None else v.rays.permute(2, 0, 1) for v in moment])
            flags = Flags(
                active=torch.ones(len(moment), dtype=torch.bool),
                update=torch.tensor([view.update for view in moment]),
                reset=torch.tensor([view.reset for view in moment]),
            )
            tokens = model.tokenize(Views(image, rays, has_image, has_rays), policy)
            exchange, state = absorb(model, state, tokens, rule, flags, policy)
            heads = model.detokenize(exchange)
            for i, twin in enumerate(twins):
                wanted = twin[t].fields
                for theirs, ours in HEADS.items():
                    assert worst(getattr(heads, ours)[i], wanted[theirs]) < 1e-10, (t, i, theirs)
                assert worst(exchange.pose_token_in[i], wanted["pose_token_in"]) < 1e-10, (t, i)
                assert worst(state.tokens[i], wanted["state_after"]) < 1e-10, (t, i)
                assert worst(state.pose_memory[i], wanted["mem_after"]) < 1e-10, (t, i)


@pytest.mark.parametrize("update_type", RULES)
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(drawn=SEQUENCE)
@example(drawn=[PLAIN, (1, None, False, True), (2, None, True, False), (3, None, True, False)])  # reset, no update
@example(drawn=[BLIND, PLAIN, (1, None, True, False)])  # a blind first view
@example(drawn=[(0, None, False, False), (1, None, True, False)])  # a first view that does not update
@example(drawn=[PLAIN, (1, None, True, True), (2, None, False, False), (3, None, True, False)])  # no update after reset
@example(drawn=[PLAIN, (1, None, True, True), (2, None, True, True), (3, None, True, False)])  # resets in a row
def test_streaming(name: str, update_type: str, drawn: list[Drawn]) -> None:
    twin, model = pair(name)
    views = views_of(name, drawn)
    check(model, [views], [twin.run(views, update_type)], update_type, STREAMING)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(drawn=SEQUENCE, other=SEQUENCE)
def test_streams_of_a_batch_do_not_touch_each_other(name: str, drawn: list[Drawn], other: list[Drawn]) -> None:
    twin, model = pair(name)
    length = min(len(drawn), len(other))
    samples = [views_of(name, each[:length]) for each in (drawn, other)]
    check(model, samples, [twin.run(views, "ttt3r") for views in samples], "ttt3r", STREAMING)


@pytest.mark.parametrize("update_type", RULES)
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(drawn=SEQUENCE, other=SEQUENCE)
def test_the_plain_forward_is_the_same_loop_under_another_policy(
    name: str, update_type: str, drawn: list[Drawn], other: list[Drawn]
) -> None:
    twin, model = pair(name)
    length = min(len(drawn), len(other))
    samples = [views_of(name, each[:length]) for each in (drawn, other)]
    fill = any(view.rays is not None for views in samples for view in views)
    twins = [twin.run(views, update_type, plain=True, fill=fill) for views in samples]
    policy = replace(STREAMING, restart_after_reset=False, fill_missing=fill)
    check(model, samples, twins, update_type, policy)


@pytest.mark.parametrize("name", NAMES)
def test_without_resets_and_rays_both_entries_agree(name: str) -> None:
    twin, model = pair(name)
    views = views_of(name, [(i, None, i != 2, False) for i in range(5)])
    streamed = twin.run(views, "ttt3r")
    check(model, [views], [streamed], "ttt3r", Policy(restart_after_reset=False))
    check(model, [views], [streamed], "ttt3r", STREAMING)
