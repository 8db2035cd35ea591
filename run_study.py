"""Run a study: train the designs, score them with mteb, compare them.

``python run_study.py configs/quickstart.yaml`` runs the embedded default, which needs no download. Run the same command
again after an interruption: it goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study, or one of its cells; returns the exit status: 1 if a cell failed, 2 for wrong arguments."""
    from model_loaders.errors import UserError

    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("study", type=Path, help="the study file, such as configs/quickstart.yaml")
    parser.add_argument("--output_dir", help="instead of the study file's")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the study file's")
    parser.add_argument("--jobs", type=int, help="cells at a time (default: one on a GPU, two on the CPU)")
    parser.add_argument("--cell", help="run this one cell and stop (by name, such as model3-seed42)")
    parser.add_argument("--plan", action="store_true", help="print the cells and which of them are done")
    args = parser.parse_args(argv)
    try:
        return run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print("\nstopped; run the same command again to go on", file=sys.stderr)
        return getattr(stopped, "exit_code", 130)


def run(args: argparse.Namespace) -> int:
    """Prepare data and cells, run what is missing, and compare."""
    from model_loaders.errors import UserError
    from study import cell as cells_room
    from study import run as runner
    from study import table
    from study.config import make_cells, read_study
    from trainers.command_line import parse

    changes = {name: getattr(args, name) for name in ("output_dir", "seeds", "jobs") if getattr(args, name) is not None}
    config = dataclasses.replace(read_study(args.study), **changes)
    inputs = prepare(config, args.study)
    cells = make_cells(config, inputs["data_key"], inputs["base_key"])
    if args.plan:
        for one in cells:
            print(f"{'done' if one.done else f'{cells_room.progress_of(one):4.0%}'}  {one.name}")
        return 0
    if args.cell is not None:
        chosen = [one for one in cells if one.name == args.cell]
        if not chosen:
            raise UserError(f"there is no cell {args.cell!r}; the cells are: {', '.join(one.name for one in cells)}")
        cells_room.run_cell(chosen[0], config, inputs["base_model"], inputs["train_file"], inputs["eval_dir"])
        return 0

    for design in config.designs:  # a mistake in the training flags is told now, not by each cell after the baselines
        first = next(one for one in cells if one.design == design and one.kind == "design")
        if not first.done:
            parse(cells_room.training_arguments(first, config, inputs["base_model"], inputs["train_file"]), design=design)

    entry = str(Path(__file__).resolve())
    options = ["--output_dir", config.output_dir, "--seeds", *map(str, config.seeds)]
    jobs, threads = parallelism(config.jobs)
    print(f"{len(cells)} cells, {jobs} at a time; everything goes to {config.output_dir}", flush=True)
    failed = runner.run_cells(
        cells,
        lambda one: [sys.executable, entry, str(args.study), *options, "--cell", one.name],
        jobs=jobs,
        threads=threads,
    )
    rows = table.make_rows(cells, config)
    if rows:
        print("\n" + table.as_text(rows, config) + "\n")
        folders = [one.folder.name for one in cells]  # older settings leave theirs beside these
        about = {"study": dataclasses.asdict(config), **inputs, "cells": folders, "failed": failed}
        print("saved " + ", ".join(str(path) for path in table.save(rows, config, about)))
    for name, reason in failed.items():
        print(f"\n{name} failed: {reason}", file=sys.stderr)
    return 1 if failed else 0


def prepare(config: Any, study_file: Path) -> dict[str, Any]:
    """Make or find the data and the base model, and say what they are."""
    from model_loaders.backbone import weights_hash
    from model_loaders.errors import UserError
    from study.config import find_path

    base_model = find_path(config.base_model, study_file)
    output_dir = Path(config.output_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir: {output_dir} cannot be made: {error.strerror}; give another directory") from error
    base_key = weights_hash(Path(base_model)) if Path(base_model).is_dir() else base_model
    if config.corpus is None:
        from evaluation.local_data import content_hash, data_files

        mix = config.training.get("dataset_config")
        train_file, eval_dir = find_path(config.train_file or mix, study_file), find_path(config.eval_dir, study_file)
        if not Path(eval_dir).is_dir():
            raise UserError(f"eval_dir: there is no folder {eval_dir}")
        folders = sorted(path for path in Path(eval_dir).iterdir() if path.is_dir() and data_files(path))
        data_key = [content_hash(folder) for folder in folders] + [mix_key(train_file) if mix else file_key(Path(train_file))]
        return {"base_model": base_model, "base_key": base_key, "train_file": train_file, "eval_dir": eval_dir,
                "data_key": repr(data_key)}  # fmt: skip
    from quickstart.corpus import build_corpus
    from quickstart.split import LeakageError

    try:
        corpus = build_corpus(output_dir / "corpus", progress=True)
    except (OSError, ValueError, LeakageError) as error:
        raise UserError(f"the corpus could not be made in {output_dir / 'corpus'}: {error}") from error
    return {"base_model": base_model, "base_key": base_key, "train_file": str(corpus.train_file),
            "eval_dir": str(corpus.eval_dir), "data_key": str(corpus.info["content_hash"])}  # fmt: skip


def file_key(path: Path) -> str:
    """Return a hash of a training file's content (of a folder: of its files'), or the name of a hub data set."""
    if not path.exists():
        return str(path)
    digest = hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def mix_key(path: str) -> str:
    """Return what decides the training data behind ``dataset_config``: its entries, with the content of their files."""
    from trainers.arguments import DataArguments

    entries: Any = DataArguments(dataset_config=path).dataset_config
    return repr([entry | {"name": file_key(Path(entry["name"]))} for entry in entries])


def parallelism(jobs: int | None) -> tuple[int, int | None]:
    """Return how many cells run at a time and the threads of each: two single-threaded ones beat one with two threads."""
    import torch

    cores = os.cpu_count() or 1
    if torch.cuda.is_available():
        return jobs or 1, None
    chosen = jobs or min(2, cores)
    return chosen, max(1, cores // chosen)


if __name__ == "__main__":
    sys.exit(main())
