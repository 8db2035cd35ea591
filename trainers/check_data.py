"""Say what is in training data, before a run or from one: counts, lengths, repetitions, overlap, and how often rows are seen.

::

    python trainers/check_data.py --dataset_name triplets.jsonl --against eval/STS12 eval/STS13
    python trainers/check_data.py --dataset_config mix.yaml --model_name_or_path BASE --seen_after 1000 2epochs
    python trainers/check_data.py --run runs/model3

It takes the whole command line of a training run, ``--config`` too: what decides the batches counts, the rest does nothing
here. It reports and does not judge: the exit status is 0, unless the data cannot be trained on (1) or the arguments are
wrong (2).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own folder is on sys.path, the root is not

from common.errors import UserError
from trainers.flags.arguments import GROUPS, ModelArguments
from trainers.flags.flag import flags_of
from triplets.arguments import DataArguments, mixing

if TYPE_CHECKING:
    from model_loaders.layouts.manifest import Recipe
    from model_loaders.text.tokenizer import TextTokenizer
    from triplets.batch_plan import BatchPlan
    from triplets.dataset import TripletRows


@dataclass
class CheckArguments:
    """What the data check itself can be told."""

    against: list[str] | None = field(
        default=None,
        metadata={"help": "Evaluation data: files or folders of JSONL (.gz), Parquet or CSV. Every text in it that stands in "
                          "the training data is counted, by file and line on both sides."},
    )  # fmt: skip
    seen_after: list[str] | None = field(
        default=None,
        metadata={"help": "Moments to say for how often each row has been seen: steps (1000) or epochs (2epochs). Unset: the "
                          "end of the run, by --max_steps or --num_train_epochs; with --run its last checkpoint too."},
    )  # fmt: skip
    run: str | None = field(
        default=None, metadata={"help": "The output directory of a run: what it was told is taken from there."}
    )
    processes: int | None = field(
        default=None, metadata={"help": "Processes that share a batch. Unset: those of --run's last checkpoint, else 1."}
    )
    examples: int = field(default=3, metadata={"help": "Places to show of each finding."})
    token_rows: int = field(
        default=20_000, metadata={"help": "Rows of a data set whose tokens are counted, evenly spaced; 0: all."}
    )
    json: str | None = field(default=None, metadata={"help": "Write everything to this file too, as JSON."})

    def __post_init__(self) -> None:
        """Make lists of single values, which the flags collapse, and check the numbers."""
        for name in ("against", "seen_after"):
            value = getattr(self, name)
            setattr(self, name, [value] if isinstance(value, str) else value)
        for name, least in (("processes", 1), ("examples", 0), ("token_rows", 0)):
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Check:
    """A parsed command line: the check's own flags, the data and prompts, and the flags of the run that decide its batches."""

    own: CheckArguments
    data: DataArguments
    model: ModelArguments
    given: frozenset[str]
    batch_size: int
    accumulation: int
    seed: int
    shuffle: bool
    max_steps: int
    epochs: float


