"""The modes of ``run_study.py``: a plan, one cell, all cells, and the comparison at the end.

It imports all that a study needs, so a script imports it after its arguments are parsed.
"""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Mapping
from types import FrameType
from typing import Any

from common.errors import UsageError, UserError, nearest
from common.locks import InUseError
from comparison.report.tables.terminal import for_terminal, terminal_width
from study import launch
from study.cells import Cell
from study.command_line import flag_words, training_words
from study.config import ROOT
from study.probes.of_study import corpus_of, probe_study
from study.report import headline_table
from study.report.compare import compare, state_words
from study.report.declared_plan import declare
from study.report.headline_table import HeadlineRow
from study.report.plan_table import print_plan
from study.report.study_json import write_study_json
from study.run_cell import run_cell
from study.scheduler import IN_USE, make_slots, run_cells, why
from study.study import Study, chosen_settings, read_study
from study.tuning.apart import check_choice, ensure_apart
from study.tuning.table import budget_line, save_tuning, tuning_markdown
from trainers.flags.command_line import parse

DONE, FAILED, WRONG_FLAGS, STOPPED = 0, 1, 2, 130


def run(args: Namespace, overrides: dict[str, Any]) -> int:
    """Do what the command line asks for; return the exit status.

    Args:
        args: of ``run_study.py``.
        overrides: its flags that stand for keys of the study file.
    """
    signal.signal(signal.SIGTERM, interrupted)
    try:
        return run_mode(args, overrides)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, InUseError):
            return IN_USE
        return WRONG_FLAGS if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt as stopped:
        print("\nstopped; run the same command again to go on", file=sys.stderr)
        return int(getattr(stopped, "exit_code", STOPPED))


def interrupted(number: int, frame: FrameType | None) -> None:
    """Treat SIGTERM as Ctrl-C: cells save what they have."""
    error = KeyboardInterrupt()
    error.exit_code = 128 + number  # type: ignore[attr-defined]
    raise error


def run_mode(args: Namespace, overrides: dict[str, Any]) -> int:
    """Read the study; print its plan, run one of its cells, or run what is missing and compare."""
    if args.parent is not None:
        launch.end_with_parent(args.parent, launch.leave)
    for name in set(os.environ) - set(launch.clean_environment(os.environ)):  # of a launcher that started the study itself
        del os.environ[name]
    study = read_study(args.study, overrides, look_up=args.cell is None and not args.compare)
    launch.read_accelerate(study.inputs.accelerate)
    whole = study
    if args.tuning:
        study = search_of(study, args)
    if args.plan:
        if study.tuning is not None:
            check_flags(study.tuning, study)  # minutes before the plan has tried the other cells
        problems = print_plan(study)
        if not args.tuning:
            print_search(study)
        for problem in problems:
            print(f"\nerror: {problem}", file=sys.stderr)
        return FAILED if problems else DONE
    for sentence in ensure_apart(whole):
        print(for_terminal(sentence, terminal_width()), flush=True)
    if args.cell is not None:
        cell = find_cell(study.cells, args.cell)
        check_cell(study, cell, whole)
        declare(study)
        run_cell(study, cell)
        return DONE
    if study.config.probes is not None:
        corpus_of(study, study.config.probes)  # before hours of training
    reasons: dict[str, str] = {}
    if study.tuning is not None and not args.compare:
        reasons = run_search(study, study.tuning)
        study = read_study(args.study, overrides)  # with the cells of the settings that were chosen
    if not args.compare:
        reasons |= run_all(study)
    return finish(study, reasons)


def search_of(study: Study, args: Namespace) -> Study:
    """Return the search of a study.

    Raises:
        UsageError: it has none, or neither a plan nor a cell of it is asked for.
    """
    if study.tuning is None:
        raise UsageError(f"--tuning: {study.file} has no key tune")
    if args.cell is None and not args.plan:
        raise UsageError("--tuning goes with --cell or --plan; without it the search runs before the study's own cells")
    return study.tuning


def print_search(study: Study) -> None:
    """Say which cells come before and behind those of the plan: those of the search, and those of the chosen settings."""
    if study.tuning is None:
        return
    cells = study.tuning.cells
    done = sum(cell.done for cell in cells)
    sentence = f"before these: a search of {len(cells)} runs, {done} of them done (--tuning --plan)"
    if not chosen_settings(study.tuning):
        most = len(study.config.designs) * len(study.config.base_models) * len(study.config.seeds)
        sentence += f"; behind them: up to {most} more cells, of designs that choose another setting"
    print(for_terminal(sentence, terminal_width()))


def run_search(study: Study, tuning: Study) -> dict[str, str]:
    """Run every cell of the search that is not done; return those that are not done afterwards, and why."""
    check_bases(study)  # whose base models were looked up
    check_flags(study, study)  # hours before its own cells run
    print(for_terminal(budget_line(tuning), terminal_width()), flush=True)
    reasons = run_all(tuning, study)
    return {labelled(name): reason for name, reason in reasons.items()}


