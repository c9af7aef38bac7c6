"""What does a model lose in every language, in the form and the program that serve it?

Makes an environment and an artefact for each runtime under ``--work``, scores all on the same
sentences, and prints a table of the rise over the folder itself. What is there already is kept.

    python benchmarks/runtimes/table.py --model PRUNED --data DATA --work WORK --results FILE
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

NEEDS = {
    "ctranslate2": ("ctranslate2==4.8.5",),
    "openvino": ("openvino==2026.4.1", "optimum-intel==2.2.0", "nncf==3.4.0"),
}
"""What an environment has beside the packages of the one that runs this."""


@dataclass(frozen=True)
class Form:
    """An artefact: the runtime that scores it, none for mwanda itself; and what makes it, after
    the environment's ``bin``."""

    runtime: str
    command: str


FORMS = {
    "INT8": Form("", "mwanda quantise {model} --type INT8 --out {out}"),
    "INT8-LINEARS": Form("", "mwanda quantise {model} --type INT8-LINEARS --out {out}"),
    "CTranslate2 float32": Form(
        "ctranslate2", "ct2-transformers-converter --model {model} --output_dir {out} "
        "--quantization float32 --low_cpu_mem_usage",
    ),
    "CTranslate2 int8": Form(
        "ctranslate2", "ct2-transformers-converter --model {model} --output_dir {out} "
        "--quantization int8 --low_cpu_mem_usage",
    ),
    "OpenVINO float32": Form(
        "openvino", "optimum-cli export openvino --model {model} "
        "--task text-generation-with-past --weight-format fp32 {out}",
    ),
    "OpenVINO int8": Form(
        "openvino", "optimum-cli export openvino --model {model} "
        "--task text-generation-with-past --weight-format int8 {out}",
    ),
}  # fmt: skip


def environment(runtime: str, work: Path) -> Path:
    """The ``bin`` of a runtime's environment, made if it is not there."""
    if not runtime:
        return Path(sys.executable).parent
    folder = work / "environments" / runtime
    done = folder / "made"
    if not done.is_file():
        venv.create(folder, with_pip=True, clear=True)
        own = sysconfig.get_path("purelib")
        site = next((folder / "lib").glob("python*/site-packages"))
        (site / "zz_beside.pth").write_text(f"{own}\n")
        subprocess.run([folder / "bin/pip", "install", "-q", *NEEDS[runtime]], check=True)
        done.touch()
    return folder / "bin"


def run(words: list[str | Path], **how: Any) -> subprocess.CompletedProcess[str]:
    """A command with mwanda at hand and no hub."""
    surroundings = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [str(word) for word in words], check=True, text=True, env=surroundings, **how
    )


def scored(name: str, artefact: Path, runtime: str, given: argparse.Namespace) -> dict[str, float]:
    """Language -> nats per sentence."""
    told = given.work / "scores" / f"{name.replace(' ', '-')}.json"
    if not told.is_file():
        words: list[str | Path] = [environment(runtime, given.work) / "python", "-m", "mwanda",
                                   "eval", artefact, "--text", given.data / "flores", "--json",
                                   "--ids", "0:999", "--sentences", str(given.sentences),
                                   "--no-generate"]  # fmt: skip
        words += ["--languages", given.languages] if given.languages else []
        words += ["--runtime", runtime, "--tokenizer", given.model] if runtime else []
        found = run(words, stdout=subprocess.PIPE).stdout
        told.parent.mkdir(parents=True, exist_ok=True)
        told.write_text(found)
    languages = json.loads(told.read_text())["languages"]
    return {tag: row["nll_per_sentence"] for tag, row in languages.items()}


def made(name: str, form: Form, given: argparse.Namespace) -> Path:
    """The artefact, made if it is not there."""
    out: Path = given.work / "artefacts" / name.replace(" ", "-")
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        words = form.command.format(model=given.model, out=out).split()
        place = environment(form.runtime, given.work)
        first = [place / "python", "-m", "mwanda"] if words[0] == "mwanda" else [place / words[0]]
        run([*first, *words[1:]], stdout=sys.stderr)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="a folder in float")
    parser.add_argument("--data", type=Path, required=True, help="a folder with flores/")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--languages", help="tags with commas; all by default")
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--results", type=Path, required=True, help="JSON to write")
    given = parser.parse_args()
    base = scored("the folder", given.model, "", given)
    rises: dict[str, dict[str, float]] = {}
    for name in given.forms:
        found = scored(name, made(name, FORMS[name], given), FORMS[name].runtime, given)
        rises[name] = {tag: nll / base[tag] - 1 for tag, nll in found.items()}
    print("| language | " + " | ".join(rises) + " |")
    print("|---" * (len(rises) + 1) + "|")
    for tag in base:
        print(f"| {tag} | " + " | ".join(f"{row[tag]:+.3%}" for row in rises.values()) + " |")
    record = {"model": given.model.name, "sentences": given.sentences, "base": base, "rises": rises}
    given.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
