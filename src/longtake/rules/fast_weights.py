# SPDX-License-Identifier: Apache-2.0
"""The view that the rules come from, in one layer: a state is a fast weight, and a frame takes a gradient step on it.

This module is for reading and for tests; models do not use it. S (n, E) are the state's tokens, X (m, E) a frame's,
Q, K, V three linear maps, and logits are not scaled:

    append    memory + (K X, V X)                           every frame is kept; full and causal attention
    softmax   S + softmax(Q S (K X)^T) V X                  CUT3R in one layer: a step of size one
    gated     S + beta softmax(Q S (K X)^T) V X             TTT3R: a step of size beta_i = sigmoid(mean_j q_i . k_j)

In the tied case, Q the identity and V = K, both are gradient steps S - beta grad of the scalar loss

    L(S) = - sum_i logsumexp_j(s_i . k_j),     grad L = - softmax(S K^T) K,

which asks each state token to match some token of the frame. For a general V there is no such loss: the step's Jacobian
in s_i, V^T (diag(p) - p p^T) K, is not symmetric, so the step is the gradient of no scalar and the name an analogy.

Why the ungated state forgets: the rows of a softmax sum to one, whatever the logits. A frame that matches nothing in a
token still writes into it in full, the mean of its values. Only the gate sees how well they match.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FastWeightLayer(nn.Module):
    """One layer of reading and writing. tied: Q is the identity and V = K, the case with a loss."""

    def __init__(self, width: int, *, tied: bool = False) -> None:
        super().__init__()
        self.key = nn.Linear(width, width, bias=False)
        self.query = nn.Identity() if tied else nn.Linear(width, width, bias=False)
        self.value = self.key if tied else nn.Linear(width, width, bias=False)

    def append(self, memory: tuple[Tensor, Tensor] | None, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the keys and values (m, E) of a frame behind those of the frames before it."""
        new = (self.key(frame), self.value(frame))
        return new if memory is None else (torch.cat((memory[0], new[0])), torch.cat((memory[1], new[1])))

    def read_appended(self, memory: tuple[Tensor, Tensor], frame: Tensor) -> Tensor:
        """What the tokens of a frame (m, E) read from all that was appended: (m, E)."""
        return (self.query(frame) @ memory[0].T).softmax(-1) @ memory[1]

    def read(self, state: Tensor, frame: Tensor) -> Tensor:
        """What the tokens of a frame (m, E) read from the state (n, E): (m, E)."""
        return (self.query(frame) @ self.key(state).T).softmax(-1) @ self.value(state)

    def step(self, state: Tensor, frame: Tensor) -> Tensor:
        """softmax(Q S (K X)^T) V X, (n, E): what a frame writes at rate one."""
        return (self.query(state) @ self.key(frame).T).softmax(-1) @ self.value(frame)

    def write_softmax(self, state: Tensor, frame: Tensor) -> Tensor:
        """The state (n, E) after a step of size one."""
        return state + self.step(state, frame)

    def rate(self, state: Tensor, frame: Tensor) -> Tensor:
        """beta (n, 1): sigmoid of the mean logit, which is the logit of the mean key."""
        return (self.query(state) @ self.key(frame).mean(0)).sigmoid()[:, None]

    def write_gated(self, state: Tensor, frame: Tensor) -> Tensor:
        """The state (n, E) after a step of size beta."""
        return state + self.rate(state, frame) * self.step(state, frame)

    def loss(self, state: Tensor, frame: Tensor) -> Tensor:
        """- sum_i logsumexp_j(q_i . k_j), whose gradient step `write_softmax` is in the tied case."""
        return -(self.query(state) @ self.key(frame).T).logsumexp(-1).sum()
