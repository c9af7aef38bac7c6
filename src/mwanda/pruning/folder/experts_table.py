"""Which experts serve which languages: the numbers of a manifest as tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mwanda.model.run.structure import expert_of
from mwanda.pruning.folder.manifest_records import ExpertsRecord
from mwanda.system.text_tables import markdown
from mwanda.text.languages import display_name

Table = tuple[list[str], list[list[str]]]
"""Header and rows."""

OWN = 0.5
"""An expert is a language's own when more than this share of what it gets is that language's."""

SHOWN = 3


@dataclass(frozen=True)
class _Expert:
    """One expert: tokens by language, and each language's share of what it gets, all languages
    brought to the same number of tokens first. A language that reaches none of the experts looked
    at in its block has no entry."""

    block: str
    number: int
    tokens: dict[str, int]
    shares: dict[str, float]
    loads: dict[str, float]

    @property
    def label(self) -> str:
        return f"{self.block}.{self.number}"


def expert_summary(record: ExpertsRecord) -> str:
    """One sentence: how many experts, how many without a token, how many pruned by magnitude."""
    experts = [expert for _, held in _blocks(record) for expert in held]
    unseen = sum(not any(expert.tokens.values()) for expert in experts)
    text = f"{len(experts)} experts in {len(record.routing)} blocks; {unseen} saw no token"
    weak = {expert_of(name) for name in record.fallbacks}
    if weak:
        text += (
            f"; {len(weak)} saw fewer than {record.minimum} and were pruned by magnitude "
            f"({len(record.fallbacks)} linears)"
        )
    return text


def language_table(record: ExpertsRecord) -> Table:
    """A row a language: how many experts it reaches, which are its own, which it fills most."""
    experts = [expert for _, held in _blocks(record) for expert in held]
    tags = sorted({tag for languages in record.routing.values() for tag in languages})
    rows = []
    for tag in tags:
        reached = sum(expert.tokens.get(tag, 0) > 0 for expert in experts)
        mine = [expert for expert in experts if expert.shares.get(tag, 0.0) > OWN]
        own = sorted(mine, key=lambda expert: -expert.shares[tag])[:SHOWN]
        named = ", ".join(f"{e.label} {e.shares[tag]:.0%}" for e in own)
        busy = sorted(experts, key=lambda expert: -expert.loads.get(tag, 0.0))[:SHOWN]
        filled = ", ".join(f"{e.label} {e.loads.get(tag, 0.0):.0%}" for e in busy)
        counted = [f"{reached} of {len(experts)}", f"{len(mine)}" + (f": {named}" if own else "")]
        rows.append([f"{tag} {display_name(tag)}", *counted, filled])
    return ["language", "experts reached", "its own", "share of its tokens"], rows


def block_table(record: ExpertsRecord) -> Table:
    """A row a block: experts, those without a token, by magnitude, and the most one-sided one."""
    weak = {expert_of(name) for name in record.fallbacks}
    rows = []
    for path, experts in _blocks(record):
        seen = [expert for expert in experts if any(expert.tokens.values())]
        sharpest = max(seen, key=lambda e: max(e.shares.values()), default=None)
        most = ""
        if sharpest is not None:
            tag = max(sharpest.shares, key=sharpest.shares.__getitem__)
            most = f"{sharpest.number}: {sharpest.shares[tag]:.0%} {tag}"
        served = sum(entry is not None and entry[0] == path for entry in weak)
        counts = (len(experts), len(experts) - len(seen), served)
        rows.append([experts[0].block if experts else path, *map(str, counts), most])
    return ["block", "experts", "without a token", "by magnitude", "most one-sided"], rows


def experts_section(record: ExpertsRecord) -> str:
    """A model card's section on experts, in Markdown."""
    lines = [
        "## Experts",
        "",
        f"{expert_summary(record)}. Statistics of an expert come from the tokens routed to it; the "
        "router was left alone. Experts are named block.number; an expert is a language's own when "
        "more than half of what it gets is that language's, all languages at the same number of "
        "tokens.",
        "",
        markdown(*language_table(record)),
        "",
        markdown(*block_table(record)),
        "\n",
    ]
    return "\n".join(lines)


def _blocks(record: ExpertsRecord) -> Iterator[tuple[str, list[_Expert]]]:
    for path, languages in record.counts().items():
        numbers = re.findall(r"\.(\d+)(?=\.)", path)
        block = numbers[-1] if numbers else path
        totals = {tag: sum(n for n in counts if n) or 1 for tag, counts in languages.items()}
        held = []
        for number in range(max(map(len, languages.values()), default=0)):
            tokens = {tag: counts[number] for tag, counts in languages.items()}
            known = {tag: count for tag, count in tokens.items() if count is not None}
            if not known:
                continue
            loads = {tag: count / totals[tag] for tag, count in known.items()}
            total = sum(loads.values()) or 1.0
            shares = {tag: load / total for tag, load in loads.items()}
            held.append(_Expert(block, number, known, shares, loads))
        yield path, held
