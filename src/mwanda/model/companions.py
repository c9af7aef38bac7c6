"""The files that go with a model's weights, told by what a model folder is made of.

A file belongs to a model because of its name (tokenizer, generation config, licence), or because
the model's own configs or code name it. Nothing else is taken along: not backups, logs, training
data, adapters, or weights of other formats.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mwanda.errors import shown
from mwanda.model.links import LICENCE, real_file
from mwanda.model.stored.folder_kinds import other_weights
from mwanda.model.stored.layout import INDEX, SINGLE
from mwanda.system.files import sha256_of

log = logging.getLogger("mwanda")

CONFIGS = (
    "config.json", "generation_config.json", "tokenizer_config.json", "preprocessor_config.json",
    "processor_config.json", "video_preprocessor_config.json",
    "audio_tokenizer_config.json",
)  # fmt: skip
"""Configs of transformers, which may name other files and the model's own code."""

TOKENIZER = (
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.json",
    "tokenizer.[0-9]*.json", "tokenizer.model", "tokenizer.model.v*", "tekken.json", "*.model",
    "*.tiktoken", "*.spm", "vocab.json", "vocab.txt", "vocab.bpe", "vocab-src.json",
    "vocab-tgt.json", "entity_vocab.json", "target_vocab.json", "merges.txt", "encoder.json",
    "bpe.codes", "dict.txt", "emoji.json", "normalizer.json", "byte_maps.json", "word_shape.json",
    "word_pronunciation.json", "prophetnet.tokenizer",
)  # fmt: skip
"""What tokenizers in transformers read."""

NAMES = (
    *CONFIGS[1:], *TOKENIZER,
    "chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja",
    "custom_generate/*.py", "custom_generate/requirements.txt",
)  # fmt: skip
"""What tokenizers, processors and generation in transformers read."""

LICENCES = ("licenses", "licences")
"""Folders of them, in lower case."""

LICENCE_ENDS = re.compile(r"|\.(txt|md|rst|html|pdf|apache|mit|bsd|gemma|llama\d*|\d+)")

NEVER = ("config.json", "README.md", "mwanda.json", "quantised.json", "*.safetensors", "*.bin",
         "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.index.json",
         "adapter_*", "trainer_state.json")  # fmt: skip
"""Not taken along even where a config or the model's code names it."""

WRITTEN_ANEW = ("config.json", "README.md", "mwanda.json", "quantised.json")

_PICKLES = (b"PK", b"\x80")
"""How a pickle begins: a vocabulary that ends in .model does not."""

_VOCABULARY = re.compile(rb"\n[^\n]\n[^\n]+?\x15|[A-Za-z0-9+/=]+ \d+\r?\n", re.DOTALL)
"""How one begins, for whatever it is called: SentencePiece's first piece, or tiktoken's."""

_VOCABULARIES = ("tokenizer.model", "sentencepiece*.model", "spiece.model", "spm*.model")
"""How those are called that transformers reads."""

_LITERAL = re.compile(r"""["']([\w.-]+\.\w+)["']""")
_IMPORT = re.compile(r"^\s*from\s+\.(\w*)\s+import\s+([^#\n]+)", re.MULTILINE)

Read = Callable[[str], str | None]
"""The text of a file by its name in the folder; None for one that is not there."""


@dataclass(frozen=True)
class Companions:
    """What goes with a model's weights."""

    files: dict[str, Path]  # name in the folder -> the file itself, behind any links
    left: tuple[str, ...]  # names of what else lies there, a folder's with / behind it
    missing: tuple[str, ...]  # the model's own code that its configs name and the folder lacks


def companion_names(names: Collection[str], read: Read, *, code: bool = True) -> set[str]:
    """Those of a folder's files that go with its weights, by their names in it; the model's own
    Python only with ``code``. Configs and that Python are read, and nothing else."""
    found = {name for name in names if _any(name, NAMES) or is_licence(name)}
    own = own_code(names, read)
    named = {text for name in CONFIGS for text in _strings(_parsed(read(name)))}
    for name in own & set(names):
        named |= set(_LITERAL.findall(read(name) or ""))
    found |= {name for name in named & set(names) if "." in name and not name.endswith(".py")}
    found |= own & set(names)
    return {name for name in found if not _any(name, NEVER) and (code or not name.endswith(".py"))}


def own_code(names: Collection[str], read: Read) -> set[str]:
    """The model's own Python: what its configs name, and what that imports from beside it; also
    what is not there, unless it is in another repository."""
    found: set[str] = set()
    more = {f"{module}.py" for name in CONFIGS for module in _modules(_parsed(read(name)))}
    while more:
        found |= more
        imported: set[str] = set()
        for name in more & set(names):
            for module, things in _IMPORT.findall(read(name) or ""):
                beside = {f"{part}.py" for part in re.findall(r"\w+", things)}
                imported |= {f"{module}.py"} if module else beside & set(names)
        more = imported - found
    return found


