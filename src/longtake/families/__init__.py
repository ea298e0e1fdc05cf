# SPDX-License-Identifier: Apache-2.0
"""One file per published family: its configuration and its forward pass, wired from the four rooms."""