def run_all(study: Study, whole: Study | None = None) -> dict[str, str]:
    """Run every cell that is not done; return those that are not done afterwards, and why.

    Args:
        study: whose cells are run.
        whole: the study that it is the search of; None for a study itself.
    """
    check_bases(study)
    check_flags(study, whole or study)
    declare(whole or study)
    slots = make_slots(study.config.jobs, study.inputs.accelerate)
    places = f"{len(slots.devices)} at a time; everything goes to {study.config.output_dir}"
    print(f"{len(study.cells)} cells, {places}", flush=True)
    script = [sys.executable, str(ROOT / "run_study.py"), str(study.file), *flag_words((whole or study).overrides)]
    if whole is not None:
        script.append("--tuning")

    def command(cell: Cell) -> list[str]:
        return [*script, "--cell", cell.name, "--parent", str(os.getpid())]

    return run_cells(study.cells, command, slots)


def check_bases(study: Study) -> None:
    """Raise a UserError for a base model that cannot be had and that a cell still has to be trained on."""
    for cell in study.cells:
        ended = cell.trained or cell.state == "diverged"
        if cell.trains and cell.base in study.inputs.out_of_reach and not ended:
            raise UserError(study.inputs.out_of_reach[cell.base])


def check_flags(study: Study, whole: Study) -> None:
    """Parse the trainers' flags of each kind of cell, so that a mistake is reported once, before the baselines run.

    Args:
        study: whose cells are run.
        whole: the study that it is the search of, or the same.
    """
    seen = set()
    for cell in study.cells:
        kind = (cell.recipe, cell.trained_system or cell.design)
        if not cell.trains or kind in seen:
            continue
        seen.add(kind)
        check_cell(study, cell, whole)


def check_cell(study: Study, cell: Cell, whole: Study) -> None:
    """Parse the trainers' flags of a cell that is still to be trained; none of its stages may choose by a test task.

    Raises:
        UserError: a flag is wrong, or something is chosen by a test task of ``whole``.
    """
    if not cell.trains or cell.trained:
        return
    config = parse(training_words(study, cell), design=cell.script_design)
    for stage in (*config.before, config):
        check_choice(whole, stage.scoring)


def finish(study: Study, reasons: dict[str, str]) -> int:
    """Write ``study.json``, the comparison and the headline table; return the exit status.

    Args:
        study: whose cells have been run.
        reasons: why cells are not done, by name.
    """
    headline = study.config.headline
    rows: list[HeadlineRow] = []
    problem = ""
    if headline is not None:
        try:
            rows = headline_table.best_first(headline_table.make_rows(study), headline)
        except UserError as error:  # a headline task without scores a query: the comparison needs none
            problem = str(error)
    if study.config.probes is not None:
        try:
            probe_study(study, study.config.probes)
        except UserError as error:  # the comparison needs no probes
            problem = str(error)
    table = headline_table.make_table(rows, headline) if headline is not None and rows else None
    write_study_json(study, table)
    status = compare(study)
    if headline is not None and table is not None:
        print("\n" + for_terminal(headline_table.as_markdown(table), terminal_width()) + "\n")
        saved = ", ".join(map(str, headline_table.save(rows, headline, study.output_dir)))
        print(for_terminal(f"saved {saved}", terminal_width()))
    missing = {cell.name: cell for cell in study.cells if not cell.done}
    if study.tuning is not None:
        saved = ", ".join(map(str, save_tuning(study, study.tuning)))
        print(for_terminal(tuning_markdown(study, study.tuning), terminal_width()) + f"\nsaved {saved}")
        missing |= {labelled(cell.name): cell for cell in study.tuning.cells if cell.state not in ("done", "diverged")}
    for sentence in missing_sentences(missing, reasons):
        print("\n" + sentence, file=sys.stderr)
    if problem:
        print(f"\nerror: {problem}", file=sys.stderr)
    return FAILED if missing or problem else status


def labelled(name: str) -> str:
    """Return the name of a cell of the search as messages have it: a cell of the study may have the same."""
    return f"tuning, {name}"


def missing_sentences(missing: Mapping[str, Cell], reasons: Mapping[str, str]) -> list[str]:
    """Return why cells are not done: one sentence for all cells of the same state and reason.

    Args:
        missing: by name, or `labelled`.
        reasons: by the same.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name, cell in missing.items():
        reason = reasons.get(name) or why(cell)
        groups.setdefault((state_words(cell), reason), []).append(name)
    sentences = []
    for (state, reason), names in groups.items():
        if len(names) > 1:
            state = state.replace("is not", "are not")
        sentences.append(f"{', '.join(names)} {state}: {reason}")
    return sentences


def find_cell(cells: list[Cell], label: str) -> Cell:
    """Return a cell by its number or name.

    Raises:
        UserError: there is none.
    """
    for cell in cells:
        if label in (cell.name, str(cell.number)):
            return cell
    names = [cell.name for cell in cells]
    raise UserError(
        f"--cell {label}: there is no such cell{nearest(label, names)}; give a number from 0 to {len(cells) - 1} or one of the "
        f"names {', '.join(names)}"
    )
