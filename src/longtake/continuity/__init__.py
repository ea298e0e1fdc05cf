# SPDX-License-Identifier: Apache-2.0
"""What holds a take of thousands of frames together. Import from the modules.

tracking     ok, weak or lost: cuts, black frames, lens caps
trigger      when a memory should start over
joining      one world for all chunks between resets
archive      keyframes on disk, found again by how they look
pose_graph   poses of a finished take, corrected by the places that were seen twice
"""
