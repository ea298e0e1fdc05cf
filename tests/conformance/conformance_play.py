# SPDX-License-Identifier: Apache-2.0
"""Views go through the library's own loop body (`longtake.stream.absorb`); all that has goldens is kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from conformance_report import DTYPES
from torch import Tensor

from longtake.checkpoints.strict import load_strict
from longtake.families.cut3r import STREAMING, Cut3r, Cut3rConfig
from longtake.families.cut3r_keys import translate
from longtake.frame import Exchange, Flags, Heads, Policy, State, Views
from longtake.rules import Overwrite, Rule, get_rule
from longtake.stream import absorb

DENSE = {  # the kit's name -> ours
    "pts3d_in_self_view": "points_self",
    "conf_self": "confidence_self",
    "pts3d_in_other_view": "points_world",
    "conf": "confidence_world",
    "rgb": "color",
}
HEAD_FIELDS = DENSE | {"camera_pose": "pose"}


class WatchedOverwrite(Overwrite):
    """CUT3R's rule, with the statistic measured all the same: the kit reports beta_raw for every run."""

    wants_logit: ClassVar[bool] = True


def rule_named(update_type: str) -> Rule:
    """Return the rule for the kit's name of it."""
    return WatchedOverwrite() if update_type == "cut3r" else get_rule(update_type)


def build(config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: str, *, half_rope: bool = False) -> Cut3r:
    """Make a model from the published constructor's values and an official state dict; loading is strict."""
    with torch.device("meta"):
        model = Cut3r(replace(Cut3rConfig.from_official(config), rounded_rope=half_rope))
    load_strict(model, translate(weights), what="the case's weights into its configuration")
    return model.to(DTYPES[dtype]).eval()


@dataclass
class Recording:
    """What came out of each view, by the kit's names: one tensor per view, first axis the batch."""

    fields: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    traces: list[dict[str, Any]] = field(default_factory=list)

    def heads(self, heads: Heads) -> None:
        """Keep the outputs of one view."""
        for name, ours in HEAD_FIELDS.items():
            value = getattr(heads, ours)
            if value is not None:
                self.fields[name].append(value)

    def exchange(self, exchange: Exchange) -> None:
        """Keep what one view's pass proposes and measures."""
        self.fields["state_proposal"].append(exchange.proposal)
        self.fields["mem_proposal"].append(exchange.pose_memory)
        self.fields["pose_token_in"].append(exchange.pose_token_in)
        self.fields["pose_token_out"].append(exchange.layers[-1][:, 0])
        self.fields["global_img_feat"].append(exchange.layers[0].mean(1))
        assert exchange.stats.mean_logit is not None
        self.fields["beta_raw"].append(exchange.stats.mean_logit.sigmoid())

    def stacked(self, stride: int, *, batch: bool = False) -> dict[str, Tensor]:
        """Return the tensors as the kit stores them: views stacked, batch axis dropped, dense fields subsampled.

        Where view sizes differ, dense fields come as FIELD.i; both forms are given where both are possible.
        """
        out: dict[str, Tensor] = {}
        for name, each in self.fields.items():
            views = [view[:, ::stride, ::stride] for view in each] if name in DENSE else each
            views = views if batch else [view[0] for view in views]
            if name in HEAD_FIELDS:
                out |= {f"{name}.{i}": view for i, view in enumerate(views)}
            if len({view.shape for view in views}) == 1:
                out[name] = torch.stack(views)
        return out


def stream(model: Cut3r, views: Iterable[tuple[Views, bool, bool]], rule: Rule) -> tuple[Recording, State]:
    """Feed (views, update, reset) one after the other to one stream; return what came out and the last state."""
    record = Recording()
    with torch.no_grad():
        state = model.begin(1, rule)
        for view, update, reset in views:
            state = step(model, state, view, rule, Flags.plain(1, update=update, reset=reset), record)
    return record, state


def step(
    model: Cut3r, state: State, views: Views, rule: Rule, flags: Flags, record: Recording, policy: Policy = STREAMING
) -> State:
    """Run the library's loop body once and record everything that the kit has goldens for."""
    tokens, trace = model.tokenize(views, policy), {}
    exchange, after = absorb(model, state, tokens, rule, flags, policy, trace=trace)
    record.exchange(exchange)
    record.heads(model.detokenize(exchange))
    record.traces.append(trace | {"positions": tokens.positions})
    kept = model.commit(state, exchange, rule, replace(flags, reset=torch.zeros_like(flags.reset)), policy)
    record.fields["beta_applied"].append(_measured_rate(state.tokens, kept.tokens, exchange.proposal))
    record.fields["state_after"].append(after.tokens)
    record.fields["mem_after"].append(after.pose_memory)
    return after


def _measured_rate(before: Tensor, after: Tensor, proposal: Tensor) -> Tensor:
    """Return how far along the way to the proposal each state token moved (n, S): measured, not asked of the rule."""
    before, after, direction = before.double(), after.double(), (proposal - before).double()
    length = direction.square().sum(-1)
    return ((after - before) * direction).sum(-1) / length.where(length > 0, torch.ones_like(length))
