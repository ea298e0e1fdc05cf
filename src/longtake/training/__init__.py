# SPDX-License-Identifier: Apache-2.0
"""Training a CUT3R-shaped model from scratch on the synthetic world: one loop for a CPU, a GPU, or many."""
