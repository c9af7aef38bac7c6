"""What a study found, in numbers: the title of its page, three figures, and what to know first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mwanda.evaluation.gate import percent
from mwanda.evaluation.paired import Difference
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.resolved import resolve
from mwanda.study.report.cells import headline
from mwanda.study.report.data import Group, Loss, ModelResults, StudyResults
from mwanda.study.report.elements import Number
from mwanda.study.report.sizes import reach_of, sizes_of
from mwanda.text.languages import display_name

NOTHING_YET = "What sparsity does to every language"
FEW = 3
"""So many methods are told in the title; of more the best and the first."""

ROLES = {
    "criterion": "criterion (which weights go)",
    "allocation": "allocation (how zeros are shared out between blocks)",
    "reconstruction": "reconstruction (how kept weights make up for the others)",
    "pattern": "pattern (where in a row zeros may be)",
}
"""Field of a recipe -> the same for those who do not know it."""

FORMS = (
    "Quantised: every weight is kept, in fewer bits; Q8_0 takes 8.5 bits a weight, Q4_0 4.5. "
    "Trimmed: the vocabulary keeps what the scripts of these languages need; in them next to "
    "nothing changes."
)


def first_model(results: StudyResults) -> ModelResults | None:
    """The first model of which something can be said."""
    there = (one for one in results.models if one.dense is not None and one.groups)
    return next(there, None)


def best_and_first(model: ModelResults) -> tuple[Group, Group]:
    """At the sparsity that is told, the method that lost least and the first of the study."""
    groups = model.at(headline(model))
    return min(groups, key=lambda group: model.loss(group).mean.mean), groups[0]


def rivals(model: ModelResults) -> tuple[Group, Group]:
    """The method that lost least, and the next."""
    groups = sorted(model.at(headline(model)), key=lambda group: model.loss(group).mean.mean)
    return groups[0], groups[min(1, len(groups) - 1)]


def title_of(results: StudyResults) -> str:
    """The finding in a sentence."""
    model = first_model(results)
    if model is None:
        return NOTHING_YET
    best, first = best_and_first(model)
    groups = sorted(model.at(best.sparsity), key=lambda group: model.loss(group).mean.mean)
    told = groups if len(groups) <= FEW else [best, first] if first is not best else [best]
    rises = [f"{_share(model.loss(g).mean.mean)} with {_quoted(g.method)}" for g in told[1:]]
    tags = model.languages
    who = f"{len(tags)} languages lose" if len(tags) > 1 else f"{display_name(tags[0])} loses"
    average = " on average" if len(tags) > 1 else ""
    start = f"At {percent(best.sparsity)} sparsity {who} "
    start += f"{_share(model.loss(best).mean.mean)}{average} with {_quoted(best.method)}"
    if rises:
        return ", ".join([start, *rises])
    worst = model.loss(best).worst
    share = _share(model.loss(best).languages[worst].mean)
    return f"{start}, {display_name(worst)} most: {share}" if len(tags) > 1 else start


def lede_of(results: StudyResults) -> list[str]:
    """What the title speaks of, what one could do instead, and how sure the order of methods is."""
    model = first_model(results)
    if model is None:
        return []
    found = [
        f"A loss of 1% says that the pruned model foresees sentences 1% worse than {model.name} "
        "did: their negative log-likelihood (NLL) is that much higher. Sparsity is the share of "
        "weights set to zero."
    ]
    best, following = rivals(model)
    first = model.at(best.sparsity)[0]
    found += _instead(model, best)
    return found if following is first else [*found, _against_next(model, best, following)]


def _instead(model: ModelResults, best: Group) -> list[str]:
    """The smallest form that loses no more than the best method does; where none is, the one that
    loses least."""
    sizes = [*sizes_of(model)]
    forms = [(model.loss(one.group).mean.mean, one) for one in sizes if one.method is None]
    if not forms:
        return []
    spared = [row for row in forms if row[0] <= model.loss(best).mean.mean]
    rise, form = min(spared, key=lambda row: row[1].size) if spared else min(
        forms, key=lambda row: row[0]
    )  # fmt: skip
    pruned = next(one for one in sizes if one.group is best)
    return [
        f"Smaller without pruning: {_quoted(form.name)} takes {form.share:.0%} of the dense "
        f"model's bytes and loses {_share(rise, 2)}. {_quoted(best.method)} takes "
        f"{pruned.share:.0%}, as only {reach_of(best):.0%} of all weights are in the matrices it "
        "prunes."
    ]


def _text_read(settings: Mapping[str, Any]) -> str:
    """The languages whose text a method read, for those who do not want their tags."""
    tags: Sequence[str] = settings["recipe"]["languages"] if settings["calibration"] else ()
    if len(tags) == 1:
        return f"text in {display_name(tags[0])} alone"
    return f"text in {len(tags)} languages" if tags else "no text"


def _against_next(model: ModelResults, best: Group, following: Group) -> str:
    apart = model.against(best, following)
    bounds = ""
    if not apart.mean.reason:
        low, high = -apart.mean.high, -apart.mean.low
        bounds = f" (95% interval {_points(low, '')} to {_points(high, '')})"
    return (
        f"{_quoted(best.method)} loses {_points(-apart.mean.mean, '')} points less than the second "
        f"best, {_quoted(following.method)}{bounds}: {_sure(model, apart)}."
    )


def _sure(model: ModelResults, apart: Loss) -> str:
    """In how many languages the first of two methods lost significantly less, and more."""
    better = sum(one.high < 0 for one in apart.languages.values())
    said = f"significantly less in {better} of {len(model.languages)} languages"
    return f"{said}, significantly more in {apart.certain}" if apart.certain else said


def terms_of(results: StudyResults) -> list[tuple[str, str]]:
    """What the names of this study stand for."""
    model = first_model(results)
    if model is None:
        return []
    made = []
    for group in model.at(headline(model)):
        settings = group.first["settings"]
        recipe = settings["recipe"]
        named = {field: _told(recipe.get(field))[0] for field in ROLES}
        parts = [f"{field} {name}" for field, name in named.items() if name != "none"]
        made.append(
            (_quoted(group.method), ", ".join([*parts, _text_read(settings), *_more(recipe)]))
        )
    if any(one.method is None for one in sizes_of(model)):
        made.append(("Smaller without pruning", FORMS))
    return made


def numbers_of_study(results: StudyResults) -> list[Number]:
    """Three figures with their intervals."""
    model = first_model(results)
    if model is None:
        return []
    best, first = best_and_first(model)
    loss, at = model.loss(best), percent(best.sparsity)
    worst = loss.worst
    made = [
        _number(loss.mean, f"mean loss of {len(model.languages)} languages at {at} "
                f"sparsity, {_quoted(best.method)}"),
        _number(loss.languages[worst], f"for {display_name(worst)}, which loses most under "
                f"{_quoted(best.method)}"),
    ]  # fmt: skip
    if best is first:
        said = f"of {len(model.languages)} languages are significantly worse than before pruning"
        return [*made, Number(str(loss.certain), "", said)]
    apart = model.against(best, first)
    said = f"{_quoted(best.method)} against {_quoted(first.method)}: {_sure(model, apart)}"
    return [*made, _number(apart.mean, said, points=True)]


def notices_of(results: StudyResults) -> list[str]:
    """What a reader has to know before believing it."""
    found = []
    if results.missing:
        found.append(f"This page is not whole. Cells still to be computed: {results.missing}.")
    if results.failures:
        found.append(
            f"Points of the grid that failed: {len(results.failures)}. See what failed below."
        )
    if (model := first_model(results)) is not None:
        apart = {
            group.method: from_today(group.first["settings"]["recipe"], group.sparsity)
            for group in model.at(headline(model))
        }
        if all(apart.values()):
            nearest = min(apart, key=lambda method: len(apart[method]))
            found.append(
                "None of these methods is what mwanda prune does by default today. The nearest, "
                f"{_quoted(nearest)}, has {'; '.join(apart[nearest])}."
            )
    return found


def from_today(recipe: Mapping[str, Any], sparsity: float) -> list[str]:
    """In what a recipe differs from today's defaults at a sparsity."""
    today = resolve(Recipe.build({"sparsity": sparsity})).model_dump(mode="json")
    found = []
    for field in ROLES:
        had, has = _told(recipe.get(field)), _told(today[field])
        if had[0] != has[0]:
            found.append(f"the {ROLES[field]} {_quoted(had[0])}, today's is {_quoted(has[0])}")
        elif had[1] != has[1]:
            names = [name for name in {**had[1], **has[1]} if had[1].get(name) != has[1].get(name)]
            found.append(f"another {', '.join(names)} of the {field} {_quoted(had[0])}")
    if recipe.get("mode") != today["mode"]:
        found.append(f"{recipe.get('mode')} statistics, today's are {today['mode']}")
    return [*found, *_more(recipe)]


