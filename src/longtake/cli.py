# SPDX-License-Identifier: Apache-2.0
"""The command line: read the verb first, then import and build the parser of that verb only.

`longtake --help` therefore imports neither torch nor the parser library. A verb is a typed function in
`longtake.verbs`; its signature is its flags and its docstring its help.

Exit codes: 0 done, 1 a check failed (doctor, evaluate), 2 wrong use or an error with a remedy, 130 stopped with Ctrl-C.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module

from longtake import __version__
from longtake.cores import set_threads
from longtake.errors import LongtakeError

VERBS: Mapping[str, str] = {
    "reconstruct": "turn a video or a folder of images into cameras and a 3D point map",
    "live": "the same with a webcam, a stream, a pipe or the screen, while it runs",
    "view": "show a take in the browser, finished or running",
    "serve": "serve many cameras over a websocket on one model",
    "export": "write a take as COLMAP, nerfstudio, glTF, TUM, KITTI, EuRoC, ... take it",
    "localize": "say where in a saved take a photo was taken",
    "replay": "run a take again from its manifest and compare",
    "evaluate": "measure a model against ground truth",
    "compare": "run models and update rules side by side over one take or many",
    "data check": "say what a data set's folder is, and prove that its poses and depth agree",
    "data synthesize": "write takes of procedural rooms in the layout of a data set",
    "train": "train a model on procedural rooms",
    "finetune": "carry a trained model on, on your own RGB-D recordings",
    "convert": "turn an official checkpoint into safetensors with its configuration inside",
    "models": "list the models: size, licence, where the weights are",
    "rules": "list the update rules of the recurrent memory",
    "completion": "print what a shell needs to complete verbs and flags",
    "doctor": "say what this machine has: device, decoders, optional libraries",
}

INTERRUPTED = 130  # what a shell expects of a program that SIGINT ended


def usage() -> str:
    """Return the text of `longtake --help`."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            "usage: longtake VERB ... | longtake VERB --help | longtake --version",
            "",
            "An endless RGB video becomes cameras and a dense 3D point map, one frame at a time, in constant memory.",
            "",
            *lines,
            "",
            "Start with: longtake reconstruct VIDEO --out FOLDER",
        ]
    )


def split_verb(words: Sequence[str]) -> tuple[str, list[str]]:
    """Take the verb (one or two words) off the front; return it and the rest.

    Raises:
        LongtakeError: the words name no verb; the text suggests near ones.
    """
    for length in (2, 1):
        verb = " ".join(words[:length])
        if verb in VERBS:
            return verb, list(words[length:])
    first = words[0]
    family = [verb for verb in VERBS if verb.split()[0] == first]
    near = family or get_close_matches(first, [verb.split()[0] for verb in VERBS], n=2, cutoff=0.5)
    hint = f"Did you mean {' or '.join(f'`longtake {verb}`' for verb in near)}?" if near else "See `longtake --help`."
    raise LongtakeError(f"there is no verb {' '.join(words[: 2 if family else 1])!r}. {hint}")


def run(verb: str, rest: Sequence[str]) -> int:
    """Build the parser of one verb, parse the rest of the command line and call the verb's function."""
    module = import_module("longtake.verbs." + verb.replace(" ", "_"))
    import tyro  # after the module: an error in a verb shows before half a second of parser imports

    result = tyro.cli(
        module.main,
        prog=f"longtake {verb}",
        args=list(rest),
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff),
    )
    return int(result or 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[1:] in (["-h"], ["--help"]) and (family := [verb for verb in VERBS if verb.startswith(f"{words[0]} ")]):
        print("\n".join(f"longtake {verb}  {VERBS[verb]}" for verb in family))
        return 0
    if words and words[0] in ("-V", "--version"):
        print(f"longtake {__version__}")
        return 0
    if not words:
        print(usage(), file=sys.stderr)
        return 2
    set_threads()
    try:
        verb, rest = split_verb(words)
        return run(verb, rest)
    except LongtakeError as error:
        print(f"longtake: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("longtake: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output left (`longtake models | head -1`): not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit is silent too
        return 0
