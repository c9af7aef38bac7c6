"""What a recovery gave back, language by language."""

from __future__ import annotations

from pathlib import Path

from mwanda.cli.views import View, named, removed, took
from mwanda.pruned.recover.plan import RecoverPlan
from mwanda.pruning.folder.manifest import Manifest
from mwanda.system.text_tables import plain


def planned(plan: RecoverPlan) -> View:
    """What a recovery would take."""
    return plan.as_dict(), plain(["plan", ""], plan.table())


def recovered(folder: Path, manifest: Manifest) -> View:
    """A folder whose kept weights have learnt."""
    recovery = manifest.recoveries[-1]
    rows = [
        [
            named(tag),
            str(one.windows),
            f"{one.before:.4f}",
            f"{one.after:.4f}",
            f"{one.after / one.before - 1:+.1%}" if one.before else "",
        ]
        for tag, one in recovery.held_out.items()
    ]
    lines = [
        f"{folder}: {removed(manifest.totals)}, written in {manifest.dtype}",
        f"{recovery.length}, that of step {recovery.best_step} kept",
        "",
        plain(["held out", "windows", "nats a token before", "after", ""], rows),
        "",
        took({"recover": manifest.seconds["recover"]}),
    ]
    data = recovery.model_dump(mode="json", exclude={"text"}) | {
        "folder": str(folder),
        "totals": manifest.totals.model_dump(),
        "seconds": manifest.seconds["recover"],
    }
    return data, "\n".join(lines)
