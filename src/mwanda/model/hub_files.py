"""A model from the hub: the files that transformers would load, and what goes with them."""

from __future__ import annotations

import glob
import json
import logging
from collections.abc import Callable, Collection
from pathlib import Path

from mwanda.errors import InputError, MwandaError, shown
from mwanda.model.companions import CONFIGS, companion_names
from mwanda.model.stored.folder_kinds import folder_kind, other_weights
from mwanda.model.stored.layout import INDEX, SINGLE

log = logging.getLogger("mwanda")

CONFIG, README = "config.json", "README.md"


def fetch_model(name: str, *, code: bool = False, weights: bool = True) -> Path:
    """The folder in the hub's cache that holds a model, fetched where it is not there yet: its
    weights if wanted, and its own code."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return _cached(name, "HF_HUB_OFFLINE is set", code=code, weights=weights)
    try:
        listed = HfApi().model_info(name)
        names = {file.rfilename for file in listed.siblings or ()}
        return _fetch(name, names, code=code, weights=weights)
    except MwandaError:
        raise
    except hub_errors() as error:
        if _unreachable(error):
            reason = f"the hub could not be reached ({type(error).__name__})"
            folder = _cached(name, reason, code=code, weights=weights)
            log.warning("%s: %s; the copy in the cache is used", name, reason)
            return folder
        raise _refusal(name, error) from None  # its traceback may hold request headers


def _fetch(name: str, names: set[str], *, code: bool, weights: bool) -> Path:
    """Small files first: they say which others belong to the model."""
    wanted = {README, *CONFIGS} | companion_names(names, lambda _: None, code=code)
    index = SINGLE not in names and INDEX in names
    if index:
        wanted.add(INDEX)
    elif weights and SINGLE not in names and not _lone(names):
        _refuse_kind(name, names)
    if CONFIG not in names:
        _refuse_kind(name, names)
    folder = _download(name, wanted & names)
    read = _reader(folder)
    while more := companion_names(names, read, code=code) - wanted:
        wanted |= more  # a module of the model's own may import others
        _same(name, folder, _download(name, more))
    if weights:
        shards = _shards(name, read(INDEX)) if index else {SINGLE} & names or _lone(names)
        absent = sorted(shards - names)
        if absent:
            expected = f"{shown(absent[0])} in the repository"
            fix = "tell its owner, or choose another revision's copy"
            raise InputError(f"{name}: {INDEX}", expected=expected, found="no such file", fix=fix)
        _same(name, folder, _download(name, shards))
    return folder


def _download(name: str, files: Collection[str]) -> Path:
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(name, allow_patterns=[glob.escape(file) for file in files]))
    absent = sorted(file for file in files if not (folder / file).is_file())
    if absent:  # what is cached is given without a word where the connection breaks
        found = f"no {shown(absent[0])}"
        fix = "the download broke off; run again"
        raise InputError(name, expected="the files that the hub lists", found=found, fix=fix)
    return folder


def _same(name: str, folder: Path, now: Path) -> None:
    if now != folder:
        found = "another, pushed meanwhile"
        raise InputError(name, expected="one revision of the model", found=found, fix="run again")


def _lone(names: Collection[str]) -> set[str]:
    """A single file of safetensors under another name, which is read as a folder's would be."""
    found = {
        name for name in names
        if "/" not in name and name.endswith(".safetensors") and not other_weights(name)
    }  # fmt: skip
    return found if len(found) == 1 else set()


def _shards(name: str, index: str | None) -> set[str]:
    try:
        return {str(shard) for shard in json.loads(index or "")["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        expected = "a weight_map from tensor to shard"
        raise InputError(f"{name}: {INDEX}", expected=expected, found="none") from error


def _refuse_kind(name: str, names: Collection[str]) -> None:
    known = folder_kind(names)
    found, fix = "neither", "choose another repository"
    if known is not None:
        file, kind, fix = known
        found = f"{kind} ({shown(file)})"
    expected = f"a repository with {CONFIG} and safetensors"
    raise InputError(name, expected=expected, found=found, fix=fix)


def _cached(name: str, reason: str, *, code: bool, weights: bool) -> Path:
    """The copy in the cache, without the hub."""
    from huggingface_hub import try_to_load_from_cache

    fix = "fetch it once while the hub can be reached, or give a local folder; check the spelling"
    config = try_to_load_from_cache(name, CONFIG)
    if not isinstance(config, str):
        expected = "a model folder, or a model of the hub that is in the cache"
        raise InputError(name, expected=expected, found=f"neither; {reason}", fix=fix)
    folder = Path(config).parent
    read = _reader(folder)
    needed = companion_names(_listed_before(name), read, code=code)
    if weights and not (folder / SINGLE).is_file():
        index = read(INDEX)
        lone = _lone([path.name for path in folder.iterdir()])
        needed |= _shards(name, index) if index is not None else lone or {SINGLE}
    absent = sorted(file for file in needed if not (folder / file).is_file())
    if absent:
        more = f" and {len(absent) - 1} more" if absent[1:] else ""
        what = f"{name} in the cache, {folder}"
        found = f"a part of it: no {shown(absent[0])}{more}; {reason}"
        raise InputError(what, expected="the whole model", found=found, fix=fix)
    return folder


def _listed_before(name: str) -> set[str]:
    """The repository's files as an earlier download listed them; none where that was not kept."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return {file.path for file in get_cached_repo_tree(name)}
    except (CachedRepoTreeNotFoundError, OSError, ValueError):
        return set()


def _reader(folder: Path) -> Callable[[str], str | None]:
    def read(file: str) -> str | None:
        path = folder / file
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None

    return read


def hub_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises: it does not wrap what its network library does, which is
    another one in every of its versions, and what large files are sent by raises RuntimeErrors."""
    from huggingface_hub.errors import HfHubHTTPError

    return (*HfHubHTTPError.__bases__, OSError, ValueError, RuntimeError)


def hub_words(error: Exception) -> str:
    """What the hub itself says of a refusal, without the token; else the error's own text."""
    from huggingface_hub import get_token

    text = " ".join(str(getattr(error, "server_message", None) or error).split())
    token = get_token()
    return (text.replace(token, "(token)") if token else text)[:400]


def _unreachable(error: Exception) -> bool:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    response = getattr(error, "response", None)
    if isinstance(error, HfHubHTTPError) and response is not None:
        return bool(response.status_code >= 500)
    of_client = tuple(base for base in HfHubHTTPError.__bases__ if base is not OSError)
    network = (ConnectionError, TimeoutError, LocalEntryNotFoundError, *of_client)
    return isinstance(error, network)


def _refusal(name: str, error: Exception) -> InputError:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        found = "a gated one, whose owner has to let you in"
        page = f"{constants.ENDPOINT}/{name}"
        fix = f"ask for access on its page, {page}, and log in with hf auth login"
    elif isinstance(error, RepositoryNotFoundError):
        found = "none of that name, or a private one that you may not see"
        fix = "check the spelling; for a private one log in with hf auth login, or set HF_TOKEN"
    else:
        found, fix = type(error).__name__, "check the spelling, the token and the network"
    return InputError(
        name, expected="a repository of the hub that can be read",
        found=f"{found}; the hub says: {hub_words(error)}", fix=fix,
    )  # fmt: skip
