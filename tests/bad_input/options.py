"""Options that cannot be: each named, on one line, before anything is read or written."""

from __future__ import annotations

from tests.bad_input.case import Case
from tests.bad_input.place import Place

__all__ = ["COMMANDS", "OPTIONS"]

PRUNE: list[tuple[list[str], tuple[str, ...]]] = [
(["--sparsity", "1.2"], ("sparsity", "less than 1", "found 1.2", "such as 0.5")),
    (["--sparsity", "1"], ("sparsity", "less than 1", "found 1;")),
    (["--sparsity", "-1"], ("sparsity", "0 or more", "found -1")),
    (["--sparsity=nan"], ("sparsity", "finite", "found nan")),
    (["--sparsity", "inf"], ("sparsity", "found inf")),
    (["--sparsity", "half"], ("sparsity", "expected a number", "found half", "50%")),
    (["--pattern", "2:4", "--sparsity", "0.6"], ("sparsity", "2:4", "0.5", "found 0.6", "leave")),
    (["--pattern", "2:4", "--allocation", "owl"], ("allocation", "uniform", "2:4", "found owl")),
    (["--pattern", "3:5"], ("3:5", "divisible by 5", "q_proj with 48", "18 such", "--exclude")),
    (["--pattern", "5:4"], ("pattern", "N:M", "found 5:4")),
    (["--pattern", "squares"], ("pattern", "'squares'", "unstructured", "N:M")),
    (["--criterion", "wnda"], ("criterion", "'wnda'", "did you mean 'wanda'?", "magnitude")),
    (
        ["--allocation-level", "head"],
        ("allocation_level", "'block', 'role' or 'linear'", "found head"),
    ),
    (["--allocation", "owls"], ("allocation", "'owls'", "did you mean 'owl'?")),
    (["--criterion-option", "x"], ("--criterion-option", "NAME=VALUE", "found x")),
    (["--criterion-option", "dispersion_wait=1"], ("dispersion_wait", "did you mean")),
    (["--criterion-option", "dispersion_weight=x"], ("dispersion_weight", "number", "'x'")),
    (["--allocation-option", "zz=1"], ("measured", "option zz")),
    (["--languages", "de,xx1"], ("languages", "'xx1'", "sw")),
    (["--languages", "de,fr"], ("language 'fr' of", "de, sw", "drop")),
    (["--languages", "de,de"], ("languages", "once", "de")),
    (["--languages", ""], ("languages",)),
    (["--language-weights", "fr=1"], ("--language-weights", "de, sw", "found fr")),
    (["--language-weights", "de=0,sw=0"], ("--language-weights", "above 0")),
    (["--language-weights", "de=much"], ("language_weights.de", "number", "found much")),
    (["--language-weights", "de"], ("--language-weights", "de=2,sw=1", "found de")),
    (["--windows", "0"], ("windows", "1", "found 0")),
    (["--window-length", "1"], ("window_length", "2", "found 1")),
    (["--window-length", "129"], ("--window-length", "128", "found 129")),
    (["--seed", "-1"], ("seed", "found -1")),
    (["--mode", "fast"], ("mode", "'sequential' or 'dense'", "found fast")),
    (["--include", "("], ("include", "regular expression", "'('")),
    (["--include", "nowhere"], ("--include", "found nowhere, which is in none", "q_proj")),
    (["--exclude", "layers"], ("--include/--exclude/--skip-blocks", "none left", "q_proj")),
    (["--skip-blocks", "3"], ("--skip-blocks", "0 to 2", "found 3")),
    (["--skip-blocks", "one"], ("--skip-blocks", "numbers", "found one")),
    (["--dtype", "int4"], ("dtype", "bfloat16")),
    (["--compute-dtype", "int8"], ("--compute-dtype", "bfloat16", "found int8")),
    (["--device", "tpu"], ("--device", "cuda:N", "found tpu")),
    (["--device", "cuda:x"], ("--device", "cuda:N", "found cuda:x")),
    (["--device", "meta"], ("--device", "cuda:N", "found meta")),
    (["--max-shard-size", "0"], ("--max-shard-size", "5GB", "found '0'")),
    (["--max-shard-size", "big"], ("--max-shard-size", "5GB", "found 'big'")),
    (["--activation-memory", "-1GB"], ("--activation-memory", "5GB", "found '-1GB'")),
    (["--batch-tokens", "0"], ("--batch-tokens", "1", "prune --help")),
    (["--sparcity", "0.5"], ("--sparcity", "--sparsity", "prune --help")),
    (["--skip-first-tokens", "32"], ("skip_first_tokens", "fewer than the 32", "found 32")),
    (["--skip-first-tokens", "-1"], ("skip_first_tokens", "found -1")),
    (["--criterion-option", "norms=big"], ("norms", "raw, normalised", "'big'")),
    (["--exclude", "kproj,v_proj"], ("--exclude", "found kproj,", "layers.0.self_attn.k_proj")),
    (["--exclude", "model.layers[0].mlp.down_proj"], ("nearest: model.layers.0.mlp.down_proj",)),
    (["--exclude", "*k_proj*"], ("exclude", "a bare * is written .*")),
    (["--include", "mlp", "--include", "lm_head"], ("--include", "found lm_head", "never pruned")),
    (["surplus"], ("surplus", "prune --help")),
    (["--pattern", "2:4", "--allocation", "measured", "--allocation-level", "linear"],
     ("allocation", "uniform", "2:4")),
]  # fmt: skip


