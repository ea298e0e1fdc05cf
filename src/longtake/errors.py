# SPDX-License-Identifier: Apache-2.0
"""Every error that Longtake raises on purpose.

LongtakeError
 |- InputError         what the user gave cannot be used: a missing file, not a video, an unreadable image
 |- CheckpointError    a weight file does not hold what the model needs, or tries to run code
 |- OutputError        results could not be written (disk full, no permission)
 |- CapabilityError    the model or rule cannot do what was asked
 |   `- OutOfMemory    a frame needs more memory than there is; also a MemoryError
 `- MissingExtra       an optional library is needed; the text says what to install

Texts say three things: what came, what was wanted, and what to do.
"""


class LongtakeError(Exception):
    """Base of all of Longtake's own errors; the command line prints them without a traceback."""


class InputError(LongtakeError):
    """The source (video, folder, image, state file) cannot be used as given."""


class CheckpointError(LongtakeError):
    """A weight or state file does not fit, is incomplete, or is unsafe to read."""


class OutputError(LongtakeError):
    """Results could not be written; what was written before is complete and readable."""


class CapabilityError(LongtakeError):
    """The model, rule or device cannot do what was asked."""


class OutOfMemory(CapabilityError, MemoryError):
    """A frame needs more memory than there is; the stream is as it was before that frame."""


class MissingExtra(LongtakeError):
    """An optional dependency is missing; the text names the extra to install."""
