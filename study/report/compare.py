"""The comparison at a study's end, and which system the others are compared with."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.files import one_line
from comparison.__main__ import main as compare_folders
from study.cell_progress import try_scores
from study.cells import Cell
from study.command_line import flag_words
from study.config import StudyConfig, find_path
from study.report.empty_report import REASON, write_empty_report
from study.study import Study


def compare(study: Study) -> int:
    """Run ``python -m comparison`` on the study, into its folder ``report``; return its exit status.

    With fewer than two systems that have scores there is nothing to compare: the folder gets a page that says so.
    """
    scored = scored_systems(study.cells)
    if len(scored) < 2:
        pages = ", ".join(map(str, write_empty_report(study)))
        print(REASON, "saved", pages)
        return 0
    options = dict(study.config.comparison)
    if "families" in options:
        options["families"] = find_path(options["families"], study.file)
    baseline = options.get("baseline")
    if baseline is not None and baseline not in scored:
        why = why_no_scores(study.cells, baseline)
        print(
            f"error: comparison: baseline: {baseline} has no scores ({why}): finish it, or name another: {', '.join(scored)}",
            file=sys.stderr,
        )
        return 1
    if baseline is None and not options.get("all_pairs"):
        options["baseline"] = default_baseline(study.cells)
        for sentence in passed_over(study.cells, study.config):
            print(sentence)
    words = [str(study.output_dir), "--output_dir", str(study.output_dir / "report")]
    if options.pop("texts", True) and study.inputs.eval_dir is not None:
        words += ["--texts", study.inputs.eval_dir]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not False:
            words += flag_words({name: value})
    return compare_folders(words)


def scored_systems(cells: Sequence[Cell]) -> list[str]:
    """Return the systems that have scores, in the order of the study."""
    compared = [cell for cell in cells if cell.state in ("done", "diverged")]  # others may have scores of another evaluation
    return list(dict.fromkeys(cell.system for cell in compared if try_scores(cell).get("scores")))


def default_baseline(cells: Sequence[Cell]) -> str:
    """Return the system of the first design that has scores, else of the first baseline."""
    designs = [cell for cell in cells if cell.kind == "design"]
    return [*scored_systems(designs), *scored_systems(cells)][0]


def passed_over(cells: Sequence[Cell], config: StudyConfig) -> list[str]:
    """Return sentences on designs that stand before the default baseline in the study and have no scores."""
    if not scored_systems(cells) or "baseline" in config.comparison or config.comparison.get("all_pairs"):
        return []
    chosen = default_baseline(cells)
    sentences = []
    for cell in cells:
        if cell.kind != "design":
            continue
        if cell.system == chosen:
            break
        why = why_no_scores(cells, cell.system)
        sentences.append(
            f"{cell.system} stands before {chosen} in the study and has no scores ({why}): everybody is compared with {chosen}"
        )
    return list(dict.fromkeys(sentences))


def why_no_scores(cells: Sequence[Cell], system: str) -> str:
    """Return the state of the first cell of a system, and the reason."""
    cell = next(cell for cell in cells if cell.system == system)
    return f"{cell.name} {state_words(cell)}: {one_line(cell.reason)}".rstrip(": ")


def state_words(cell: Cell) -> str:
    """Return a cell's state as the end of a sentence that begins with its name."""
    return "is not finished" if cell.state == "unfinished" else cell.state
