"""Run the command: read, compare, print and save. Imported after the command line is parsed, so that ``--help`` is fast."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.file_hashes import file_hash
from common.files import replacing_together
from common.printable import one_line, printable
from comparison.claims.outcome import Comparison
from comparison.claims.pairs import find_system
from comparison.claims.prospects import with_outlooks
from comparison.claims.without_one import with_families_left_out
from comparison.compare import BEST, Options, compare
from comparison.disagreements.texts import Texts, read_texts
from comparison.errors import ComparisonError
from comparison.importing.mteb_cache import default_cache, folders_of_models
from comparison.places import from_project
from comparison.reading.benchmarks import tasks_of_benchmark
from comparison.reading.declared_plan import Declaration, planned
from comparison.reading.families import DEFAULT, read_families
from comparison.reading.results_folder import read
from comparison.reading.selection import select
from comparison.reading.systems import Reading, choose_baseline, only
from comparison.report.plots.compression import read_compressions
from comparison.report.tables.files import check_no_study, not_writable, save
from comparison.report.tables.markdown import as_markdown
from comparison.report.tables.terminal import for_terminal, terminal_width
from comparison.report.words.wording import unescape
from comparison.report.write import write_report

VALUES = ("models", "cache", "baseline", "margin", "systems", "tasks", "benchmark", "families", "texts", "diagrams", "seed")
PATHS = ("cache", "families", "texts")
SWITCHES = ("all_pairs", "same_revision", "unrelated")


def run(args: argparse.Namespace) -> int:
    """Read, compare, print and save; returns the exit status, 1 where a file is damaged.

    Raises:
        ComparisonError: the results cannot be compared.
    """
    families = read_families(args.families, args.unrelated)
    reading, baseline = _read(args)
    tasks = args.tasks
    if args.benchmark is not None:
        scored = {task for system in reading.systems for task in system.tasks}
        tasks = tasks_of_benchmark(args.benchmark, scored, reading.notes)
    table = select(reading, families, tasks)
    comparison = compare(table, families, Options(baseline, args.margin, args.same_revision, args.seed))
    comparison = replace(comparison, planned=_planned(args, reading, baseline))
    comparison = with_families_left_out(table, with_outlooks(table, comparison, args.seed), args.seed)
    comparison, texts = _with_texts(comparison, args.texts)
    paths = _write(args, reading, comparison, texts)
    _print(args, comparison, reading.systems[0].name, paths)
    for damaged in reading.damaged:
        print(f"error: {damaged}", file=sys.stderr)
    return min(1, len(reading.damaged))


def _read(args: argparse.Namespace) -> tuple[Reading, str | None]:
    """Return the systems that are compared, and the baseline: a name, `BEST`, or None for all pairs.

    Raises:
        ComparisonError: results cannot be read, or there is no such system.
    """
    notes: list[str] = []
    folders = list(args.directories)
    if args.models:
        folders += folders_of_models(args.models, args.cache or default_cache(), notes)
    reading = read(folders)
    reading.notes += notes
    names = reading.names
    baseline = None
    best = args.baseline == BEST and BEST not in names
    if args.baseline and not best:
        baseline = find_system(args.baseline, names)
    if args.systems:
        chosen = [find_system(name, names) for name in args.systems]
        if baseline is not None:
            chosen.append(baseline)
        reading = only(reading, list(dict.fromkeys(chosen)))
    if best:
        return reading, BEST
    if args.all_pairs:
        return reading, None
    return reading, choose_baseline(reading, baseline)


def _print(args: argparse.Namespace, comparison: Comparison, first_system: str, paths: Sequence[Path]) -> None:
    """Print the claims, the baseline where nobody named one, and what was saved."""
    width = terminal_width()
    print(unescape(for_terminal(as_markdown(comparison, whole=False), width)))
    if args.baseline is None and not args.all_pairs:
        first = "the first that has scores"
        if comparison.baseline == first_system:
            first = "the first"
        sentence = f"Everybody is compared with {comparison.baseline}, {first}; choose with --baseline NAME or --all_pairs."
        print(for_terminal(sentence, width))
    print(for_terminal("saved " + ", ".join(map(str, paths)), width))


def _with_texts(comparison: Comparison, folders: Sequence[Path]) -> tuple[Comparison, Texts]:
    """Return the comparison, with a note on folders that cannot be read, and the texts of its items.

    Raises:
        ComparisonError: there is no such folder.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ComparisonError(f"--texts: there is no directory {folder}")
    items = []
    for category in comparison.categories:
        for contrast in category.contrasts:
            items += contrast.apart
    notes: list[str] = []
    texts = read_texts(items, folders, notes)
    return replace(comparison, notes=[*comparison.notes, *map(printable, notes)]), texts


