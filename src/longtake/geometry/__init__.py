# SPDX-License-Identifier: Apache-2.0
"""Cameras, rotations, rigid motions, focal lengths, ray maps and head activations. Import from the modules."""
