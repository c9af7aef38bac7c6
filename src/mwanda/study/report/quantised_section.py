"""The section of a report about what one could do instead: quantise the dense model."""

from __future__ import annotations

from mwanda.study.report.cells import MARK, headline, rise_of, rises_by_language, worst_of
from mwanda.study.report.data import ModelResults, StudyResults
from mwanda.study.report.elements import Part, Section, Table
from mwanda.study.report.language_sections import NO_DENSE
from mwanda.study.report.sizes import sizes_of


def quantised(results: StudyResults) -> Section | None:
    """The dense models in fewer bits, beside the pruned ones; None where there are none."""
    groups = [(model.name, _parts(model)) for model in results.models if model.quantised]
    return Section("quantised", "Instead: quantised or trimmed", groups) if groups else None


def _parts(model: ModelResults) -> list[Part]:
    if model.dense is None:
        return [NO_DENSE]
    rows = []
    for one in sorted(sizes_of(model), key=lambda one: (one.size, one.name), reverse=True):
        loss = model.loss(one.group)
        rows.append([
            one.name, f"{one.group.sparsity:.0%}" if one.method else "", f"{one.size / 1e6:,.1f}",
            f"{one.share:.0%}", rise_of(loss.mean), loss.mean.bounds(), worst_of(loss),
            f"{loss.certain} of {len(model.languages)}",
        ])  # fmt: skip
    parts: list[Part] = [
        Table(
            f"{model.name}: smaller forms and pruned models by what their weights take",
            ["model", "sparsity", "MB", "of the dense model's", "mean rise", "95 % interval",
             "worst language", "languages worse"],
            rows,
            words=("worst language",),
            note="A quantised model's bytes are those of its weights in a GGUF file, and those of "
            "what ships are of its own files with weights. A trimmed "
            "model's vocabulary is cut to the scripts of these languages, which changes nothing "
            "in them: a pruned model that is also trimmed has the pruned one's losses. A pruned "
            "model's are the weights that are left, in the dense model's dtype, and a bit for "
            f"every weight of the pruned linears. {MARK}",
        )
    ]  # fmt: skip
    for sparsity in model.sparsities or (0.0,):
        pruned = model.at(sparsity)
        compared = [*model.quantised.values(), *pruned]
        losses = [model.loss(group) for group in compared]
        where = f" at sparsity {sparsity:.0%}" if pruned else ""
        means = ["mean", *(rise_of(loss.mean) for loss in losses)]
        parts.append(
            Table(
                f"{model.name}{where}: rise in NLL per sentence over the dense model, quantised "
                "beside pruned",
                ["language", *(group.method for group in compared)],
                [*rises_by_language(model, losses), means],
                folded=bool(pruned) and sparsity != headline(model),
                note=MARK,
                totals=1,
            )
        )
    return parts
