"""push against a hub made up in memory: nothing here touches a network."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd

import mwanda
from mwanda import InputError, MwandaError
from mwanda.pruning.folder.card import CARD, update_card
from mwanda.pruning.folder.manifest import MANIFEST
from tests.cli.helpers import Bench
from tests.pruning.pipeline.helpers import Tiny

TOKEN = "hf_abcdefghijklmnop"
REPO = "somebody/pruned"


@dataclass
class Hub:
    """Repositories: name -> private or not, and their files."""

    cache: Path
    repos: dict[str, tuple[bool, dict[str, bytes]]] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    commits: int = 0
    fails: Exception | None = None
    wrong: str = ""

    def validate(self, repo_type: str) -> None:
        assert repo_type == "model"
        if self.wrong:
            raise ValueError(self.wrong)

    def api(self, token: str) -> Any:
        self.tokens.append(token)
        return self

    def repo_exists(self, repo: str) -> bool:
        return repo in self.repos

    def list_repo_files(self, repo: str) -> list[str]:
        return list(self.repos[repo][1])

    def repo_info(self, repo: str) -> Any:
        return SimpleNamespace(private=self.repos[repo][0])

    def hf_hub_download(self, repo: str, name: str) -> str:
        (self.cache / name).write_bytes(self.repos[repo][1][name])
        return str(self.cache / name)

    def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> str:
        assert exist_ok or repo not in self.repos
        self.repos.setdefault(repo, (private, {".gitattributes": b""}))
        return f"https://hub.example/{repo}"

    def create_commit(self, repo: str, operations: list[Any], *, commit_message: str) -> None:
        assert "mwanda" in commit_message
        if self.fails is not None:
            raise self.fails
        self.commits += 1
        files = self.repos[repo][1]
        for one in operations:
            if isinstance(one, CommitOperationAdd):
                with one.as_file() as file:
                    files[one.path_in_repo] = file.read()
            else:
                del files[one.path_in_repo]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Hub:
    made = Hub(tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(huggingface_hub, "HfApi", made.api)
    monkeypatch.setattr(huggingface_hub.ModelCard, "validate", made.validate)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return made


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    out = tmp_path / "pruned"
    mwanda.prune(tiny("llama"), out=out, criterion="magnitude", allocation="uniform")
    return out


def test_what_goes_and_what_stays(hub: Hub, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / ".env").write_text("SECRET=1")
    (folder / "notes.txt").write_text("mine")
    made = mwanda.push(folder, REPO)
    assert hub.tokens == [TOKEN]
    assert hub.commits == 1
    private, files = hub.repos[REPO]
    assert private
    assert made.private
    manifest = json.loads((folder / MANIFEST).read_text())
    assert set(files) == {*manifest["files"], CARD, MANIFEST, ".gitattributes"}
    for name in {*manifest["files"], CARD}:
        assert files[name] == (folder / name).read_bytes()
    assert made.bytes == sum(map(len, files.values()))
    # Nothing of this machine, and the rest as it was.
    sent = json.loads(files[MANIFEST])
    assert sent["base"] == Path(manifest["base"]).name != manifest["base"]
    assert str(folder.parent.parent) not in files[MANIFEST].decode()
    assert sent["linears"] == manifest["linears"]
    assert "no table of what each language lost" in caplog.text
    caplog.clear()
    update_card(folder, "| a | b |\n|---|---|")
    mwanda.push(folder, "somebody/other", public=True)
    assert not hub.repos["somebody/other"][0]
    assert "no table" not in caplog.text


def test_what_was_pushed_verifies(hub: Hub, folder: Path, tmp_path: Path) -> None:
    mwanda.push(folder, REPO)
    back = tmp_path / "back"
    back.mkdir()
    for name, data in hub.repos[REPO][1].items():
        (back / name).write_bytes(data)
    assert not mwanda.verify(back).problems


def test_an_existing_repository(hub: Hub, folder: Path) -> None:
    mwanda.push(folder, REPO)
    with pytest.raises(InputError, match="expected a new one, found an existing one"):
        mwanda.push(folder, REPO)
    files = hub.repos[REPO][1]
    files["model-00001-of-00002.safetensors"] = files["other.md"] = b"old"
    made = mwanda.push(folder, REPO, overwrite=True)
    assert made.deleted == ("model-00001-of-00002.safetensors",)
    assert "other.md" in files
    assert made.deleted[0] not in files
    hub.repos[REPO] = (False, files)
    with pytest.raises(InputError, match="expected a private one, found a public one"):
        mwanda.push(folder, REPO, overwrite=True)
    mwanda.push(folder, REPO, overwrite=True, public=True)
    hub.repos["somebody/else"] = (True, {"README.md": b"", "weights.bin": b""})
    with pytest.raises(InputError, match=r"what mwanda did not write: weights\.bin"):
        mwanda.push(folder, "somebody/else", overwrite=True)
    hub.repos["somebody/empty"] = (True, {"README.md": b""})
    mwanda.push(folder, "somebody/empty", overwrite=True)


def test_files_of_an_earlier_push_do_not_stay(hub: Hub, folder: Path, tiny: Tiny) -> None:
    """As the merges of a whole vocabulary beside a trimmed one, which would give other ids."""
    older = shutil.copytree(tiny("llama"), folder.with_name("older"))
    (older / "merges.txt").write_text("a b")
    mwanda.prune(older, out=folder.with_name("first"), criterion="magnitude", sparsity=0.3)
    mwanda.push(folder.with_name("first"), REPO)
    files = hub.repos[REPO][1]
    files["notes.txt"] = b"not ours"
    assert "merges.txt" in files
    assert mwanda.push(folder, REPO, overwrite=True).deleted == ("merges.txt",)
    assert {"merges.txt", "notes.txt"} & files.keys() == {"notes.txt"}


def test_a_private_repository_stays_private(
    hub: Hub, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mwanda.push(folder, REPO)
    assert "stays one" not in caplog.text
    assert mwanda.push(folder, REPO, public=True, overwrite=True).private
    assert f"hub.example/{REPO} is a private repository and stays one" in caplog.text


def test_nothing_is_asked_of_the_hub(
    hub: Hub, folder: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pruned", "a/b/c", "../x", "a b/c", ""):
        with pytest.raises(InputError, match="organisation/name"):
            mwanda.push(folder, name)
    with pytest.raises(InputError, match=r"mwanda\.json"):
        mwanda.push(tiny("llama"), REPO)
    with pytest.raises(InputError, match="no folder"):
        mwanda.push(tmp_path / "no", REPO)
    bad = shutil.copytree(folder, tmp_path / "bad")
    with (bad / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(MwandaError, match=r"config\.json: contents changed"):
        mwanda.push(bad, REPO)
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / CARD).unlink()
    with pytest.raises(InputError, match="the card that mwanda wrote"):
        mwanda.push(bare, REPO)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(InputError, match="found none; run hf auth login"):
        mwanda.push(folder, REPO)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        mwanda.push(folder, REPO)
    assert not hub.tokens
    assert not hub.repos


def test_the_token_is_never_shown(
    hub: Hub, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_it_was: None
) -> None:
    bench = Bench(folder, folder, tmp_path, capsys)
    hub.fails = OSError(f"403 Forbidden for Bearer {TOKEN}")
    ran = bench.run("push", folder, REPO)
    assert ran.code == 1
    assert "OSError: 403 Forbidden for Bearer (token)" in ran.err
    hub.fails = None
    done = bench.run("push", folder, "somebody/two", "--public", "--json").json()
    assert done["private"] is False
    shown = bench.run("push", folder, "somebody/three")
    assert "private" in shown.out
    assert TOKEN not in ran.err + ran.out + shown.out + shown.err


def test_a_card_that_the_hub_refuses_makes_no_repository(hub: Hub, folder: Path) -> None:
    hub.wrong = json.dumps({"errors": [{"message": "no language: pt-BR"}, {"message": "no tag"}]})
    with pytest.raises(
        InputError, match=r"README\.md: front matter.*no language: pt-BR; no tag; ed"
    ):
        mwanda.push(folder, REPO)
    hub.wrong = ""
    card = folder / CARD
    card.write_text(card.read_text().replace("---", "---\n: [", 1))
    with pytest.raises(InputError, match=r"README\.md: front matter"):
        mwanda.push(folder, REPO)
    assert not hub.repos