def cite(results: StudyResults, version: str) -> str:
    """BibTeX of the study, of mwanda and of the paper it builds on."""
    plan = results.plan
    models = "; ".join(f"{name}, SHA-256 {one.sha256}" for name, one in plan.models.items())
    note = _escaped(f"Models: {models}. Text scored: SHA-256 {plan.text_sha256}")
    return BIBTEX.format(title=_escaped(title_of(results)), version=version, note=note)


BIBTEX = """\
@misc{{mwanda-study,
  title = {{{{{title}}}}},
  howpublished = {{Study made with mwanda {version}}},
  note = {{{note}}},
}}

@software{{mwanda,
  title = {{{{mwanda: prune a multilingual language model for its languages}}}},
  author = {{{{The mwanda developers}}}},
  version = {{{version}}},
}}

@inproceedings{{choenni2025mwanda,
  title = {{{{M-Wanda: Improving One-Shot Pruning for Multilingual LLMs}}}},
  author = {{Choenni, Rochelle and Titov, Ivan}},
  booktitle = {{EMNLP}},
  year = {{2025}},
  eprint = {{2505.21171}},
  archiveprefix = {{arXiv}},
}}
"""


def _more(recipe: Mapping[str, Any]) -> list[str]:
    return ["a recovery"] if recipe.get("recover") else []


def _told(method: Any) -> tuple[str, Mapping[str, Any]]:
    if method is None:
        return "none", {}
    return (method, {}) if isinstance(method, str) else (method["name"], method["options"])


def _number(found: Difference, says: str, *, points: bool = False) -> Number:
    def shown(value: float) -> str:
        return _points(value) if points else f"{value:+.1%}".replace("-", "−")

    bounds = "" if found.reason else f"95% interval {shown(found.low)} to {shown(found.high)}"
    return Number(shown(found.mean) + (" points" if points else ""), bounds, says)


def _points(value: float, sign: str = "+") -> str:
    """Without ``sign`` only what is below 0 has one."""
    return f"{100 * value:{sign}.1f}".replace("-", "−")


def _share(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}%}".replace("-", "−")


def _quoted(name: str) -> str:
    return f"“{name}”"


def _escaped(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "%&#_$" else sign for sign in text
                   if sign not in "{}\\")  # fmt: skip
