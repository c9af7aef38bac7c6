"""What is fetched of a model on the hub, from a hub made up on the loopback device."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

import mwanda
from mwanda.errors import InputError
from mwanda.model.hub_files import fetch_model
from mwanda.model.stored.reader import Checkpoint
from tests.pruning.pipeline.helpers import windows_file

Tiny = Callable[..., Path]
SHA = "a" * 40
JUNK = ["consolidated.safetensors", "original/model.safetensors", "onnx/model.onnx", "train.py",
        "pytorch_model.bin", "model.fp16.safetensors", "adapter_config.json", "notes.md",
        "adapter_model.safetensors", "tokenizer.json.bak", "runs/log.txt"]  # fmt: skip


class Hub(ThreadingHTTPServer):
    """Repositories by name: file -> bytes; ``refused``: name -> status, code and words."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.refused: dict[str, tuple[int, str, str]] = {}
        self.got: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        for name, (status, code, words) in self.server.refused.items():
            if name in path:
                self.answer(status, b"{}", X_Error_Code=code, X_Error_Message=words)
                return
        found = [name for name in self.server.repos if name in path]
        if not found:
            self.answer(404, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="Not found")
            return
        files = self.server.repos[found[0]]
        if "/resolve/" in path:
            name = path.split("/resolve/")[1].split("/", 1)[1]
            if name not in files:
                self.answer(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=SHA)
                return
            if self.command == "GET":
                self.server.got.append(name)
            tag = hashlib.sha1(name.encode() + files[name]).hexdigest()
            self.answer(200, files[name], ETag=f'"{tag}"', X_Repo_Commit=SHA)
        elif "/tree/" in path:
            rows = [{"type": "file", "path": name, "size": len(data), "oid": "b" * 40}
                    for name, data in files.items()]  # fmt: skip
            self.answer(200, json.dumps(rows).encode(), Content_Type="application/json")
        else:
            data = {"_id": "1", "id": found[0], "modelId": found[0], "sha": SHA, "private": False,
                    "tags": [], "siblings": [{"rfilename": name} for name in files]}  # fmt: skip
            self.answer(200, json.dumps(data).encode(), Content_Type="application/json")

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        made.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    api = huggingface_hub.HfApi(endpoint=made.url)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    real = huggingface_hub.snapshot_download

    def download(name: str, **named: Any) -> str:
        return real(name, endpoint=made.url, **named)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    yield made
    made.shutdown()
    made.server_close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def own(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same model as one of its own code."""
    config = json.loads(files["config.json"])
    config |= {
        "model_type": "foo",
        "architectures": ["Foo"],
        "auto_map": {
            "AutoConfig": "configuration_foo.FooConfig",
            "AutoModelForCausalLM": "modeling_foo.Foo",
        },
    }
    return files | {
        "config.json": json.dumps(config).encode(),
        "configuration_foo.py": b"from transformers import LlamaConfig\n"
        b"class FooConfig(LlamaConfig): model_type = 'foo'\n",
        "modeling_foo.py": b"from transformers import LlamaForCausalLM\n"
        b"from .configuration_foo import FooConfig\nfrom .helper import NOTHING\n"
        b"class Foo(LlamaForCausalLM): config_class = FooConfig\n",
        "helper.py": b"NOTHING = None\n",
    }


def test_only_what_transformers_would_load_is_fetched(hub: Hub, tiny: Tiny, tmp_path: Path) -> None:
    plain = files_of(tiny("llama"))
    hub.repos["x/plain"] = (
        plain
        | dict.fromkeys(JUNK, b"x")
        | {"README.md": b"---\nlicense: mit\n---", "LICENSE": b"mine"}
    )
    folder = fetch_model("x/plain")
    assert sorted(hub.got) == sorted([*plain, "README.md", "LICENSE"])
    Checkpoint.open(folder).close()
    hub.got.clear()
    fetch_model("x/plain")
    assert hub.got == []
    fetch_model("x/plain", code=True)
    assert hub.got == []
    shutil.rmtree(tmp_path / "hub")
    fetch_model("x/plain", weights=False)
    assert sorted(hub.got) == sorted(
        [*(plain.keys() - {"model.safetensors"}), "README.md", "LICENSE"]
    )


def test_shards_are_those_of_the_index(hub: Hub, tiny: Tiny, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(tiny("llama")).save_pretrained(
        tmp_path / "many", max_shard_size="100KB"
    )
    many = files_of(tmp_path / "many")
    hub.repos["x/many"] = many | {"model-00001-of-00009.safetensors": b"stale"}
    Checkpoint.open(fetch_model("x/many")).close()
    assert set(hub.got) == many.keys()
    del hub.repos["x/many"][sorted(name for name in many if name.startswith("model-"))[-1]]
    shutil.rmtree(tmp_path / "hub")
    with pytest.raises(InputError, match=r"model-0000.*in the repository, found no such file"):
        fetch_model("x/many")


def test_own_code_comes_along_when_it_is_trusted(hub: Hub, tiny: Tiny, tmp_path: Path) -> None:
    hub.repos["x/own"] = own(files_of(tiny("llama"))) | {"train.py": b"x"}
    fetch_model("x/own")
    assert not [name for name in hub.got if name.endswith(".py")]
    out = tmp_path / "out"
    options = mwanda.RunOptions(trust_remote_code=True)
    mwanda.prune("x/own", out=out, calibration=windows_file(tmp_path), criterion="wanda",
                 allocation="uniform", options=options)  # fmt: skip
    code = {"configuration_foo.py", "modeling_foo.py", "helper.py"}
    assert {name for name in hub.got if name.endswith(".py")} == code
    assert {path.name for path in out.glob("*.py")} == code
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(out, trust_remote_code=True)


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (
            (403, "GatedRepo", "Visit its page to ask."),
            ("gated", "Visit its page to ask.", "hf auth"),
        ),
        ((401, "RepoNotFound", "Invalid username"), ("private", "Invalid username", "HF_TOKEN")),
        ((404, "RepoNotFound", "No such thing"), ("none of that name", "No such", "spelling")),
        ((429, "", "Slow down"), ("Slow down",)),
    ],
)
def test_a_refusal_is_told_in_the_hubs_own_words(
    hub: Hub, refusal: tuple[int, str, str], says: tuple[str, ...]
) -> None:
    hub.refused["x/shut"] = refusal
    with pytest.raises(InputError) as caught:
        fetch_model("x/shut")
    for part in ("x/shut", *says):
        assert part in str(caught.value)


def test_a_repository_of_gated_files_is_told_as_such(hub: Hub, tiny: Tiny) -> None:
    hub.repos["x/shut"] = files_of(tiny("llama"))
    hub.refused["x/shut/resolve"] = (403, "GatedRepo", "You are not in the list.")
    with pytest.raises(InputError, match=r"gated.*You are not in the list"):
        fetch_model("x/shut")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["model-Q4_K.gguf", "model-Q8_0.gguf", "README.md"], "GGUF files alone"),
        (["config.json", "pytorch_model.bin"], "pickle-only"),
        (["adapter_config.json", "adapter_model.safetensors"], "LoRA"),
        (["config.json", "openvino_model.bin", "openvino_model.xml"], "OpenVINO"),
        (["params.json", "consolidated.safetensors"], "consolidated"),
        (["README.md"], "neither"),
    ],
)
def test_another_programs_model_is_not_even_fetched(hub: Hub, names: list[str], says: str) -> None:
    hub.repos["x/other"] = dict.fromkeys(names, b"{}")
    with pytest.raises(InputError, match=says):
        fetch_model("x/other")
    assert hub.got == []


def test_without_the_hub_the_cache_serves(
    hub: Hub, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    hub.repos["x/plain"] = files_of(tiny("llama")) | dict.fromkeys(JUNK, b"x")
    folder = fetch_model("x/plain")
    hub.refused["x/plain"] = (503, "", "Down")
    assert fetch_model("x/plain") == folder
    assert "could not be reached" in caplog.text
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_model("x/plain") == folder
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"x/plain in the cache.*no model\.safetensors; HF_HUB_OFF"
    ):
        fetch_model("x/plain")
    assert fetch_model("x/plain", weights=False) == folder
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})
    )
    with pytest.raises(InputError, match=r"no one\.safetensors and 1 more"):
        fetch_model("x/plain")
    with pytest.raises(InputError, match=r"x/never: .*found neither; HF_HUB_OFFLINE is set"):
        fetch_model("x/never")
