# SPDX-License-Identifier: Apache-2.0
"""The constructor's text: read as data, and whatever is not data is named and refused."""

import math

import pytest
from checkpoint_files import TEXT
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.checkpoints import parse_constructor
from longtake.errors import CheckpointError

NAMES = st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True).filter(
    lambda name: name.isidentifier() and name not in KEYWORDS
)
KEYWORDS = {
    "inf",
    "nan",
    "if",
    "in",
    "is",
    "or",
    "as",
    "and",
    "not",
    "def",
    "del",
    "for",
    "try",
    "from",
    "else",
    "elif",
}
KEYWORDS |= {
    "pass",
    "with",
    "async",
    "await",
    "break",
    "class",
    "raise",
    "while",
    "yield",
    "lambda",
    "return",
    "assert",
}
KEYWORDS |= {"global", "import", "except", "finally", "continue", "nonlocal"}
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_reads_back_what_repr_writes(values: dict[str, object]) -> None:
    arguments = ", ".join(f"{name}={value!r}" for name, value in values.items())
    assert parse_constructor(f"Model({arguments})") == ("Model", values)
    assert parse_constructor(f"  Model(ModelConfig({arguments}))\n") == ("Model", values)


def test_official_form() -> None:
    name, values = parse_constructor(TEXT)
    assert name == "ARCroco3DStereo"
    assert values["state_size"] == 768
    assert values["depth_mode"] == ("exp", -math.inf, math.inf)
    assert values["conf_mode"] == ("exp", 1, math.inf)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("Model(a=print(1))", "print(1)"),
        ("Model(a=__import__('os'))", "__import__('os')"),
        ("Model(a=[x for x in (1,)])", "[x for x in (1,)]"),
        ("Model(a=().__class__)", "().__class__"),
        ("Model(a=1 + 1)", "1 + 1"),
        ("Model(a=2 ** 9999999999)", "2 ** 9999999999"),
        ("Model(a=nan)", "nan"),
        ("Model(a=lambda: 0)", "lambda: 0"),
        ("Model(a=f'{x}')", "f'{x}'"),
        ("Model(a=-'x')", "-'x'"),
        ("Model(a=-True)", "-True"),
        ("Model(a=b'x')", "b'x'"),
        ("Model(**{'a': 1})", "{'a': 1}"),
        ("Model(Config(1))", "1"),
        ("Model(Config(), 2)", "2"),
        ("Model(Config(a=1), a=2)", "2"),
        ("module.Model(a=1)", "module.Model(a=1)"),
        ("Model", "Model"),
    ],
)
def test_names_the_bad_piece(text: str, piece: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        parse_constructor(text)
    assert repr(piece) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "Model(", "a = 1", "Model(a=1); Model()", "Model(a=" + "(" * 5000, "Model(" * 900, "\0", "x" * 30_000]
)
def test_what_is_no_call(text: str) -> None:
    with pytest.raises(CheckpointError):
        parse_constructor(text)
