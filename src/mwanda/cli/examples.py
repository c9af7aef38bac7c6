"""An example of every command, which its help shows."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "": (
        "mwanda prune MODEL --out pruned --calibration TEXT --languages de,fr,sw",
        "mwanda eval pruned --baseline MODEL --text TEXT",
    ),
    "prune": (
        "mwanda prune MODEL --out pruned --languages de,sw        # a first try",
        "mwanda prune MODEL --out pruned --calibration TEXT --languages de,fr,sw \\\n"
        "  --sparsity 30% --recipe best-quality",
    ),
    "eval": (
        "mwanda eval pruned --baseline MODEL --text TEXT",
        "mwanda eval pruned --baseline MODEL --text TEXT \\\n"
        "  --fail-if-worse-than 5%                                # a gate for CI",
        "mwanda eval pruned-q4.gguf --runtime llama.cpp --tokenizer pruned \\\n"
        "  --baseline pruned --text TEXT                          # what is deployed",
    ),
    "report": ("mwanda report STUDY",),
    "search": ("mwanda search MODEL --max-loss 5% --text TEXT --calibration TEXT2 --out pruned",),
    "plan": ("mwanda plan MODEL --calibration TEXT --languages de,fr,sw --sparsity 30%",),
    "windows": ("mwanda windows MODEL --out windows.safetensors --calibration TEXT",),
    "ls": ("mwanda ls recipes", "mwanda ls criteria"),
    "recover": (
        "mwanda recover pruned --dense MODEL --calibration TEXT --languages de,fr,sw \\\n"
        "  --out recovered",
    ),
    "verify": ("mwanda verify pruned --against MODEL",),
    "diff": ("mwanda diff pruned-a pruned-b",),
    "pack": ("mwanda pack pruned --out pruned.mwz",),
    "unpack": ("mwanda unpack pruned.mwz --out pruned",),
    "trim": ("mwanda trim MODEL --languages de,fr,sw --out trimmed",),
    "quantise": ("mwanda quantise MODEL --type Q8_0 --out quantised",),
    "gguf-check": ("mwanda gguf-check pruned-q8_0.gguf pruned --fail-below 99.9%",),
    "push": ("mwanda push pruned organisation/name",),
    "translate": ("mwanda translate MODEL --text TEXT --direction en-de --direction de-en",),
    "tasks": ("mwanda tasks MODEL --task xcopa=FOLDER --languages et,sw",),
    "stats": (
        "mwanda stats MODEL --out stats.safetensors --calibration TEXT",
        "mwanda prune MODEL --out pruned --statistics stats.safetensors",
    ),
    "stats take": ("mwanda stats MODEL --out stats.safetensors --calibration TEXT",),
    "stats merge": ("mwanda stats merge a.safetensors b.safetensors --out both.safetensors",),
    "stats show": ("mwanda stats show stats.safetensors",),
    "study": ("mwanda study grid.yaml --out STUDY", "mwanda report STUDY"),
    "study run": ("mwanda study grid.yaml --out STUDY",),
    "study status": ("mwanda study status STUDY",),
    "study work": ("mwanda study work STUDY",),
    "mask": ("mwanda mask extract pruned --out masks.safetensors",),
    "mask extract": ("mwanda mask extract pruned --out masks.safetensors",),
    "mask apply": ("mwanda mask apply masks.safetensors MODEL --out pruned",),
}
"""The words after ``mwanda`` -> what to type."""
