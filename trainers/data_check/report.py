"""The report of ``trainers/check_data.py``: its command line and what is counted, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from model_loaders.hub import resolve
from model_loaders.layouts.manifest import MANIFEST, read_manifest
from model_loaders.layouts.published import PUBLISHED
from model_loaders.layouts.source import Asked, find_base
from model_loaders.layouts.source import tokenizer_and_recipe as source_parts
from model_loaders.layouts.table import open_folder, read_source
from model_loaders.text.recipe import Recipe
from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer
from trainers.checkpoints.run_files import CONFIG_FILE, checkpoints
from trainers.checkpoints.seal import read_seal
from trainers.data_check.arguments import CheckArguments
from trainers.flags.arguments import GROUPS, ModelArguments
from trainers.flags.flag import Flag, flags_of
from trainers.flags.read_flags import read_flags
from trainers.flags.resolve import group_of
from trainers.flags.stages import STAGES_FOLDER, read_stages
from trainers.flags.training_arguments import inherited_flags
from trainers.masked.packing import packed_rows
from trainers.run.recipe import continued_recipe, recipe_of
from triplets.arguments import DataArguments, mixing
from triplets.batch_plan import BatchPlan
from triplets.check import scan
from triplets.check.check_text import as_text
from triplets.check.exposure import declared_shares, steps_of, times_seen, times_seen_by_data_set
from triplets.check.overlap import TrainingTexts, evaluation_files, overlap
from triplets.dataset import LoadedDataSet, TripletRows
from triplets.read import CheckedData, read_for_check

__all__ = ["DataCheck", "as_text", "data_report", "last_checkpoint", "parse_checks"]


@dataclass(frozen=True)
class DataCheck:
    """A parsed command line.

    Attributes:
        own: the check's own flags.
        data: training data.
        model: prompts, and the base LLM or adapter whose tokenizer counts tokens.
        explicit: names of the flags that are set.
        objective: of the run.
        batch_size: of one process; this and the rest decide the batches of the run.
    """

    own: CheckArguments
    data: DataArguments
    model: ModelArguments
    explicit: frozenset[str]
    objective: str
    batch_size: int
    accumulation: int
    seed: int
    shuffle: bool
    max_steps: int
    epochs: float


def parse_checks(argv: Sequence[str]) -> list[DataCheck]:
    """Read a command line; returns a check for each stage of the training, or of the run's, in their order.

    Raises:
        UserError: a mistake in it, or in the file behind ``--dataset_config``.
    """
    flags = {**flags_of(*GROUPS), **inherited_flags(), **flags_of(CheckArguments)}
    # A run's record is a file of flags like any other: the flags of this command line override it.
    given = read_flags(argv, flags, with_design=True).values
    run = given.get("run")
    if run is None:
        return checks_of(given, flags)
    if "--config" in argv:
        raise UserError("--run brings the run's own configuration: leave --config out")
    checks = []
    for folder in runs_of(Path(run)):
        values = read_flags(["--config", str(folder / CONFIG_FILE), *argv], flags, with_design=True).values
        checks += checks_of({**values, "run": str(folder)}, flags)
    return checks


def runs_of(directory: Path) -> list[Path]:
    """Return the output directories of a run's stages in their order; the last one is the run's own.

    Raises:
        UserError: it holds no run.
    """
    if not (directory / CONFIG_FILE).is_file():
        raise UserError(f"--run {directory}: there is no {CONFIG_FILE}; give the output directory of a run")
    earlier = [record.parent for record in (directory / STAGES_FOLDER).glob(f"*-*/{CONFIG_FILE}")]
    return [*sorted(earlier, key=lambda folder: int(folder.name.partition("-")[0])), directory]


def checks_of(values: dict[str, Any], flags: Mapping[str, Flag]) -> list[DataCheck]:
    """Return the check of each stage that a training with these values of flags has."""
    stages = values.get("stages")
    if stages is None:
        return [check_of(values, flags)]
    # As in a dry run: the adapter and the merged base LLM of the stage before need not be there.
    common = {"output_dir": "run", **values, "dry_run": True}
    return [check_of(stage.values, flags) for stage in read_stages(stages, common, flags)]


def check_of(values: dict[str, Any], flags: Mapping[str, Flag]) -> DataCheck:
    """Return the check of one run."""

    def value_of(name: str) -> Any:
        return values.get(name, flags[name].default)

    data_seed = value_of("data_seed")
    return DataCheck(
        group_of(CheckArguments, values),
        group_of(DataArguments, values),
        group_of(ModelArguments, values),
        frozenset(values),
        objective=value_of("objective"),
        batch_size=value_of("per_device_train_batch_size"),
        accumulation=int(value_of("gradient_accumulation_steps")),
        seed=value_of("seed") if data_seed is None else data_seed,
        shuffle=str(value_of("train_sampling_strategy")) != "sequential",
        max_steps=int(value_of("max_steps")),
        epochs=float(value_of("num_train_epochs")),
    )


def data_report(check: DataCheck) -> dict[str, Any]:
    """Return all findings, ready for JSON."""
    own = check.own
    against = evaluation_files(own.against or [])  # before anything that takes long
    tokenizer, recipe = tokenizer_and_recipe(check)
    data = read_for_check(check.data, cache_dir=check.model.cache_dir)
    rows = data.rows
    counts = scan.scan(rows)
    overlaps = []
    problems = list(data.problems)
    batched = None
    try:
        batched = rows_of_batches(check, rows, tokenizer, recipe)
    except UserError as error:  # too few texts for a packed row; the rest is still told
        problems.append(str(error))
    if against:
        training = TrainingTexts(counts, rows)
        for file in against:
            try:
                overlaps.append(asdict(overlap(file, training, own.examples)))
            except UserError as error:  # a damaged file; the others are still compared
                problems.append(f"--against: {error}")
    evaluation = []
    if data.evaluation is not None:
        evaluation = [reading(part) for part in data.evaluation.parts]
    report: dict[str, Any] = {
        "data sets": data_set_entries(check, data, batched or rows, counts, tokenizer, recipe),
        "evaluation": evaluation,
        "problems": problems,
        "repetitions": scan.repetitions(counts, rows, own.examples),
        "overlap": overlaps,
        **({"batches": None, "seen": []} if batched is None else seen_report(check, batched)),
    }
    if tokenizer is not None:
        report["longest"] = {"query": recipe.length("query"), "document": recipe.length("document")}
    return report


def rows_of_batches(check: DataCheck, rows: TripletRows, tokenizer: TextTokenizer | None, recipe: Recipe) -> TripletRows | None:
    """Return the rows that batches are made of.

    With ``--objective mntp`` they are packed ones, which need a tokenizer; None without it.
    """
    if check.objective != "mntp":
        return rows
    return None if tokenizer is None else packed_rows(rows, tokenizer, recipe.length("document"))


def data_set_entries(
    check: DataCheck,
    data: CheckedData,
    batched: TripletRows,
    counts: scan.Scan,
    tokenizer: TextTokenizer | None,
    recipe: Recipe,
) -> list[dict[str, Any]]:
    """Return the findings about each data set alone; an epoch is one of the rows that batches are made of."""
    sets, rows = data.data_sets, data.rows
    shares = declared_shares(sets, batched)
    total = sum(share.taken for share in batched.shares)
    entries = []
    for number, (data_set, part, share) in enumerate(zip(sets, rows.parts, batched.shares, strict=True)):
        characters = {role: lengths.summary() for role, lengths in counts.characters[number].items()}
        entry: dict[str, Any] = {
            **reading(part),
            "name": data_set.name or data_set.file,
            "rows with so many negatives": list(part.negatives),
            "distinct": scan.distinct(counts, rows, number),
            "in_batch_negatives": part.in_batch,
            "repeat": data_set.repeat,
            "weight": data_set.weight,
            "rows an epoch": share.taken,
            "share": share.taken / total,
            "declared share": shares[number],
            "characters": characters,
        }
        if tokenizer is not None:
            entry["tokens"] = {}
            for role, lengths in scan.tokens(part, tokenizer, recipe, check.own.token_rows).items():
                limit = recipe.length("query" if role == "query" else "document")
                entry["tokens"][role] = {**lengths.summary(), "cut": lengths.above(limit)}
        entries.append(entry)
    return entries


def reading(part: LoadedDataSet) -> dict[str, Any]:
    """Return what was read of a data set, and what was not."""
    entry: dict[str, Any] = {"label": part.label, "rows": len(part)}
    if part.report is not None:
        entry["keys not read"] = part.report.ignored_keys
        entry["rows not read"] = {"count": part.report.invalid, "examples": part.report.examples}
        entry["damaged files"] = part.report.damaged
    return entry


def seen_report(check: DataCheck, rows: TripletRows) -> dict[str, Any]:
    """Return the plan of the run in figures, and how often rows are seen up to each of the check's moments."""
    last_step, saved_processes = last_checkpoint(check.own.run)
    processes = check.own.processes or saved_processes
    plan = BatchPlan(
        rows.shares,
        check.batch_size,
        seed=check.seed,
        shuffle=check.shuffle,
        mixing=mixing(check.data.batching),
        processes=processes,
    )
    moments = check.own.seen_after
    if not moments:
        end = str(check.max_steps) if check.max_steps > 0 else f"{check.epochs:g}epochs"
        moments = [str(last_step), end] if last_step else [end]
    entries: list[dict[str, Any]] = []
    for moment in moments:
        steps = steps_of(moment, plan, check.accumulation)
        if any(entry["steps"] == steps for entry in entries):
            continue  # such as the last checkpoint of a run that has ended
        counts = times_seen(plan, steps, check.accumulation)
        entries.append({"moment": moment, "steps": steps, "data sets": times_seen_by_data_set(counts, rows)})
    batches = {
        "batching": check.data.batching,
        "queries a batch": plan.whole,
        "processes": processes,
        "batches an epoch": len(plan),
        "of one data set": sum(plan.batches[:-1]),
    }
    return {"batches": batches, "seen": entries}


