"""``mwanda push``: a pruned folder onto the hub, checked before, and nothing but its own files."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaml import YAMLError

from mwanda.errors import InputError, MwandaError
from mwanda.model.hub_files import hub_errors
from mwanda.pruned.verify import verify
from mwanda.pruning.folder.card import CARD, has_table
from mwanda.pruning.folder.made_with import short_name, short_source
from mwanda.pruning.folder.manifest import MANIFEST, Manifest, manifest_text
from mwanda.system.arguments import path_given
from mwanda.system.shown import AsDict, Shown
from mwanda.system.surroundings import undisturbed

log = logging.getLogger("mwanda")

ALWAYS_THERE = {".gitattributes", CARD}
"""What the hub may put into a new repository itself."""

MODELS, TEXTS = ("base", "dense", "pruned"), ("source", "background", "background_source", "text")
"""What a manifest calls where something was on this machine."""


@dataclass(frozen=True, repr=False)
class Pushed(AsDict, Shown):
    """What was uploaded.

    Attributes:
        repo, url: where to.
        private: whether only its owners see it, as the hub says.
        files: names in the repository.
        bytes: of them together.
        deleted: what an earlier push wrote and the folder has not, and other older weights.
    """

    repo: str
    url: str
    private: bool
    files: tuple[str, ...]
    bytes: int
    deleted: tuple[str, ...]


@undisturbed()
def push(folder: str | Path, repo: str, *, public: bool = False, overwrite: bool = False) -> Pushed:
    """Upload a folder that mwanda wrote, in one commit, to a new repository of the hub.

    First it is verified. Only the files that its manifest names go, with manifest and card; in the
    manifest, models and texts lose the folders of this machine. The token is the hub's own:
    ``HF_TOKEN``, or what ``hf auth login`` has kept.

    Args:
        folder: the pruned model.
        repo: ``organisation/name``.
        public: for everybody to see; otherwise private.
        overwrite: a new commit in an existing repository that mwanda filled; a private one stays
            private.

    Raises:
        InputError: not a folder of mwanda's, no card, no token, an odd name, or a repository that
            is there and not to be written to; nothing was uploaded.
        MwandaError: the folder is not as its manifest says, or the hub refused.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    folder = path_given("folder", folder)
    _check_name(repo)
    found = verify(folder)
    found.raise_for_problems(folder)
    if not (folder / CARD).is_file():
        raise InputError(
            str(folder / CARD), expected="the card that mwanda wrote", found="no file",
            fix="prune again, or copy the card from where the folder was made",
        )  # fmt: skip
    if not has_table(folder):
        log.warning(
            "the card has no table of what each language lost; mwanda eval %s --text TEXT "
            "--baseline BASE --update-card puts one in",
            folder,
        )
    names = sorted([*found.manifest.files, CARD])
    manifest = _public(found.manifest)
    token = _token()
    try:
        api, stale = HfApi(token=token), list[str]()
        if api.repo_exists(repo):
            stale = _check_existing(api, repo, names, public=public, overwrite=overwrite)
        _check_card(folder)
        url = api.create_repo(repo, private=not public, exist_ok=overwrite)
        private = bool(api.repo_info(repo).private)
        if private and public:
            log.warning("%s is a private repository and stays one; its settings change that", url)
        operations: list[Any] = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in names
        ]
        operations.append(CommitOperationAdd(path_in_repo=MANIFEST, path_or_fileobj=manifest))
        operations += [CommitOperationDelete(path_in_repo=name) for name in stale]
        api.create_commit(repo, operations, commit_message="Pruned by mwanda")
        size = sum((folder / name).stat().st_size for name in names) + len(manifest)
        return Pushed(repo, str(url), private, (*names, MANIFEST), size, tuple(stale))
    except hub_errors() as error:
        text = " ".join(str(error).split()).replace(token, "(token)")[:300]
        raise MwandaError(
            f"hub repository {repo}",
            expected="to upload",
            found=f"{type(error).__name__}: {text}",
            fix="check the name, the token's rights and the connection",
        ) from None  # the error's own traceback may hold request headers


def _check_card(folder: Path) -> None:
    """Have the hub look at the card, which it would otherwise refuse in a new, empty repository."""
    from huggingface_hub import ModelCard

    path = folder / CARD
    try:
        card = ModelCard(path.read_text(encoding="utf-8"))
        card.validate(repo_type="model")
    except (ValueError, YAMLError) as error:
        raise InputError(
            f"{path}: front matter", expected="what the hub takes",
            found=_messages(str(error)), fix=f"edit it; {path} is yours to edit",
        ) from error  # fmt: skip


def _messages(text: str) -> str:
    """What the hub found, without the JSON around it."""
    with suppress(ValueError, KeyError, TypeError):
        text = "; ".join(str(one["message"]) for one in json.loads(text)["errors"]) or text
    return " ".join(text.split())[:500]


def _check_existing(
    api: Any, repo: str, names: Sequence[str], *, public: bool, overwrite: bool
) -> list[str]:
    """Older files to delete."""
    thing, there = f"hub repository {repo}", set(api.list_repo_files(repo))
    if not overwrite:
        raise InputError(
            thing, expected="a new one", found="an existing one",
            fix="choose another name, or pass --overwrite",
        )  # fmt: skip
    if there - ALWAYS_THERE and MANIFEST not in there:
        raise InputError(
            thing, expected=f"an empty one, or one that mwanda filled ({MANIFEST} in it)",
            found=f"what mwanda did not write: {min(there - ALWAYS_THERE)}",
            fix="choose another name; --overwrite replaces nothing of others",
        )  # fmt: skip
    if not public and not api.repo_info(repo).private:
        raise InputError(
            thing, expected="a private one", found="a public one",
            fix="pass --public, or make it private",
        )  # fmt: skip
    older = {name for name in there if name.endswith((".safetensors", ".safetensors.index.json"))}
    if MANIFEST in there:
        older |= _files_named_in(Path(api.hf_hub_download(repo, MANIFEST)))
    return sorted((older & there).difference(names))


def _files_named_in(manifest: Path) -> set[str]:
    """What a manifest of any version says was written; nothing of one that cannot be read."""
    try:
        files = json.loads(manifest.read_text(encoding="utf-8")).get("files")
    except (ValueError, AttributeError):
        files = None
    return set(files) if isinstance(files, dict) else set()


def _public(manifest: Manifest) -> bytes:
    """The manifest as it is uploaded: without the folders of this machine."""
    told = _without_folders(manifest.model_dump(mode="json"))
    return manifest_text(Manifest.model_validate(told)).encode()


def _without_folders(told: Any, name: str = "") -> Any:
    if isinstance(told, dict):
        return {key: _without_folders(value, key) for key, value in told.items()}
    if isinstance(told, list):
        return [_without_folders(value) for value in told]
    if isinstance(told, str) and name in (*MODELS, *TEXTS):
        return short_name(told) if name in MODELS else short_source(told)
    return told


def _check_name(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
        odd = repo.count("/") != 1
    except HFValidationError:
        odd = True
    if odd:
        expected = "organisation/name as the hub allows it"
        raise InputError("REPO_ID", expected=expected, found=repr(repo[:100]))


def _token() -> str:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        expected, found = "the hub to be reachable", "HF_HUB_OFFLINE set"
        raise InputError("push", expected=expected, found=found, fix="unset it")
    token = get_token()
    if not token:
        raise InputError(
            "push", expected="a token that may write to the hub", found="none",
            fix="run hf auth login, or set HF_TOKEN",
        )  # fmt: skip
    return token
