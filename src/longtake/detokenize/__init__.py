# SPDX-License-Identifier: Apache-2.0
"""Tokens -> pointmaps, confidence, camera."""