def _planned(words: list[str]) -> Case:
    """The plan refuses what the prune refuses."""
    option = words[0].lstrip("-").split("-")[0].split("=")[0]
    return Case(f"plan: {' '.join(words)}", lambda p: p.plan(*words), (option,))


EVAL: list[tuple[list[str], tuple[str, ...]]] = [
    (["--ids", "x"], ("--ids", "LOWEST:HIGHEST", "found x")),
    (["--ids", "3"], ("--ids", "LOWEST:HIGHEST", "found 3")),
    (["--ids", "9:3"], ("--ids", "LOWEST:HIGHEST", "found 9:3")),
    (["--ids", "1:2", "--languages", "de"], ("--ids", "de", "integer id")),
    (["--fail-if-worse-than", "5%"], ("--fail-if-worse-than", "--baseline", "none")),
    (["--fail-if-worse-than", "x", "--baseline", "y"], ("--fail-if-worse-than", "5%", "x")),
    (["--language", "sw=2%"], ("--language", "--baseline", "none")),
    (["--language", "sw", "--baseline", "y"], ("--language", "sw=2%")),
    (["--languages", "zu"], ("'zu'", "de, sw", "add its text")),
    (["--languages", "xx1"], ("'xx1'", "language tag")),
    (["--sentences", "0"], ("--sentences", "eval --help")),
    (["--max-length", "1"], ("--max-length", "eval --help")),
    (["--device", "tpu"], ("--device", "found tpu")),
    (["--baseline", "/no/where"], ("/no/where", "found nothing there")),
]

WINDOWS: list[tuple[list[str], tuple[str, ...]]] = [
    (["--windows", "0"], ("windows", "at least 1", "found 0")),
    (["--window-length", "1"], ("length", "at least 2", "found 1")),
    (["--seed", "-1"], ("--seed", "from 0", "found -1")),
    (["--languages", "fr"], ("'fr'", "de, sw")),
    (["--windows", "9999", "--languages", "de"], ("'de'", "tokens", "add text")),
]

OPTIONS = [
    *(Case(f"prune: {' '.join(words)}", lambda p, words=words: p.prune(None, *words), says)
      for words, says in PRUNE),
    *(_planned(words) for words, _ in PRUNE[::4] if words != ["surplus"]),
    *(Case(f"eval: {' '.join(words)}", lambda p, words=words: p.evaluate(*words), says)
      for words, says in EVAL),
    *(Case(f"windows: {' '.join(words)}", lambda p, words=words: p.draw(*words), says)
      for words, says in WINDOWS),
    *(Case(f"prune: {criterion} without text",
           lambda p, c=criterion: p.prune_with("--criterion", c),
           ("--calibration", f"text for criterion {criterion}", "found none", "<tag>"))
      for criterion in ("wanda", "m-wanda")),
    Case("windows: no text", lambda p: p.draw()[:4], ("--calibration", "found none")),
    Case("eval: a card in no folder",
         lambda p: ["eval", "org/model", *p.evaluate("--update-card")[2:]],
         ("--update-card", "mwanda wrote", "org/model")),
]  # fmt: skip


def _gate(what: str, *words: str, says: tuple[str, ...], beside: str = "model") -> Case:
    def make(place: Place) -> list[object]:
        return place.compare("--baseline", place.good / beside, *words)

    return Case(f"gate: {what}", make, says)


GATES = [
    _gate("a language that is not scored", "--fail-if-worse-than", "5%", "--language", "hi=1%",
          says=("--language", "hi")),
    _gate("another baseline", "--fail-if-worse-than", "0.01%", beside="unlike",
          says=("--baseline", "was pruned from", "model.safetensors", "--other-baseline")),
    _gate("on what is none", "--fail-if-worse-than", "0.01%", "--gate-on", "mean",
          says=("--gate-on", "upper", "mean")),
    _gate("a bound without a limit", "--gate-on", "upper",
          says=("--gate-on", "a limit, --fail-if-worse-than or")),
    _gate("--other-baseline without a limit", "--other-baseline",
          says=("--other-baseline", "a limit, --fail-if-worse-than")),
    Case("gate: --other-baseline without one", lambda p: p.compare("--other-baseline"),
         ("--other-baseline", "--fail-if-worse-than")),
    _gate("a number without %", "--fail-if-worse-than", "1", says=("found 1; write 1%, or 100%",)),
]  # fmt: skip

TYPED: list[tuple[list[str], tuple[str, ...]]] = [
    (["prune", "x"], ("'--out'; see mwanda prune --help",)),
    (["prune"], ("model", "prune --help")),
    (["prnue"], ("prnue", "prune", "mwanda --help")),
    (["ls"], ("what", "ls --help")),
    (["ls", "criterions"], ("'criterions'", "did you mean 'criteria'?", "patterns")),
    (["verify"], ("folder", "verify --help")),
    (["eval", "x"], ("--text", "eval --help")),
    (["--nonsense"], ("--nonsense", "mwanda --help")),
    (["push", "folder"], ("REPO_ID", "push --help")),
    (["pack", "folder"], ("--out", "pack --help")),
    (["mask", "extract", "folder"], ("--out", "mwanda mask extract --help")),
    (["stats", "--out", "s.safetensors"], ("'model'", "mwanda stats take --help")),
    (["stats", "show"], ("'file'", "mwanda stats show --help")),
    (["translate", "model", "--text", "text"], ("--direction",)),
]

COMMANDS = [
    *(Case(f"command: {' '.join(words) or 'none'}", lambda _, words=words: list(words), says)
      for words, says in TYPED),
    *GATES,
]  # fmt: skip