def _write(args: argparse.Namespace, reading: Reading, comparison: Comparison, texts: Texts) -> list[Path]:
    """Write tables and report, all together; returns the files that the user opens.

    Raises:
        ComparisonError: the folder is a study's or cannot be written, or a table of compressed vectors is damaged.
    """
    compressions = read_compressions(args.directories)
    check_no_study(args.output_dir)
    try:
        with replacing_together(args.output_dir, "report.html") as aside:
            paths = save(comparison, aside, _origin(args, reading))
            command = command_line(args)
            paths += write_report(comparison, reading.studies, aside, command, args.diagrams, texts, compressions)[:3]
    except OSError as error:
        raise not_writable(args.output_dir, error) from error
    return [args.output_dir / path.relative_to(aside) for path in paths]


def _planned(args: argparse.Namespace, reading: Reading, baseline: str | None) -> list[str]:
    """Return what was declared before scores existed, a sentence a study; without a study that nothing was."""
    if not reading.studies and baseline not in (None, BEST):
        return [undeclared(str(baseline))]
    families = None
    if args.families is not None:
        families = file_hash(args.families)
    sentences = []
    for study in reading.studies:
        name = {in_comparison: in_study for in_study, in_comparison in study.names.items()}.get(str(baseline), baseline)
        used = Declaration("", "", "", 0, name, args.margin, families, args.unrelated, args.same_revision)
        sentences.append(planned(study.declarations, used))
    return sentences


def undeclared(baseline: str) -> str:
    """Say that nobody can see whether a baseline was named before scores existed."""
    return (
        f"{baseline} as the baseline was declared in no study file before scores existed: if it was chosen after looking at "
        "them, as the best or the worst, wrong stars are more frequent (in simulated studies twice as frequent with five "
        "systems, four times with fifteen); --baseline best corrects for that"
    )


def _origin(args: argparse.Namespace, reading: Reading) -> dict[str, Any]:
    """Return the facts at the head of the JSON file; names that could not be printed as they are stand there unchanged."""
    origin: dict[str, Any] = {
        "directories": list(map(from_project, args.directories)),
        "models": args.models,
        "families_file": from_project(args.families or DEFAULT),
        "seed": args.seed,
        "same_revision": args.same_revision,
        "unrelated": args.unrelated,
    }
    raw_names = {}
    for system in reading.systems:
        if one_line(system.raw_name) != system.raw_name:
            raw_names[system.name] = system.raw_name
    if raw_names:
        origin["raw_names"] = raw_names
    return origin


def command_line(args: argparse.Namespace) -> list[str]:
    """Return the words of the command that makes the same again in the project's folder."""
    words = ["python", "-m", "comparison", *map(from_project, args.directories), "--output_dir", from_project(args.output_dir)]
    defaults = Options(baseline=None)
    for name in VALUES:
        value = getattr(args, name)
        if value is None or value == [] or value == getattr(defaults, name, None):
            continue
        if not isinstance(value, list):
            value = [value]
        if name in PATHS:
            value = list(map(from_project, value))
        words += [f"--{name}", *map(str, value)]
    for name in SWITCHES:
        if getattr(args, name):
            words.append(f"--{name}")
    return words
