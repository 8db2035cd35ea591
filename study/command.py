"""The modes of ``run_study.py``: a plan, one cell, all cells, and the comparison at the end.

It imports all that a study needs, so a script imports it after its arguments are parsed.
"""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from types import FrameType
from typing import Any

from common.errors import UserError
from common.locks import InUseError
from comparison.report.tables.terminal import for_terminal, terminal_width
from study import launch
from study.cells import Cell, find_cell
from study.command_line import flag_words, training_words
from study.config import ROOT
from study.plan_table import print_plan
from study.report import headline_table
from study.report.compare import compare, state_words
from study.report.declared_plan import declare
from study.report.headline_table import HeadlineRow
from study.report.study_json import write_study_json
from study.run_cell import run_cell
from study.scheduler import IN_USE, make_slots, run_cells, why
from study.study import Study, read_study
from trainers.flags.command_line import parse

DONE, FAILED, STOPPED = 0, 1, 130


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
        return IN_USE if isinstance(error, InUseError) else FAILED
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
    if args.plan:
        problems = print_plan(study)
        for problem in problems:
            print(f"\nerror: {problem}", file=sys.stderr)
        return FAILED if problems else DONE
    if args.cell is not None:
        declare(study)
        run_cell(study, find_cell(study.cells, args.cell))
        return DONE
    reasons = {} if args.compare else run_all(study)
    return finish(study, reasons)


def run_all(study: Study) -> dict[str, str]:
    """Run every cell that is not done; return those that are not done afterwards, and why."""
    check_bases(study)
    check_flags(study)
    declare(study)
    slots = make_slots(study.config.jobs, study.inputs.accelerate)
    places = f"{len(slots.devices)} at a time; everything goes to {study.config.output_dir}"
    print(f"{len(study.cells)} cells, {places}", flush=True)
    script = [sys.executable, str(ROOT / "run_study.py"), str(study.file), *flag_words(study.overrides)]

    def command(cell: Cell) -> list[str]:
        return [*script, "--cell", cell.name, "--parent", str(os.getpid())]

    return run_cells(study.cells, command, slots)


def check_bases(study: Study) -> None:
    """Raise a UserError for a base model that cannot be had and that a cell still has to be trained on."""
    for cell in study.cells:
        ended = cell.trained or cell.state == "diverged"
        if cell.kind == "design" and cell.base in study.inputs.out_of_reach and not ended:
            raise UserError(study.inputs.out_of_reach[cell.base])


def check_flags(study: Study) -> None:
    """Parse the trainers' flags of each kind of cell, so that a mistake is reported once, before the baselines run."""
    seen = set()
    for cell in study.cells:
        if cell.kind != "design" or (cell.recipe, cell.design) in seen:
            continue
        seen.add((cell.recipe, cell.design))
        if not cell.trained:
            parse(training_words(study, cell), design=cell.design)


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
            rows = headline_table.make_rows(study)
        except UserError as error:  # a headline task without scores a query: the comparison needs none
            problem = str(error)
    table = headline_table.make_table(rows, headline) if headline is not None and rows else None
    write_study_json(study, table)
    status = compare(study)
    if headline is not None and table is not None:
        print("\n" + for_terminal(headline_table.as_markdown(table), terminal_width()) + "\n")
        saved = ", ".join(map(str, headline_table.save(rows, headline, study.output_dir)))
        print(for_terminal(f"saved {saved}", terminal_width()))
    missing = [cell for cell in study.cells if not cell.done]
    for cell in missing:
        print(f"\n{cell.name} {state_words(cell)}: {reasons.get(cell.name) or why(cell)}", file=sys.stderr)
    if problem:
        print(f"\nerror: {problem}", file=sys.stderr)
    return FAILED if missing or problem else status
