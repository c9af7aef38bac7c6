"""What a trimmed vocabulary costs in likelihood, in two parts that add up."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.evaluation.evaluate import evaluate, score_languages
from mwanda.evaluation.texts import TextSet, texts_given
from mwanda.model.opening import open_decoder
from mwanda.model.source import load_tokenizer, open_model
from mwanda.pruning.folder.manifest import find_manifest
from mwanda.pruning.given_arguments import options_given
from mwanda.system.run_options import RunOptions
from mwanda.system.shown import Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed


@dataclass(frozen=True, repr=False)
class TrimLoss(Shown):
    """Nats a text of one language, on the same texts.

    Attributes:
        whole: of the model before, with its own tokens.
        tokenisation: what the new tokens cost under the model before; 0 for the old ones. A
            tokenizer without a start token leaves each text's first token unscored. Where the trim
            splits that token, its other pieces count here.
        softmax: what the rows that are gone no longer take, at most 0.
    """

    whole: float
    tokenisation: float
    softmax: float

    @property
    def total(self) -> float:
        """Rise of the trimmed model over the whole one."""
        return self.tokenisation + self.softmax


@speaking
@undisturbed()
def trim_loss(
    whole: str | Path,
    trimmed: str | Path,
    text: str | Path | Mapping[str, Any] | TextSet,
    *,
    old_ids: Sequence[int] | None = None,
    languages: str | Sequence[str] | None = None,
    sentences: int | None = None,
    options: RunOptions | None = None,
) -> dict[str, TrimLoss]:
    """Score texts under a model and its trim, and under the model with the trim's tokens.

    Args:
        whole: the model that was trimmed.
        trimmed: what :func:`mwanda.trim` wrote.
        text, languages, sentences: as in :func:`mwanda.evaluate`.
        old_ids: new id -> old id; None takes the trimmed folder's manifest.

    Raises:
        InputError: bad input, or a folder that no trim made.
    """
    # Two forms of one model are compared: what calibrated it favours neither.
    options = replace(options_given(options), allow_overlap=True)
    texts = texts_given(text, languages, sentences=sentences, seed=0, ids=None)
    if old_ids is None:
        manifest = find_manifest(Path(trimmed))
        if manifest is None or not manifest.trims:
            raise InputError(
                str(trimmed), expected="a folder that mwanda trim wrote", found="no trim in it"
            )
        old_ids = manifest.trims[-1].old_ids
    before = evaluate(whole, texts, options=options).languages
    after = evaluate(trimmed, texts, options=options).languages
    with tempfile.TemporaryDirectory(prefix="mwanda-") as made:
        scratch = Path(made)
        (scratch / "trimmed").mkdir()
        trust = options.trust_remote_code
        with open_model(str(trimmed), scratch / "trimmed", trust_remote_code=trust) as source:
            found = load_tokenizer(source.folder, trust_remote_code=trust)
            tokenizer = _Renumbered(found, old_ids)
        with (
            open_model(str(whole), scratch, trust_remote_code=trust) as source,
            open_decoder(source, options, measuring=True) as decoder,
        ):
            between = score_languages(
                decoder, tokenizer, texts, scratch, options, None, str(whole)
            ).languages
    return {
        tag: TrimLoss(
            before[tag].nll_per_sentence,
            between[tag].nll_per_sentence - before[tag].nll_per_sentence,
            after[tag].nll_per_sentence - between[tag].nll_per_sentence,
        )
        for tag in before
    }


class _Renumbered:
    """A trimmed tokenizer that gives the old ids."""

    def __init__(self, tokenizer: Any, old_ids: Sequence[int]) -> None:
        self._tokenizer, self._old_ids = tokenizer, old_ids
        self.is_fast = tokenizer.is_fast
        self.all_special_ids = [old_ids[one] for one in tokenizer.all_special_ids]

    def __call__(self, text: str, **more: Any) -> dict[str, Any]:
        found = dict(self._tokenizer(text, **more))
        found["input_ids"] = [self._old_ids[one] for one in found["input_ids"]]
        return found

    def convert_ids_to_tokens(self, ids: list[int]) -> Any:
        return self._tokenizer.convert_ids_to_tokens([self._old_ids.index(one) for one in ids])
