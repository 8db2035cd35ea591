"""``declared_plan.json``: what a study file declared, with its hash and the date, before scores existed.

A study's run writes it before its first cell. Where the file changes later, an entry is added with the number of cells that
had scores by then, and no entry is ever changed: `comparison/reading/declared_plan.py` tells which claims were planned.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from common.errors import UserError
from common.file_hashes import file_hash
from common.files import read_json_or_empty, write_json
from comparison.reading.declared_plan import FILE, FORMAT, MARGIN, Declaration
from study.config import find_path
from study.study import Study


def declare(study: Study) -> Path:
    """Write what the study file declares beside what was declared before; return the file."""
    path = study.output_dir / FILE
    entries = read_json_or_empty(path).get("declarations", [])
    declaration = asdict(declaration_of(study))
    facts = {key: value for key, value in declaration.items() if key not in ("date", "cells_with_scores")}
    if not entries or any(entries[-1].get(key) != value for key, value in facts.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json({"format": FORMAT, "declarations": [*entries, declaration]}, path)
    return path


def scores_files(study: Study) -> list[Path]:
    """Return the scores that the study's folder holds, those of earlier settings too: somebody may have seen them."""
    return sorted((study.output_dir / "cells").glob("*/scores.json"))


def holds_scores(path: Path) -> bool:
    """Return whether a file has scores; half a file, which the next start writes anew, has none."""
    try:
        return bool(read_json_or_empty(path).get("scores"))
    except UserError:
        return False


def declaration_of(study: Study) -> Declaration:
    """Return what the study file says of the comparison; the default baseline is its first design."""
    options = study.config.comparison
    baseline = options.get("baseline")
    designs = [cell.system for cell in study.cells if cell.kind == "design"]
    if baseline is None and not options.get("all_pairs"):
        baseline = next(iter(designs), None)
    families = None
    if "families" in options:
        families = file_hash(Path(find_path(options["families"], study.file)))
    return Declaration(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        study_file=study.file.name,
        sha256=file_hash(study.file),
        cells_with_scores=sum(map(holds_scores, scores_files(study))),
        baseline=baseline,
        margin=float(options.get("margin", MARGIN)),
        families=families,
        unrelated=bool(options.get("unrelated")),
        same_revision=bool(options.get("same_revision")),
    )
