"""The schedule of a prune: which passes it makes over its text, in which order, and for what.

Built once of a resolved recipe; the pipeline runs it, a plan prints it, and the forecast counts it.

``sequential``: a block's statistics are taken on what the pruned blocks before it produce, then a
second pass gives the pruned outputs that feed the next block. ``dense``: one pass over the unpruned
model, whose statistics then serve every block. Allocations that differ by block look at all blocks
first: in sequential mode that costs a dense pass more, in dense mode a second reading of the
weights. Statistics saved from an earlier pass take the place of a dense one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mwanda.methods.allocation.comparison import Probe
from mwanda.methods.input_statistics import Need
from mwanda.model.run.structure import Structure
from mwanda.pruning.recipe.resolved import ResolvedRecipe

LOOK, PRUNE = "dense pass", "prune"
"""The stages that a journal names: all blocks looked at, and all blocks pruned."""

Look = Literal["nothing", "weights", "saved", "text"]
"""What the allocation looks at before the first block is pruned."""

Masks = Literal["weights", "saved", "kept", "once", "twice"]
"""What masks are made of: weights alone; sums saved by an earlier run; sums that the look kept;
sums of one pass over the text; or two passes, on what the pruned blocks before produce."""


@dataclass(frozen=True)
class Schedule:
    """The passes of one prune.

    Attributes:
        needs: sums that masks and updates are made of; none where they need no text.
        look_needs: sums that a look at the text takes, those it keeps for the masks among them.
        probe: what that look compares on top; None where it compares nothing.
    """

    look: Look
    masks: Masks
    needs: tuple[Need, ...]
    look_needs: tuple[Need, ...]
    probe: Probe | None

    @classmethod
    def of(cls, recipe: ResolvedRecipe, *, saved: bool) -> Schedule:
        """The schedule of a recipe."""
        row, needs = recipe.allocation_row(), recipe.linear_needs if recipe.needs_text else ()
        look: Look = "nothing"
        if row.needs_text and recipe.needs_text:
            look = "saved" if saved else "text"
        elif row.measure is not None and not row.needs and recipe.sparsity:
            look = "weights"
        masks: Masks = "once"
        if not needs:
            masks = "weights"
        elif saved:
            masks = "saved"
        elif recipe.mode == "sequential":
            masks = "twice"
        elif look == "text":
            masks = "kept"
        wanted = row.needs
        if recipe.probe is not None:  # masks are chosen as they will be
            wanted = recipe.criterion_row().needs_of(recipe.criterion.options)
        if masks == "kept":
            wanted = tuple(dict.fromkeys((*needs, *wanted)))
        return cls(look, masks, needs, wanted if recipe.needs_text else (), recipe.probe)

    @property
    def visits(self) -> int:
        """How often a block's weights are read for a forward."""
        return (self.look == "text") + (self.masks in ("once", "twice"))

    @property
    def keeps_grams(self) -> bool:
        """Whether the Gram matrices of all blocks are on disk at once."""
        return self.masks == "kept" and "gram" in self.needs

    @property
    def saved_needs(self) -> tuple[Need, ...]:
        """Sums that a file of statistics must hold."""
        return tuple(dict.fromkeys((*self.needs, *self.look_needs)))

    def passes(self, chosen: Structure) -> int:
        """Block passes over all tokens: a block run once over all of them is one."""
        blocks = len(chosen.blocks)
        if self.masks == "twice":  # the last block needs no outputs
            own = sum(bool(block.linears) for block in chosen.blocks) + blocks - 1
        else:
            own = blocks * (self.masks == "once")
        return own + blocks * (self.look == "text")

    def lines(self) -> tuple[str, ...]:
        """What is done, step by step, for a person to read."""
        looks = {
            "nothing": (),
            "weights": ("look at every block's weights",),
            "saved": ("look at every block's saved statistics",),
            "text": ("run the text through the dense blocks",),
        }
        compared = () if self.probe is None else ("compare each masked block with the dense one",)
        masks = {
            "weights": "prune by the weights alone",
            "saved": "prune from saved statistics",
            "kept": "prune from the statistics kept on the way",
            "once": "run the text through the dense blocks, and prune each after it",
            "twice": "run the text through every block twice: to prune it, and pruned",
        }
        return (*looks[self.look], *compared, masks[self.masks])
