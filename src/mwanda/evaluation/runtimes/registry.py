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
        beside: the same, where they are installed.
        devices: kinds that ``--device`` may name; empty for all that torch has here. The first is
            what ``auto`` stands for, as figures are compared with others of it.
    """

    module: str
    opens: str
    library: str = ""
    install: str = ""
    packages: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


RUNTIMES = {
    "transformers": Row(
        "transformers", "a model folder", packages=("torch", "transformers"),
        beside=("compressed-tensors", "torchao", "bitsandbytes", "gptqmodel"),
    ),
    "llama.cpp": Row(
        "llama_cpp", "a GGUF file", "llama_cpp", "pip install 'mwanda[llama-cpp]'",
        ("llama-cpp-python",), devices=("cpu", "cuda"),
    ),
    "openvino": Row(
        "openvino", "a folder with openvino_model.xml", "openvino",
        "pip install 'mwanda[openvino]'", ("openvino",), devices=("cpu", "cuda"),
    ),
    "ctranslate2": Row(
        "ctranslate2", "a folder with model.bin and its config.json", "ctranslate2",
        "pip install 'mwanda[ctranslate2]'", ("ctranslate2",), devices=("cpu", "cuda"),
    ),
    "vllm": Row(
        "vllm", "a model folder", "vllm",
        # Its transformers is older than mwanda's: pip takes no two of them.
        "install vllm in an environment of its own, serve it, and score with --runtime openai",
        ("vllm",), devices=("cpu", "cuda"),
    ),
    "openai": Row("openai", "the name of a model behind --url"),
}  # fmt: skip


def find_runtime(name: str) -> Row:
    """The row of a runtime, whose library is there."""
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
    """The artefact, opened by the runtime."""
    row = find_runtime(name)
    module: Any = importlib.import_module(f"{__package__}.{row.module}")
    try:
        opened: Runtime = module.open_artefact(asked)
    except ImportError as error:  # made for other versions of what lies beside it
        raise InputError(
            f"--runtime {name}", expected=f"a library {row.library} that can be imported",
            found=" ".join(str(error).split())[:200], fix=row.install,
        ) from error  # fmt: skip
    return opened


def check_url(name: str, url: str | None) -> None:
    """Refuse an address beside a runtime that asks none, and the lack of one."""
    if (url is not None) != (name == "openai"):
        raise InputError(
            "--url", expected="an address, with --runtime openai and no other",
            found=f"--runtime {name} " + ("and one" if url else "and none"),
        )  # fmt: skip


def device_of(name: str, device: str) -> str:
    """What ``--device`` means to a runtime."""
    kinds = RUNTIMES[name].devices
    if not kinds or device.partition(":")[0] in kinds:
        return device
    if device == "auto":
        return kinds[0]
    raise InputError(
        f"--device {device[:40]}", expected=f"auto, {' or '.join(kinds)} for --runtime {name}",
        found="another kind",
    )  # fmt: skip


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
    parts = (config, config.get("text_config")) if isinstance(config, dict) else ()
    said = [part.get("quantization_config") for part in parts if isinstance(part, dict)]
    return any(isinstance(one, dict) and "quant_method" in one for one in said)
