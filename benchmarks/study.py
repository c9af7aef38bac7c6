"""Studies of real models, each a file of ``study_files`` whose first lines say what it asks.

Calibrates on ``DATA/gnome`` and scores ``DATA/flores``. A study can be stopped at any time and goes
on in ``--work``, also with other values of ``--change``; what is there already is not computed
again. After a change of the code delete ``--work``, so that everything is measured anew.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import reduce
from operator import getitem
from pathlib import Path

import yaml

import mwanda
from harness import RESULTS, save
from mwanda.cli.demo.packages import KNOWN
from real_models import UNSEEN, dense_model
from studies import background_without, placed, read_file, run_study
from study_tables import TABLES, record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(TABLES))
    parser.add_argument("--data", type=Path, required=True, help="folder with gnome/ and flores/")
    parser.add_argument("--work", type=Path, help="where models and the study go: out/NAME")
    parser.add_argument("--models", nargs="+", choices=list(KNOWN), help="others than the file's")
    parser.add_argument("--change", nargs="+", default=[], metavar="FIELD=VALUE",
                        help="of the study, as seeds=[0] evaluation.sentences=4")  # fmt: skip
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--results", type=Path, help="default: NAME.json in benchmarks/results")
    parser.add_argument("--report", type=Path, help="also put the report there, as docs/study")
    given = parser.parse_args()
    fields = placed(read_file(given.name), given.data)
    for change in given.change:
        place, _, value = change.partition("=")
        *parents, last = place.split(".")
        reduce(getitem, parents, fields)[last] = yaml.safe_load(value)
    names = given.models or fields["models"]
    more = "" if names == fields["models"] else "-" + "-".join(n.split("-")[0] for n in names)
    work = given.work or Path("out") / (given.name + more)
    for method in fields.get("methods", {}).values():
        if method.get("background") == "others":
            method["background"] = str(background_without(UNSEEN, work / "background"))
    fields["models"] = {name: str(dense_model(name, work)) for name in names}
    found = run_study(fields, work, processes=given.processes)
    if given.report is not None:
        mwanda.write_report(work / "study", given.report, overwrite=True)
    tables = TABLES[given.name](found)
    results = given.results or RESULTS / f"{given.name}{more}.json"
    save(results, {"table": asdict(tables[0]), **record(given.name, found)}, tables=tables)


if __name__ == "__main__":
    main()
