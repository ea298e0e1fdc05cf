# SPDX-License-Identifier: Apache-2.0
"""The one place that may use the network: official weights from the Hugging Face hub, when a caller asks for them.

`longtake.load(NAME, weights="hub")` gets here, and nothing else does. The licence is said before anything is asked of
the hub; a download that was cut goes on where it stopped, in a later process too; a file has its name only after its
SHA-256 was checked.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtake.errors import CheckpointError, LongtakeError, MissingExtra

HUB = "hub"  # what is given as `weights`


@dataclass(frozen=True, slots=True)
class HubFile:
    """Where on the hub the weights of a model are."""

    repository: str
    file: str
    sha256: str = ""  # of the file, where it is known; else what the hub states is checked and said

    @property
    def page(self) -> str:
        """Where a person reads the licence and gets the file by hand."""
        return f"https://huggingface.co/{self.repository}"


def cache_folder() -> Path:
    """Where downloads are kept: $LONGTAKE_CACHE, or `longtake` in the user's cache folder."""
    if chosen := os.environ.get("LONGTAKE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "longtake"


def cached_path(name: str, file: HubFile) -> Path:
    """Where the weights of a model are kept; a file that was put there by hand is taken as well."""
    return cache_folder() / HUB / name / file.file


def fetch(name: str, file: HubFile, licence: str, *, say: Callable[[str], None] | None = None) -> Path:
    """Return the official weights of a model in the cache folder, downloaded if they are not there yet.

    licence: of the weights; said before the hub is asked. say: what to do with lines for people; default: stderr.
    The hub is huggingface.co, or $HF_ENDPOINT. A token of the user's, where huggingface_hub has one, is sent along:
    gated files need it. A file that is there already is used without the network.

    Raises MissingExtra without huggingface_hub, CheckpointError for what the hub does not have, does not give, or gave
    with another hash, and where it cannot be reached. Each says which file to put where by hand.
    """
    say = say or _to_stderr
    path = cached_path(name, file)
    by_hand = f"Get {file.file} from {file.page} by hand and put it at {path}, or pass its path as weights."
    if path.is_file():
        if file.sha256 and (has := _sha256(path)) != file.sha256:
            raise CheckpointError(
                f"{path}: SHA-256 is {has}, wanted {file.sha256}: damaged, or another file. Delete it and load again."
            )
        return path
    say(f"{name}: the weights are under the licence {licence!r}; their authors' terms at {file.page} hold for them")
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtra(
            f"weights={HUB!r} needs huggingface_hub, which is not installed: pip install 'longtake[hub]'. {by_hand}"
        ) from error
    try:
        return _download(huggingface_hub, file, path, say)
    except LongtakeError as error:
        raise type(error)(f"{error} {by_hand}") from error
    except huggingface_hub.errors.GatedRepoError as error:
        raise CheckpointError(
            f"{file.page} is gated: accept its terms there, log in with `hf auth login`, and load again. {by_hand}"
        ) from error
    except (huggingface_hub.errors.EntryNotFoundError, huggingface_hub.errors.RepositoryNotFoundError) as error:
        raise CheckpointError(
            f"the hub has no {file.file} in {file.repository}, or does not show it: it was moved, or needs a login. "
            f"{by_hand}"
        ) from error
    except (OSError, huggingface_hub.errors.HTTPError) as error:  # no network, another answer, a full disk
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{file.file} of {file.repository} could not be downloaded ({reason}). What came so far is kept, and the "
            f"next try goes on from there. {by_hand}"
        ) from error


def _download(hub: Any, file: HubFile, path: Path, say: Callable[[str], None]) -> Path:
    """Bring the file to `path`. What is there of it, in `path` with .HASH.part, is not asked for again."""
    from huggingface_hub.file_download import http_get  # writes into a file of ours, from a position: so it resumes
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    endpoint = os.environ.get("HF_ENDPOINT") or None
    url = hub.hf_hub_url(file.repository, file.file, endpoint=endpoint)
    about = hub.get_hf_file_metadata(url, endpoint=endpoint)
    stated = about.etag if re.fullmatch(r"[0-9a-f]{64}", about.etag or "") else ""
    wanted = file.sha256 or stated
    if not wanted:
        raise CheckpointError(f"the hub states no SHA-256 of {file.file}, so a download could not be checked.")
    if stated and stated != wanted:
        raise CheckpointError(
            f"the hub now has another {file.file} (SHA-256 {stated}) than this version of Longtake knows ({wanted})."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{wanted[:16]}.part")
    with WeakFileLock(path.with_name(f"{path.name}.lock")):
        if path.is_file():  # another process brought it while this one waited
            return path
        part.touch()
        have = part.stat().st_size
        if about.size is not None and have > about.size:
            have = 0
        size = "" if about.size is None else f", {about.size / 1e9:.2f} GB"
        say(f"{'downloading' if not have else f'going on after {have / 1e9:.2f} GB with'} {url}{size} -> {path}")
        exact = hub.hf_hub_url(file.repository, file.file, revision=about.commit_hash, endpoint=endpoint)
        with part.open("r+b") as target:
            target.truncate(have)
            target.seek(have)
            http_get(
                exact,
                target,
                resume_size=have,
                headers=build_hf_headers(),
                expected_size=about.size,
                displayed_filename=file.file,
            )
            target.flush()
            os.fsync(target.fileno())
        if (has := _sha256(part)) != wanted:
            part.unlink()
            raise CheckpointError(f"{file.file} came with SHA-256 {has}, wanted {wanted}: it was deleted. Load again.")
        os.replace(part, path)
    say(f"SHA-256 {wanted}, {'as this version knows it' if file.sha256 else 'as the hub states it'}")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_stderr(line: str) -> None:
    print(f"longtake: {line}", file=sys.stderr, flush=True)
