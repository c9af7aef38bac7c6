"""Hub data sets, offline: a local data-set folder is read the same way."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub.errors import HfHubHTTPError

from mwanda.errors import InputError
from mwanda.text import hub
from mwanda.text.rows import Document
from mwanda.text.sources import open_source
from tests.text.helpers import write_jsonl


def data_set(folder: Path, configs: list[str]) -> Path:
    lines = ["---", "configs:"]
    for config in configs:
        lines += [f"- config_name: {config}", f"  data_files: {config}/*.jsonl"]
        rows = [
            {"text": f"{config} one", "id": 1, "body": "b"},
            {"text": " ", "id": 2, "body": "c"},
        ]
        write_jsonl(folder / config / "train.jsonl", rows)
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")
    return folder


def test_configurations_are_languages(tmp_path: Path) -> None:
    folder = data_set(tmp_path, ["swh_Latn", "deu_Latn", "20231101.fr", "everything"])
    source = open_source(f"hub:{folder}")
    assert source.name == f"hub:{folder}"
    assert source.streamed
    assert source.languages() == ["de", "fr", "sw"]
    assert list(source.documents("sw")) == [Document("swh_Latn one", 1)]
    assert source.fingerprint("sw") is None
    other = open_source(f"hub:{folder}?split=train&column=body&revision=main")
    assert [document.text for document in other.documents("de")] == ["b", "c"]


def test_nothing_is_left_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
    source = open_source(f"hub:{data_set(tmp_path / 'set', ['de'])}")
    assert list(source.documents("de"))
    assert not cache.exists()


def test_what_is_wrong_with_a_data_set_is_said(tmp_path: Path) -> None:
    folder = data_set(tmp_path, ["deu_Latn", "ger_Latn", "fr"])
    source = open_source(f"hub:{folder}")
    assert source.languages() == ["de", "fr"]
    with pytest.raises(InputError, match="expected one configuration, found deu_Latn, ger_Latn"):
        next(source.documents("de"))
    with pytest.raises(InputError, match=r"language 'sw'.*expected one of de, fr"):
        next(source.documents("sw"))
    with pytest.raises(InputError, match="language 'sw'"):
        source.fingerprint("sw")
    with pytest.raises(InputError, match="row 1: expected a field 'txt', found the fields"):
        next(open_source(f"hub:{folder}?column=txt").documents("fr"))
    with pytest.raises(InputError, match=r"expected a data set that can be read, found .*tst"):
        next(open_source(f"hub:{folder}?split=tst").documents("fr"))
    (folder / "fr" / "train.jsonl").write_text('{"text": bad\n')
    with pytest.raises(InputError, match="fr: expected a data set that can be read"):
        list(source.documents("fr"))


def test_a_configuration_that_is_called_as_its_language_is_the_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mwanda")
    source = open_source(f"hub:{data_set(tmp_path, ['als', 'sq'])}")
    assert "sq is read from sq, not from als" in caplog.text
    assert source.languages() == ["sq"]
    assert next(source.documents("sq")).text


def test_configurations_that_are_no_languages_are_listed(tmp_path: Path) -> None:
    folder = data_set(tmp_path, ["plain", "clean"])
    with pytest.raises(InputError, match=r"named after languages, .*found plain, clean"):
        open_source(f"hub:{folder}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hub:", "expected hub:<data set>, found no data set"),
        ("hub:a/b?splt=x", "found 'splt'; did you mean 'split'"),
        ("hub:a/b?split=", "expected one value for split"),
        ("hub:a/b?split=x&split=y", "expected one value for split"),
        ("hub:mwanda-test/none", "hub:mwanda-test/none: .*the Hub could not be reached"),
        ("hub:/no/such/folder", "expected a data set that can be read"),
    ],
)
def test_a_bad_source_is_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(spec)


def test_the_clients_own_errors_are_known() -> None:
    client = next(base for base in HfHubHTTPError.__bases__ if base is not OSError)
    assert client in hub._reading_errors()
    assert "could not be reached" in str(hub._unreadable("hub:a/b", client("no route")))
    assert "check its name" in str(hub._unreadable("hub:a/b", FileNotFoundError("a/b")))


def test_a_data_set_that_the_library_chokes_on_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"expected a data set that can be read.* folder of text"):
        open_source(f"hub:{data_set(tmp_path / 'norsk', ['de', 'no'])}")  # YAML's false

    def script(*_: object, **__: object) -> None:
        raise RuntimeError("Dataset scripts are no longer supported, but found a.py")

    monkeypatch.setattr("datasets.get_dataset_config_names", script)
    with pytest.raises(InputError, match=r"scripts are no longer .* use a folder of text"):
        open_source("hub:a/b")
