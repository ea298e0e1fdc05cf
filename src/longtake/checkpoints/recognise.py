# SPDX-License-Identifier: Apache-2.0
"""Which family a file of weights belongs to, from the names of its tensors or from its constructor."""

from collections.abc import Iterable

from longtake.errors import CapabilityError, CheckpointError

# family -> (class named by the official constructor, prefixes of tensor names of which each must occur)
MARKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cut3r": ("ARCroco3DStereo", ("register_tokens.", "decoder_embed_state.", "dec_blocks_state.")),
    "point3r": ("Point3R", ("decoder_embed_memory.", "dec_blocks_memory.", "memory_attn_head.")),
    "vggt": ("VGGT", ("aggregator.frame_blocks.", "aggregator.global_blocks.", "camera_head.")),
    "fast3r": ("Fast3R", ("decoder.dec_blocks.", "encoder.", "downstream_head")),
    "dust3r": ("AsymmetricCroCo3DStereo", ("dec_blocks2.", "downstream_head1.", "downstream_head2.")),
}
BUILT = ("cut3r", "dust3r", "fast3r", "point3r", "vggt")  # families whose forward pass exists in this version


def recognise(names: Iterable[str], class_name: str | None = None) -> str:
    """Return the family; the tensors' names decide, the constructor's class only where they say nothing.

    StreamVGGT has the same tensor names as VGGT and is reported as vggt.

    Raises:
        CheckpointError: no family known to Longtake has such names.
    """
    names = [name.removeprefix("net.") for name in names]  # of the framework that Fast3R was trained with
    for family, (_, prefixes) in MARKS.items():
        if all(any(name.startswith(prefix) for name in names) for prefix in prefixes):
            return family
    for family, (known_class, _) in MARKS.items():
        if class_name == known_class:
            return family
    shown = ", ".join(names[:5])
    raise CheckpointError(
        f"the {len(names)} tensors belong to no family that Longtake knows ({', '.join(MARKS)}); the first are "
        f"{shown}. Check that it is the checkpoint of one of these, not of its backbone or its optimiser."
    )


def require_built(family: str, where: str) -> None:
    """Raise CapabilityError if the family's forward pass does not exist yet."""
    if family not in BUILT:
        raise CapabilityError(
            f"{where} holds {family} weights; this version of Longtake can run {', '.join(BUILT)} only. "
            "`longtake models` lists what can be loaded."
        )
