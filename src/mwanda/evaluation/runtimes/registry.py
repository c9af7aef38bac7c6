"""Which runtimes there are, what each opens, and what brings it; imported when used."""

from __future__ import annotations

import importlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mwanda.errors import InputError, nearest
from mwanda.model.given import is_gguf

if TYPE_CHECKING:
    from mwanda.evaluation.runtimes.runtime import Asked, Runtime


@dataclass(frozen=True)
class Row:
    """One runtime.

    Attributes:
        module: of this package, with ``open_artefact(asked) -> Runtime``.
        opens: the kind of artefact.
        library: the module it needs; none for what comes with mwanda.
        install: what brings the library.
        packages: whose versions are told.
    """

    module: str
    opens: str
    library: str = ""
    install: str = ""
    packages: tuple[str, ...] = ()


RUNTIMES = {
    "transformers": Row("transformers", "a model folder", packages=("torch", "transformers")),
    "llama.cpp": Row(
        "llama_cpp", "a GGUF file", "llama_cpp", "pip install 'mwanda[llama-cpp]'",
        ("llama-cpp-python",),
    ),
    "openvino": Row(
        "openvino", "a folder with openvino_model.xml", "openvino",
        "pip install 'mwanda[openvino]'", ("openvino",),
    ),
    "ctranslate2": Row(
        "ctranslate2", "a folder with model.bin and its config.json", "ctranslate2",
        "pip install 'mwanda[ctranslate2]'", ("ctranslate2",),
    ),
    "vllm": Row(
        "vllm", "a model folder", "vllm",
        # Its transformers is older than mwanda's: pip takes no two of them.
        "install vllm in an environment of its own, serve it, and score with --runtime openai",
        ("vllm",),
    ),
    "openai": Row("openai", "the name of a model behind --url"),
}  # fmt: skip


def find_runtime(name: str) -> Row:
    """The row of a runtime, whose library is there.

    Raises:
        InputError: no such runtime, or its library is not installed.
    """
    row = RUNTIMES.get(name)
    if row is None:
        raise InputError(
            f"--runtime {name[:40]}", expected="a runtime", found="none of that name",
            fix=nearest(name, RUNTIMES),
        )  # fmt: skip
    if row.library and importlib.util.find_spec(row.library) is None:
        raise InputError(
            f"--runtime {name}", expected=f"the library {row.library}",
            found="it is not installed", fix=row.install,
        )  # fmt: skip
    return row


def open_runtime(name: str, asked: Asked) -> Runtime:
    """The artefact, opened by the runtime.

    Raises:
        InputError: no such runtime, its library is absent, or the artefact is of another kind.
    """
    module: Any = importlib.import_module(f"{__package__}.{find_runtime(name).module}")
    opened: Runtime = module.open_artefact(asked)
    return opened


def not_an(name: str, asked: Asked) -> InputError:
    """The error for an artefact of another kind than the runtime of that name opens."""
    found = "a file of another kind" if asked.path.is_file() else "nothing there"
    return InputError(
        asked.artefact, expected=f"{RUNTIMES[name].opens} for --runtime {name}",
        found="a folder of another kind" if asked.path.is_dir() else found,
        fix="give what this runtime serves, or another --runtime",
    )  # fmt: skip


def kind_of(artefact: str) -> str | None:
    """The runtime that alone opens what lies there; None for a model folder or anything else."""
    path = Path(artefact)
    if is_gguf(path):
        return "llama.cpp"
    if (path / "openvino_model.xml").is_file():
        return "openvino"
    if (path / "model.bin").is_file() and not [*path.glob("*.safetensors")]:
        return "ctranslate2"
    return None


def is_quantised(folder: Path) -> bool:
    """Whether a folder's config says that transformers quantised its weights; a file that cannot be
    read says nothing, and is refused by who opens it."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    said = config.get("quantization_config") if isinstance(config, dict) else None
    return isinstance(said, dict) and "quant_method" in said
