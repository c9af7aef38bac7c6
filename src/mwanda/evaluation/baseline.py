"""Whether a baseline is the model that another was pruned from."""

from __future__ import annotations

import logging
from pathlib import Path

from mwanda.errors import InputError
from mwanda.pruning.folder.bases import other_files
from mwanda.pruning.folder.manifest import find_manifest

log = logging.getLogger("mwanda")


def check_baseline(model: str | Path, baseline: str | Path, *, refuse: bool) -> bool | None:
    """Compare a baseline's files with the hashes in the manifest of a pruned folder.

    What the base itself was pruned from is a base too.

    Args:
        refuse: refuse another model; otherwise it is told in one line.

    Returns:
        Whether it is a base; None where the model has no manifest that says.
    """
    manifest = find_manifest(Path(model))
    if manifest is None or not manifest.bases:
        return None
    differing = other_files(baseline, manifest.bases)
    if not all(differing):
        return True
    untold = bool(manifest.earlier) and not manifest.earlier_bases
    problem = InputError(
        f"--baseline {baseline}",
        expected=f"the model that {model} was pruned from, {manifest.base}",
        found=f"another one by its {', '.join(differing[0][:3])}"
        + ("; what that one was pruned from, the manifest does not say" if untold else ""),
        fix="give that model, or --other-baseline to compare with this one",
    )
    if refuse:
        raise problem
    log.warning("%s", problem)
    return False