def last_checkpoint(run: str | None) -> tuple[int, int]:
    """Return the step of a run's last checkpoint and how many processes wrote it; step 0 and one process without any."""
    saved = checkpoints(Path(run)) if run is not None else []
    for path in reversed(saved):
        try:
            seal = read_seal(path)
        except ValueError:  # a damaged one, from which no run would go on
            continue
        return int(seal["step"]), int(seal["processes"])
    return 0, 1


def tokenizer_and_recipe(check: DataCheck) -> tuple[TextTokenizer | None, Recipe]:
    """Return the tokenizer of the adapter or base LLM, if one is given, and the prompts and lengths of the run."""
    model = check.model
    recipe = recipe_of(model, check.data, check.explicit)
    adapter, base = model.peft_model_name_or_path, model.model_name_or_path
    if adapter is not None:
        directory, layout = open_folder(adapter, model.cache_dir)
        if (directory / MANIFEST).is_file():
            manifest = read_manifest(directory)
            recipe = continued_recipe(manifest.recipe, model, check.data, check.explicit)
            return TextTokenizer.of(load_tokenizer(directory), recipe, manifest.end_token), recipe
        if layout is not PUBLISHED:  # that one has the tokenizer and, but for design 5's pad token, the recipe of its base LLM
            source = read_source(Asked(adapter, base_model=base, cache_dir=model.cache_dir))
            place = find_base(source.base_model, model.cache_dir, source.revision)
            tokenizer, own = source_parts(source, place)
            recipe = continued_recipe(own, model, check.data, check.explicit)
            return TextTokenizer.of(tokenizer.tokenizer, recipe, source.end_token), recipe
    if base is None:
        return None, recipe
    directory = resolve(base, what="base model", cache_dir=model.cache_dir, needs="config.json")
    return TextTokenizer.of(load_tokenizer(directory), recipe), recipe
