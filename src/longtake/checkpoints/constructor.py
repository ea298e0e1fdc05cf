# SPDX-License-Identifier: Apache-2.0
"""Read the constructor call that an official checkpoint keeps as text, by parsing it, never by running it."""

import ast
import math
from typing import Any

from longtake.errors import CheckpointError

LONGEST = 20_000  # characters; official texts have about 600, and Python's parser is not made for hostile megabytes
_NAMES = {"inf": math.inf}


def parse_constructor(text: str) -> tuple[str, dict[str, Any]]:
    """Read `Model(ModelConfig(key=value, ...))` or `Model(key=value, ...)` into the outer class's name and the values.

    Values are Python literals (numbers, strings, booleans, None, tuples, lists, dicts) and the names inf and -inf.

    Raises:
        CheckpointError: anything else; the text names the piece that is not allowed.
    """
    if len(text) > LONGEST:
        raise CheckpointError(f"the checkpoint's constructor has {len(text)} characters, more than {LONGEST}; not read")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"the checkpoint's constructor is not a Python call: {text[:80]!r}") from error
    try:
        return _call(tree, nested=False)
    except RecursionError as error:
        raise CheckpointError("the checkpoint's constructor is nested too deeply to be one") from error


def _call(node: ast.expr, *, nested: bool) -> tuple[str, dict[str, Any]]:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise _bad(node, "a call such as Model(ModelConfig(key=value)) was wanted")
    values: dict[str, Any] = {}
    if node.args:
        if nested or len(node.args) > 1:
            raise _bad(node.args[-1], "only key=value is allowed there")
        _, values = _call(node.args[0], nested=True)
    for keyword in node.keywords:
        if keyword.arg is None:
            raise _bad(keyword.value, "** is not allowed")
        if keyword.arg in values:
            raise _bad(keyword.value, f"{keyword.arg} is given twice")
        values[keyword.arg] = _value(keyword.value)
    return node.func.id, values


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return node.value
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            number = _value(operand)
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise _bad(node, "a sign belongs to a number")
            return -number if isinstance(node.op, ast.USub) else number
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {_key(key, node): _value(value) for key, value in zip(keys, values, strict=True)}
    raise _bad(node, "only literals and the names inf and -inf are allowed")


def _key(node: ast.expr | None, whole: ast.expr) -> Any:
    if not isinstance(node, ast.Constant):
        raise _bad(node or whole, "a dict's keys must be literals")
    return node.value


def _bad(node: ast.expr, wanted: str) -> CheckpointError:
    piece = ast.unparse(node)
    piece = piece if len(piece) <= 80 else piece[:77] + "..."
    return CheckpointError(f"the checkpoint's constructor holds {piece!r}; {wanted}. Nothing of it was run.")