def main(argv: Sequence[str] | None = None) -> int:
    """Check the data; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(words):
        print(usage())
        return 0
    try:
        arguments = parse_check(words)
    except UserError as error:
        print(f"check_data.py: error: {error}", file=sys.stderr)
        return 2
    try:
        report = check(arguments)
        if arguments.own.json is not None:
            Path(arguments.own.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except KeyboardInterrupt:
        return 130
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    from triplets.check.check_text import as_text

    print(as_text(report))
    return 0


def usage() -> str:
    """Return the help text."""
    from trainers.flags import help_text

    lines = [str(__doc__).strip()]
    for group in (CheckArguments, DataArguments):
        lines += ["", str(group.__doc__).strip(), *help_text.table(flags_of(group).values())]
    return "\n".join([*lines, "", "All flags of the trainers are taken as well (trainers/train.py --help)."])


def parse_check(argv: Sequence[str]) -> Check:
    """Read a command line.

    Raises:
        UserError: a mistake in it, or in the file behind ``--dataset_config``.
    """
    from trainers.checkpoints.run_files import CONFIG_FILE
    from trainers.flags.command_line import read_values
    from trainers.flags.inherited import inherited_flags

    own = flags_of(CheckArguments)
    flags = {**{name: flag for group in GROUPS for name, flag in flags_of(group).items()}, **inherited_flags(), **own}
    # A run's record is a file of flags like any other: what is given here overrides it.
    run = read_values(argv, flags, with_design=True)[0].get("run")
    if run is not None:
        if "--config" in argv:
            raise UserError("--run brings the run's own configuration: leave --config out")
        if not (Path(run) / CONFIG_FILE).is_file():
            raise UserError(f"--run {run}: there is no {CONFIG_FILE}; give the output directory of a run")
        argv = ["--config", str(Path(run) / CONFIG_FILE), *argv]
    values = read_values(argv, flags, with_design=True)[0]

    def flag(name: str) -> Any:
        return values.get(name, flags[name].default)

    def group(kind: type) -> Any:
        return kind(**{name: values[name] for name in flags_of(kind) if name in values})

    return Check(
        group(CheckArguments),
        group(DataArguments),
        group(ModelArguments),
        frozenset(values),
        batch_size=flag("per_device_train_batch_size"),
        accumulation=int(flag("gradient_accumulation_steps")),
        seed=flag("seed") if flag("data_seed") is None else flag("data_seed"),
        shuffle=str(flag("train_sampling_strategy")) != "sequential",
        max_steps=int(flag("max_steps")),
        epochs=float(flag("num_train_epochs")),
    )


def check(asked: Check) -> dict[str, Any]:
    """Return everything that is found, ready for JSON."""
    from triplets.arguments import data_sets
    from triplets.check import scan
    from triplets.check.overlap import TrainingTexts, evaluation_files, overlap
    from triplets.check.seen import declared
    from triplets.read import read_triplets

    against = evaluation_files(asked.own.against or [])  # before anything that takes long
    tokenizer, recipe = tokenizer_and_recipe(asked)
    rows = read_triplets(asked.data, cache_dir=asked.model.cache_dir)
    found = scan.scan(rows)
    chosen = data_sets(asked.data)
    shares = declared(chosen, rows)
    total = sum(share.taken for share in rows.shares)
    described = []
    for number, (one, part, share) in enumerate(zip(chosen, rows.parts, rows.shares, strict=True)):
        entry: dict[str, Any] = {
            "label": part.label,
            "name": one.name or one.file,
            "rows": share.rows,
            "rows with so many negatives": list(part.negatives),
            "distinct": scan.distinct(found, rows, number),
            "in_batch_negatives": part.in_batch,
            "repeat": one.repeat,
            "weight": one.weight,
            "rows an epoch": share.taken,
            "share": share.taken / total,
            "declared share": shares[number],
            "characters": {role: lengths.summary() for role, lengths in found.characters[number].items()},
        }
        if tokenizer is not None:
            entry["tokens"] = {
                role: {**lengths.summary(), "cut": lengths.above(recipe.length("query" if role == "query" else "document"))}
                for role, lengths in scan.tokens(part, tokenizer, recipe, asked.own.token_rows).items()
            }
        described.append(entry)
    training = TrainingTexts(found, rows) if against else None
    report: dict[str, Any] = {
        "data sets": described,
        "repetitions": scan.repetitions(found, rows, asked.own.examples),
        "overlap": [asdict(overlap(file, training, asked.own.examples)) for file in against] if training else [],
        **seen_report(asked, rows),
    }
    if tokenizer is not None:
        report["longest"] = {"query": recipe.length("query"), "document": recipe.length("document")}
    return report


def seen_report(asked: Check, rows: TripletRows) -> dict[str, Any]:
    """Return the plan of the run in figures, and how often rows are seen up to the moments that were asked for."""
    from triplets.batch_plan import BatchPlan
    from triplets.check.seen import seen, seen_by_data_set, steps_of

    last, recorded = last_checkpoint(asked.own.run)
    processes = asked.own.processes or recorded
    plan: BatchPlan = BatchPlan(
        rows.shares, asked.batch_size, seed=asked.seed, shuffle=asked.shuffle, mixing=mixing(asked.data.batching),
        processes=processes,
    )  # fmt: skip
    end = str(asked.max_steps) if asked.max_steps > 0 else f"{asked.epochs:g}epochs"
    moments = asked.own.seen_after or [*([str(last)] if last else []), end]
    after = []
    for moment in moments:
        steps = steps_of(moment, plan, asked.accumulation)
        after.append({"moment": moment, "steps": steps,
                      "data sets": seen_by_data_set(seen(plan, steps, asked.accumulation), rows)})  # fmt: skip
    batches = {"batching": asked.data.batching, "queries a batch": plan.whole, "processes": processes,
               "batches an epoch": len(plan), "of one data set": sum(plan.batches[:-1])}  # fmt: skip
    return {"batches": batches, "seen": after}


def last_checkpoint(run: str | None) -> tuple[int, int]:
    """Return the step of a run's last checkpoint and how many processes wrote it; step 0 and one process without any."""
    from trainers.checkpoints.seal import read_seal
    from trainers.checkpoints.write import checkpoints

    for path in reversed(checkpoints(Path(run)) if run is not None else []):
        try:
            sealed = read_seal(path)
        except ValueError:  # a damaged one, from which no run would go on
            continue
        return int(sealed["step"]), int(sealed["processes"])
    return 0, 1


def tokenizer_and_recipe(asked: Check) -> tuple[TextTokenizer | None, Recipe]:
    """Return the tokenizer of the adapter or base LLM, if one is given, and the prompts and lengths of the run."""
    from model_loaders.hub import resolve
    from model_loaders.layouts.manifest import MANIFEST, read_manifest
    from model_loaders.layouts.source import adapter_needs
    from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer
    from trainers.run.build import continued_recipe, recipe_of

    model, data = asked.model, asked.data
    recipe = recipe_of(model, data)
    adapter, base = model.peft_model_name_or_path, model.model_name_or_path
    if adapter is not None:
        directory = resolve(adapter, what="adapter", cache_dir=model.cache_dir, needs=adapter_needs(Path(adapter)))
        if (directory / MANIFEST).is_file():
            manifest = read_manifest(directory)
            recipe = continued_recipe(manifest.recipe, recipe, asked.given)
            return TextTokenizer(load_tokenizer(directory), end_token=manifest.end_token), recipe
    if base is None:
        return None, recipe
    directory = resolve(base, what="base model", cache_dir=model.cache_dir, needs="config.json")
    return TextTokenizer(load_tokenizer(directory)), recipe


if __name__ == "__main__":
    sys.exit(main())
