# SPDX-License-Identifier: Apache-2.0
"""Endless textured rooms with exact depth, pose and intrinsics, on which the embedded model is trained."""
