# SPDX-License-Identifier: Apache-2.0
"""Read which names a torch file's pickle mentions, without unpickling anything.

The names serve two ends: those that are no code get an inert stand-in (`inert.py`), those that point at code end the
reading with an error that says so. This is a diagnosis, not the wall: the wall is `torch.load(weights_only=True)`,
which only ever calls tensor constructors and our stand-ins, whatever this file overlooks.
"""

import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # Python 2's names, which pickle protocol 2 still writes
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

# fmt: off
# Modules whose every name does something to the machine, or unpickles again.
_CODE_MODULES = frozenset({
    "os", "posix", "nt", "sys", "subprocess", "_posixsubprocess", "shutil", "socket", "_socket", "ctypes", "_ctypes",
    "importlib", "imp", "runpy", "pty", "code", "codeop", "marshal", "pickle", "_pickle", "cPickle", "dill",
    "cloudpickle", "webbrowser", "pdb", "bdb", "timeit", "cProfile", "profile", "trace", "pydoc", "multiprocessing",
    "asyncio", "threading", "_thread", "signal", "urllib", "http", "ftplib", "smtplib", "telnetlib", "requests",
    "httpx", "aiohttp", "xmlrpc", "socketserver", "tempfile", "zipimport", "pip", "setuptools", "distutils",
    "ensurepip", "venv", "commands", "popen2", "fcntl", "antigravity", "_io",
})
_CODE_BUILTINS = frozenset({
    "eval", "exec", "execfile", "compile", "__import__", "open", "file", "input", "breakpoint", "globals", "setattr",
    "delattr", "apply", "exit", "quit", "help",
})
_CODE_NAMES = frozenset({
    "io.open", "io.open_code", "io.FileIO", "codecs.open", "platform.popen", "site.main", "numpy.load",
    "pandas.eval", "pandas.read_pickle", "torch.load", "torch.storage._load_from_bytes",
})
_CODE_PREFIXES = (
    "torch.hub.", "torch.jit.", "torch.package.", "torch.serialization.load", "torch.utils.cpp_extension.",
    "torch.utils.collect_env.", "numpy.f2py.", "numpy.distutils.", "numpy.testing.", "logging.config.",
)
# fmt: on

_PICKLES_IN_LEGACY_FILE = 5  # magic number, protocol, system, the object, the storage keys; then raw bytes


def names_in(path: Path) -> frozenset[str]:
    """Return every `module.name` that the file's pickles mention, in old and new spelling; {} if there is none to read.

    Damaged pickles give the names before the damage. Never raises on content.
    """
    names: set[str] = set()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for entry in archive.namelist():
                    if entry.endswith(".pkl"):
                        with archive.open(entry) as file:
                            names.update(_names_of_one(file))
        else:
            with path.open("rb") as file:
                for _ in range(_PICKLES_IN_LEGACY_FILE):
                    names.update(_names_of_one(file))
    except Exception:  # pickletools raises nearly anything on bytes that are no pickle
        return frozenset(names)
    return frozenset(names)


def code_among(names: Iterable[str]) -> list[str]:
    """Return the names that point at code which acts on the machine, sorted, each in one spelling."""
    return sorted(name for name in names if _is_code(name))


def _is_code(name: str) -> bool:
    module, _, rest = name.partition(".")
    if module == "builtins":
        return rest in _CODE_BUILTINS
    return module in _CODE_MODULES or name in _CODE_NAMES or name.startswith(_CODE_PREFIXES)


def _names_of_one(file: IO[bytes]) -> Iterator[str]:
    """Yield the names of the pickle that starts at the file's position, and stop behind it."""
    strings: list[Any] = ["", ""]  # the last two strings pushed: what STACK_GLOBAL takes
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(file):
        kind = opcode.name
        if kind in ("GLOBAL", "INST"):
            yield from _spellings(*str(argument).split(" ", 1))
        elif kind == "STACK_GLOBAL":
            yield from _spellings(str(strings[-2]), str(strings[-1]))
        elif "UNICODE" in kind or "STRING" in kind:
            strings = [strings[-1], argument]
        elif kind == "MEMOIZE":
            memo[len(memo)] = strings[-1]
        elif kind in ("PUT", "BINPUT", "LONG_BINPUT") and argument is not None:
            memo[int(argument)] = strings[-1]
        elif kind in ("GET", "BINGET", "LONG_BINGET") and argument is not None:
            strings = [strings[-1], memo.get(int(argument), "")]


def _spellings(module: str, name: str) -> Iterator[str]:
    """Yield the name as written and as Python 3 and torch spell it (`__builtin__.eval` is `builtins.eval`)."""
    yield f"{module}.{name}"
    yield ".".join(NAME_MAPPING.get((module, name), (module, name)))
    yield f"{IMPORT_MAPPING.get(module, module)}.{name}"
