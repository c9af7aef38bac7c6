"""The model card: what a reader of the pruned folder has to know first."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mwanda.errors import InputError
from mwanda.methods.registry import find_reconstruction
from mwanda.pruning.folder.card_metadata import Loading, loading_of, metadata
from mwanda.pruning.folder.experts_table import experts_section
from mwanda.pruning.folder.made_with import commands_of, short_name, short_source
from mwanda.pruning.folder.manifest import Manifest
from mwanda.pruning.folder.manifest_records import CalibrationRecord, RecoveryRecord, TrimRecord
from mwanda.system.durable import put
from mwanda.system.output import check_writable
from mwanda.text.languages import MULTIPLE, display_name

CARD = "README.md"
BEGIN, END = "<!-- mwanda: per-language table -->", "<!-- mwanda: end -->"
VERSIONS = ("mwanda", "torch", "transformers")


def write_card(
    folder: Path,
    manifest: Manifest,
    source_readme: str | None = None,
    base: str | None = None,
) -> None:
    """Write the card of a freshly pruned folder, whose config.json is there.

    Args:
        source_readme: the base model's own card; its licence fields are carried over.
        base: hub id of the base model; None where it has none.
    """
    loading = loading_of(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    header = metadata(list(manifest.seen), base, source_readme, loading)
    front = yaml.safe_dump(header, sort_keys=False, allow_unicode=True).strip()
    body = _body(manifest, loading)
    experts = "" if manifest.experts is None else experts_section(manifest.experts)
    text = f"---\n{front}\n---\n\n{body}\n{experts}{BEGIN}\n{END}\n"
    put(folder / CARD, text.encode())


def check_card(folder: Path) -> None:
    """Refuse a card that :func:`update_card` cannot read or replace."""
    _read(folder)
    check_writable(folder, CARD, "make it writable, or leave out --update-card")


def update_card(folder: Path, table: str) -> None:
    """Put a Markdown table of results into the card, in the place kept for it."""
    before, _, rest = _read(folder).partition(BEGIN)
    # Without an end mark everything after the first one is somebody's own text.
    after = (rest.partition(END)[2] if END in rest else rest) if rest else "\n"
    section = f"{BEGIN}\n\n## What each language lost\n\n{table}\n\n{END}"
    put(folder / CARD, f"{before}{section}{after}".encode())


def _read(folder: Path) -> str:
    path = folder / CARD
    if not path.exists():
        return f"{BEGIN}\n{END}\n"
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            str(path), expected="a card in UTF-8", found=str(error),
            fix="mend the file, or leave out --update-card",
        ) from error  # fmt: skip


def has_table(folder: Path) -> bool:
    """Whether the card shows what each language lost."""
    text = (folder / CARD).read_text(encoding="utf-8", errors="replace")
    return "|" in text.partition(BEGIN)[2].partition(END)[0]


def chosen_by(recipe: Mapping[str, Any], *, masks_only: bool = False) -> str:
    """What chose the masks, and what became of the weights they keep, in a few words; nothing did
    of ``masks_only``, which were applied to weights of another run."""
    if "criterion" not in recipe:
        return "masks of another program"
    name = (recipe.get("reconstruction") or {}).get("name")
    criterion = f"criterion: {recipe['criterion']['name']}"
    if name is None:
        return criterion
    if find_reconstruction(name).prune is not None:
        return f"masks by {name}" if masks_only else f"masks and kept weights by {name}"
    return criterion if masks_only else f"{criterion}, kept weights updated by {name}"


def allotted_by(recipe: Mapping[str, Any]) -> str:
    """What chose the sparsities, in a few words."""
    name = (recipe.get("allocation") or {}).get("name", "uniform")
    each = {"linear": ", a linear each", "role": ", each kind of linear of a block"}
    return f"allocation: {name}{each.get(recipe.get('allocation_level') or '', '')}"


def _body(manifest: Manifest, loading: Loading) -> str:
    recipe, totals, origin = manifest.recipe, manifest.totals, manifest.mask_file
    base = _plain(short_name(manifest.base))
    pruned = bool(totals.pruned or not manifest.trims)
    lines = [f"# {base}, {'pruned' if pruned else 'trimmed'}", ""]
    if pruned:
        lines += [
            f"One-shot pruning of `{base}`: {totals.sparsity:.1%} of the weights of "
            f"{totals.linears} linears are zero ({totals.model_sparsity:.1%} of the whole model).",
            "",
            f"- {chosen_by(recipe, masks_only=origin is not None)}"
            + (
                f", {allotted_by(recipe)}, pattern: {recipe['pattern']}, "
                f"statistics: {manifest.statistics}"
                if "pattern" in recipe
                else ""
            ),
        ]
    lines += [_trimmed(record) for record in (*manifest.earlier_trims, *manifest.trims)]
    lines += [
        f"- weights written in {manifest.dtype}"
        + (f"; the source was dequantised from {manifest.dequantised}" if manifest.dequantised
           else ""),
    ]  # fmt: skip
    if origin is not None:
        other = f"`{_plain(short_name(origin.base))}`, not on this model"
        whose = "this model" if origin.same else other
        lines.append(
            f"- masks chosen on {whose}, and applied as they are: weights kept are its own"
        )
    if manifest.calibration is not None:
        drawn = manifest.calibration
        tokens = sum(entry.tokens for entry in drawn.languages.values())
        lines.append(f"- calibrated on {tokens:,} tokens of {_text(drawn)}")
    for before in manifest.earlier:
        lines.append(f"- the base had been pruned before, on {_text(before)}")
    lines += [line for recovery in manifest.recoveries for line in _recovered(recovery)]
    made = ", ".join(f"{name} {manifest.versions[name]}" for name in VERSIONS
                     if name in manifest.versions)  # fmt: skip
    commands = [shlex.join(command).replace("`", "'") for command in commands_of(manifest)]
    lines += ["", *_snippet(loading), "", f"Made with {made}:", "", "```", *commands, "```", ""]
    lines += ["## Limits", ""]
    if pruned:
        lines += [
            "- the tensors are dense with zeros in them: the same size and speed in common "
            "runtimes",
            "- languages not named above were not looked at and may have lost more",
        ]
        lines += [] if manifest.recoveries else ["- nothing was trained after the pruning"]
    if manifest.trims or manifest.earlier_trims:
        lines.append("- text in other scripts than those named is written in single bytes, badly")
    lines += [
        "",
        "`mwanda.json` holds the whole recipe, hashes and the sparsity of every linear; "
        "`mwanda verify` checks the folder against it. The base model's licence applies.",
        "",
    ]
    return "\n".join(lines)


def _trimmed(record: TrimRecord) -> str:
    """What a cut of the vocabulary left, as a line of the card."""
    kept = len(record.old_ids)
    chosen = {"script": "scripts", "letters": "letters in scripts", "text": "tokens of a text in"}
    names = ", ".join(f"{tag} ({display_name(tag)})" for tag in record.languages)
    return (
        f"- vocabulary trimmed to {kept:,} of {record.rows:,} tokens, by {chosen[record.by]} "
        f"{', '.join(record.scripts)}, for {names}"
    )


def _recovered(recovery: RecoveryRecord) -> list[str]:
    """How it learnt after the prune, as lines of Markdown."""
    base, text, held = short_name(recovery.dense), recovery.text, recovery.held_out
    tokens = sum(draw.tokens for draw in text.languages.values())
    means = [
        sum(text.weights[tag] * loss for tag, loss in losses.items())
        for losses in ({tag: one.before for tag, one in held.items()},
                       {tag: one.after for tag, one in held.items()})
    ]  # fmt: skip
    worse = ", ".join(recovery.worse)
    return [
        f"- recovered after that: kept weights learnt the next-token distribution of "
        f"`{_plain(base)}` in {recovery.length} on {tokens:,} tokens of {_text(text)}; "
        "zeros are where they were",
        f"- its divergence from `{_plain(base)}` on windows held out: {means[0]:.3f} nats a token "
        f"before, {means[1]:.3f} after"
        + (f"; larger than before in: {worse}" if worse else ", smaller in every language"),
    ]


def _snippet(loading: Loading) -> list[str]:
    """How to load it, as lines of Markdown."""
    other = "AutoProcessor" if loading.pipeline == "image-text-to-text" else "AutoTokenizer"
    trust = ", trust_remote_code=True" if loading.own_code else ""
    return [
        "```python",
        f"from transformers import {', '.join(sorted([loading.model, other]))}",
        "",
        'name = "ORGANISATION/NAME"  # of this page, or the folder',
        f'model = {loading.model}.from_pretrained(name, dtype="auto"{trust})',
        f"{other[4:].lower()} = {other}.from_pretrained(name{trust})",
        "```",
    ]


def _text(calibration: CalibrationRecord) -> str:
    names = ", ".join(f"{tag} ({display_name(tag)})" for tag in calibration.named)
    text = f"{_plain(short_source(calibration.source))} in: {names}"
    if calibration.background_source is None:
        return text
    others, share = ", ".join(calibration.background), calibration.weights[MULTIPLE]
    return (
        f"{text}; and a little, {share:.0%} of the weight, of "
        f"{_plain(short_source(calibration.background_source))} in: {others}"
    )


def _plain(text: str) -> str:
    return text.replace("`", "'").replace("<", "&lt;").replace("\n", " ")
