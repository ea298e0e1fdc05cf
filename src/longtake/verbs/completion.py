# SPDX-License-Identifier: Apache-2.0
"""`longtake completion`: what a shell needs to complete verbs, flags and their values."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from typing import Annotated, Literal

from tyro.conf import Positional

Shell = Literal["bash", "zsh", "fish"]
VALUES = {  # of flags whose values are few and can be told without starting torch
    "--camera": "head solve",
    "--device": "auto cpu cuda mps",
    "--format": "ply colmap colmap-bin nerfstudio glb mesh splat tum kitti euroc png16 npz rrd",
    "--join": "exact scale sim3",
    "--layout": "rgbd tum bonn 7scenes scannet kitti kitti-odometry",
    "--model": "longtake-small cut3r-512 cut3r-224 vggt streamvggt point3r fast3r dust3r vggt-small streamvggt-small",
    "--reset-when": "spent cut spent+cut",
    "--rule": "overwrite ttt3r ttt3r-calibrated constant half filt3r ttsa3r recal3r brake ortho memix keyframe",
}

BASH = """_longtake() {
  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" verb="${COMP_WORDS[1]}"
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 ]]; then COMPREPLY=($(compgen -W "@VERBS@" -- "$word")); return; fi
  case "$before" in
@VALUES@
  esac
  [[ $word == -* || $verb == data && $COMP_CWORD -eq 2 ]] || return
  case "$verb" in
@FLAGS@
  esac
}
complete -o default -o bashdefault -F _longtake longtake"""


def main(shell: Annotated[Shell, Positional]) -> None:
    """Print a completion script. For bash: `eval "$(longtake completion bash)"` in ~/.bashrc; zsh and fish alike.

    Args:
        shell: bash, zsh or fish.
    """
    flags = verb_flags()
    match shell:
        case "bash":
            print(_bash(flags))
        case "zsh":
            print("autoload -U +X bashcompinit && bashcompinit\n" + _bash(flags))
        case "fish":
            print(_fish(flags))


def verb_flags() -> dict[str, list[str]]:
    """Return the flags of each verb, from the signatures of their functions; `data` has its second words too."""
    import pkgutil

    import longtake.verbs

    found: dict[str, list[str]] = {}
    for module in sorted(module.name for module in pkgutil.iter_modules(longtake.verbs.__path__)):
        if not module.startswith("_"):
            parameters = signature(import_module(f"longtake.verbs.{module}").main).parameters.values()
            flags = [f"--{p.name.replace('_', '-')}" for p in parameters if p.kind is p.KEYWORD_ONLY]
            first, _, second = module.partition("_")
            found[first] = [*found.get(first, []), *([second] if second else []), *flags, "--help"]
    return found


def _bash(flags: dict[str, list[str]]) -> str:
    def case(names: str, words: str) -> str:
        return f'    {names}) COMPREPLY=($(compgen -W "{words}" -- "$word")); return ;;'

    return (
        BASH.replace("@VERBS@", " ".join(flags))
        .replace("@VALUES@", "\n".join(case(flag, words) for flag, words in VALUES.items()))
        .replace("@FLAGS@", "\n".join(case(verb, " ".join(words)) for verb, words in flags.items()))
    )


def _fish(flags: dict[str, list[str]]) -> str:
    lines = [f"complete -c longtake -n __fish_use_subcommand -f -a {verb!r}" for verb in flags]
    for verb, words in flags.items():
        for word in words:
            there = f"complete -c longtake -n '__fish_seen_subcommand_from {verb}'"
            if not word.startswith("-"):
                lines.append(f"{there} -f -a {word!r}")
                continue
            value = f" -x -a {VALUES[word]!r}" if word in VALUES else ""
            lines.append(f"{there} -l {word.removeprefix('--')}{value}")
    return "\n".join(lines)
