# SPDX-License-Identifier: Apache-2.0
"""What is kept between frames: exchange (read and proposed write, in one pass) and commit, per kind of memory."""