def is_licence(name: str) -> bool:
    """Whether a file says under which terms the model is given: by its own name, or its folder's,
    as REUSE has it."""
    path = Path(name.lower())
    if LICENCE_ENDS.fullmatch(path.suffix) is None:
        return False
    if "/" in name:
        return path.parent.name in LICENCES and len(path.parts) == 2
    return LICENCE.search(path.stem) is not None


def _is_of_a_kind(name: str) -> bool:
    """Whether a file is a model's by its name, and not because a config or code names it."""
    return _any(name, NAMES) or is_licence(name) or name.endswith(".py")


def find_companions(folder: Path) -> Companions:
    """What goes with the weights in a folder, every link followed."""
    names = {path.name for path in folder.iterdir()
             if path.is_symlink() or not path.is_dir() or _any(path.name, NAMES)}  # fmt: skip
    known = {pattern.partition("/")[0] for pattern in NAMES if "/" in pattern}
    for parent in folder.iterdir():
        if (parent.name in known or parent.name.lower() in LICENCES) and parent.is_dir():
            names |= {f"{parent.name}/{path.name}" for path in parent.iterdir()}
    names = {name for name in names if not name.startswith(".")}

    def read(name: str) -> str | None:
        if name not in names:
            return None
        return real_file(folder, name).read_text(encoding="utf-8", errors="replace")

    files = {
        name: real_file(folder, name, namesake=_is_of_a_kind(name))
        for name in sorted(companion_names(names, read))
    }
    files = {name: path for name, path in files.items()
             if not name.endswith(".model") or _is_vocabulary(name, path)}  # fmt: skip
    if "README.md" in names:
        real_file(folder, "README.md")
    left = _left(folder, "", {*files, *WRITTEN_ANEW, *_weights(folder)})
    missing = sorted(own_code(names, read) - names)
    return Companions(files, tuple(left), tuple(missing))


def _left(folder: Path, parent: str, used: Collection[str]) -> Iterator[str]:
    """What is not used, in folders of what is used too."""
    for path in sorted((folder / parent).iterdir()):
        name = parent + path.name
        if name in used or path.name.startswith("."):
            continue
        if path.is_dir() and any(one.startswith(f"{name}/") for one in used):
            yield from _left(folder, f"{name}/", used)
        else:
            yield name + "/" * path.is_dir()


def is_tokenizer(name: str) -> bool:
    """Whether a file is a tokenizer's by its name."""
    return _any(name, TOKENIZER)


def tokenizer_files(folder: Path) -> list[Path]:
    """A folder's own files that its tokenizer is read from."""
    return [folder / name for name in find_companions(folder).files if is_tokenizer(name)]


def companions_sha256(folder: Path) -> str:
    """Of the names and bytes of all that goes with the weights: where it is the same, so is the
    tokenizer, also one with code of its own."""
    files = find_companions(folder).files
    lines = [f"{sha256_of(path)}  {name}\n" for name, path in files.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def copy_companions(source: Path, target: Path) -> list[str]:
    """Copy what goes with the weights, and say in one line what else was left behind; the names of
    the files copied."""
    found = find_companions(source)
    for name, path in found.files.items():
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target / name)
    if found.left:
        log.info("left behind, no part of the model: %s", _listed(found.left))
    if found.missing:
        log.warning(
            "%s: its configs name code that is not there and was not copied: %s; "
            "from the hub --trust-remote-code fetches it",
            source, _listed(found.missing),
        )  # fmt: skip
    return [*found.files]


def _weights(folder: Path) -> set[str]:
    """Names of the weights that are read, which are written anew."""
    if (folder / SINGLE).is_file():
        return {SINGLE}
    index = _parsed((folder / INDEX).read_text()) if (folder / INDEX).is_file() else None
    if isinstance(index, dict) and isinstance(index.get("weight_map"), dict):
        return {INDEX, *(Path(str(shard)).as_posix() for shard in index["weight_map"].values())}
    return {p.name for p in folder.glob("*.safetensors") if not other_weights(p.name)}


def _listed(names: Collection[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join([shown(name) for name in names][:most]) + more


def _any(name: str, patterns: Collection[str]) -> bool:
    return any(
        fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns
    )


def _is_vocabulary(name: str, path: Path) -> bool:
    with path.open("rb") as file:
        begins = file.read(4096)
    known = _any(name, _VOCABULARIES) and not begins.startswith(_PICKLES)
    return known or _VOCABULARY.match(begins) is not None


def _parsed(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None  # who reads the file for what it says refuses it


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _modules(value: Any) -> Iterator[str]:
    """Modules that a config takes classes from: ``modeling_x`` of ``modeling_x.Class``."""
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key == "auto_map":
            names = [name for name in _strings(item) if "--" not in name and "/" not in name]
            yield from (name.partition(".")[0] for name in names if "." in name)
        elif key == "custom_pipelines" and isinstance(item, dict):
            for entry in item.values():
                impl = entry.get("impl") if isinstance(entry, dict) else None
                if isinstance(impl, str):
                    yield impl.partition(".")[0]
        else:
            yield from _modules(item)
