"""Run a study: train what is missing, score what is missing, compare, and write the report.

``python run_study.py configs/quickstart.yaml`` runs the embedded default, which needs no download. Run the same command
again after an interruption: it goes on where it was. ``--plan`` shows what would run; ``--cell K`` runs one cell, for
schedulers, and ``--compare`` ends such a study (docs/studies.md).
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

FAILED = 1
OVERRIDES = ("output_dir", "seeds", "jobs", "train_file", "eval_dir")  # flags that override keys of the study file


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit status: 0 everything that was asked for is done; 1 cells failed, diverged or are missing; 2 wrong "
               "arguments; 75 (--cell) another process runs the cell; 130, 143 stopped",
    )  # fmt: skip
    parser.add_argument("study", type=Path, help="the study file, such as configs/quickstart.yaml")
    parser.add_argument("--output_dir", help="instead of the study file's")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the study file's")
    parser.add_argument("--jobs", type=int, help="cells at a time (default: one for each share of the GPUs, two on the CPU)")
    for name, what in (("train_file", "training triplets"), ("eval_dir", "folder of task folders")):
        parser.add_argument(f"--{name}", help=f"{what}, instead of the study file's")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--cell", metavar="K", help="run this one cell and stop: its number in --plan, or its name")
    what.add_argument("--plan", action="store_true", help="print the cells, what is done, expected time and memory")
    what.add_argument("--compare", action="store_true", help="run no cell: compare what is there and write the report")
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)  # of a cell's process: it ends with that one
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study, one of its cells, or a part; returns the exit status."""
    from common.errors import UserError

    args = make_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        return run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        from common.locks import InUseError
        from study.scheduler import IN_USE

        return IN_USE if isinstance(error, InUseError) else FAILED
    except KeyboardInterrupt as stopped:
        print("\nstopped; run the same command again to go on", file=sys.stderr)
        return int(getattr(stopped, "exit_code", 130))


def interrupted(number: int, frame: FrameType | None) -> None:
    """Treat SIGTERM as Ctrl-C: cells save what they have."""
    error = KeyboardInterrupt()
    error.exit_code = 128 + number  # type: ignore[attr-defined]
    raise error


def run(args: argparse.Namespace) -> int:
    """Prepare data and cells, run what is missing, and compare."""
    from study import launch
    from study.cells import find_cell, make_cells
    from study.config import read_study
    from study.inputs import prepare

    if args.parent is not None:
        launch.end_with_parent(args.parent, launch.leave)
    for name in set(os.environ) - set(launch.clean_environment(os.environ)):  # of a launcher that started the study itself
        del os.environ[name]
    given = {name: getattr(args, name) for name in OVERRIDES if getattr(args, name) is not None}
    config = read_study(args.study, **given)
    inputs = prepare(config, args.study, look_up=args.cell is None and not args.compare)
    launch.read_accelerate(inputs.accelerate)
    cells = make_cells(config, inputs)
    if args.plan:
        from study.plan_table import print_plan

        problems = print_plan(cells, config, inputs)
        for problem in problems:
            print(f"\nerror: {problem}", file=sys.stderr)
        return FAILED if problems else 0
    if args.cell is not None:
        from study.run_cell import run_cell

        run_cell(find_cell(cells, args.cell), config, inputs)
        return 0
    left = {} if args.compare else run_all(args, config, inputs, cells)
    return finish(args, config, inputs, cells, left)


def overrides(args: argparse.Namespace) -> list[str]:
    """Return the flags that were given instead of keys of the study file, as words of a command line."""
    words = []
    for name in OVERRIDES:
        value = getattr(args, name)
        if value is not None:
            words += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return words


def reproduced(args: argparse.Namespace, config: Any) -> list[str]:
    """Return the words that make the same study in the project's folder."""
    from comparison.places import PROJECT, from_project

    words = ["python", "run_study.py", from_project(args.study)]
    for name in OVERRIDES:
        value = getattr(args, name)
        if name == "output_dir" and (value is not None or Path.cwd() != PROJECT):
            value = from_project(config.output_dir)
        elif name in ("train_file", "eval_dir") and value is not None and Path(value).exists():
            value = from_project(value)
        if value is not None:
            words += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return words


def run_all(args: argparse.Namespace, config: Any, inputs: Any, cells: list[Any]) -> dict[str, str]:
    """Run every cell that is not done; returns those that are not done afterwards, and why."""
    from common.errors import UserError
    from study import scheduler as runner
    from study.run_cell import training_arguments
    from trainers.flags.command_line import parse

    for one in cells:
        if one.base in inputs.out_of_reach and one.kind == "design" and not (one.trained or one.state == "diverged"):
            raise UserError(inputs.out_of_reach[one.base])
    for recipe in config.recipe_names:  # a mistake in the training flags is told now, not by each cell after the baselines
        for design in config.designs:
            first = next(one for one in cells if (one.kind, one.design, one.recipe) == ("design", design, recipe))
            if not first.trained:
                parse(training_arguments(first, config, inputs), design=design)
    slots = runner.make_slots(config.jobs, inputs.accelerate)
    print(f"{len(cells)} cells, {len(slots.devices)} at a time; everything goes to {config.output_dir}", flush=True)
    return runner.run_cells(
        cells,
        lambda one: [sys.executable, str(Path(__file__).resolve()), str(args.study), *overrides(args), "--cell", one.name,
                     "--parent", str(os.getpid())],
        slots,
    )  # fmt: skip


def finish(args: argparse.Namespace, config: Any, inputs: Any, cells: list[Any], left: dict[str, str]) -> int:
    """Write ``study.json``, the table and the comparison; returns the exit status."""
    from study import headline_table
    from study.scheduler import why
    from study.study_json import compare, write_record

    write_record(cells, config, inputs, args.study, shlex.join(reproduced(args, config)))
    status = compare(cells, config, args.study)
    if config.headline is not None and (rows := headline_table.make_rows(cells, config)):
        print("\n" + headline_table.as_text(rows, config) + "\n")
        print("saved " + ", ".join(str(path) for path in headline_table.save(rows, config)))
    missing = {one.name: left.get(one.name) or why(one) for one in cells if not one.done}
    for name, reason in missing.items():
        state = next(one.state for one in cells if one.name == name)
        print(f"\n{name} {'is not finished' if state == 'unfinished' else state}: {reason}", file=sys.stderr)
    return FAILED if missing else status


if __name__ == "__main__":
    sys.exit(main())
