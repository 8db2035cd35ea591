"""The description of a run, printed before its first step."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from common.words import quantity
from model_loaders.backbone.lora_targets import left_out, targets_of
from model_loaders.layouts.manifest import library_versions
from trainers.masked.step import MaskedTokensStep
from trainers.memory.longest_batch import longest_batch
from trainers.memory.plan import plan_or_reason
from trainers.monitor.surprises import parameters_of, surprises
from trainers.run.losses import describe_loss, describe_masking
from trainers.run.preflight import check_positions
from trainers.step.matryoshka import widths_of
from triplets.dataset import LoadedDataSet, TripletRows
from triplets.keys import names

if TYPE_CHECKING:
    from accelerate import Accelerator

    from trainers.run.trainer import ContrastiveTrainer


SAMPLE = 256  # rows that tokens and negatives are counted on
NAME_WIDTH = 16
MOST_TASKS = 6  # whose names are shown


def banner(trainer: ContrastiveTrainer, memory: str | None = None) -> str:
    """Describe a run: design, parameters, data, batch, negatives, tokens, memory, recipe, engine, seeds, versions.

    Args:
        trainer: of the run.
        memory: the description of its memory, where it was planned before.
    """
    model, args, accelerator = trainer.model, trainer.args, trainer.accelerator
    rows, recipe = trainer.train_dataset, model.recipe
    if memory is None:
        longest = longest_batch(rows, trainer.data_collator, args.per_device_train_batch_size)
        memory = str(plan_or_reason(trainer, longest))
    data_seed = args.seed if args.data_seed is None else args.data_seed
    precision = accelerator.mixed_precision
    lines = [
        line("design", f"{model.design_name}: {model.design.summary}"),
        *parameter_lines(trainer),
        line("triplets" if trainer.objective == "contrastive" else "rows", f"{len(rows):,}"),
        *data_lines(trainer),
        *not_read_lines(trainer),
        *(batch_lines(trainer, rows.sample(SAMPLE)) if trainer.objective == "contrastive" else row_lines(trainer)),
        line("lengths", f"queries {recipe.length('query')} tokens, documents {recipe.length('document')}"),
        line("prompts", f"query {recipe.query_prompt!r}, document {recipe.document_prompt!r}"),
        *(line("recipe", text) for text in [recipe.unlike_default()] if text),
        line("loss", loss_text(trainer)),
        line("optimizer", optimizer_text(trainer)),
        *evaluation_lines(trainer),
        line("memory", memory),
        line("engine", f"{engine_text(accelerator)}, mixed precision {precision}"),
        line("seeds", f"{args.seed}, data {data_seed}"),
        line("versions", ", ".join(f"{name} {version}" for name, version in library_versions().items())),
        *(line("note", note) for note in notes(trainer)),
    ]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return "\n".join(wrapped(text, width) for text in lines)


def wrapped(text: str, width: int | None) -> str:
    """Return a line of the banner on a terminal of some columns: broken between words, below its text."""
    if width is None or len(text) <= width or width < 2 * NAME_WIDTH:
        return text
    indent = " " * NAME_WIDTH
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def engine_text(accelerator: Accelerator) -> str:
    """Describe the processes and the engine that joins them."""
    count = accelerator.num_processes
    return "one process" if count == 1 else f"{accelerator.distributed_type.value}, {count} processes"


def line(name: str, text: str) -> str:
    """Return a line of the banner."""
    return f"{name:<{NAME_WIDTH}}{text}"


def parameter_lines(trainer: ContrastiveTrainer) -> list[str]:
    """Describe the base model, and count the frozen and the trained parameters."""
    model, counts = trainer.model, parameters_of(trainer.model)
    base = f"{model.base_model.name_or_path} ({counts.frozen:,} frozen parameters, {model.dtype}, {model.device})"
    changed = f"base LLM {counts.base:,}" if counts.base else f"LoRA {counts.lora:,}"
    lines = [line("base model", base), line("trainable", f"{changed}, pooling {counts.pooling:,}")]
    targets = targets_of(model.backbone)
    if targets:
        lines.append(line("LoRA on", counted(targets)))
        if others := left_out(model.backbone):
            lines.append(line("LoRA not on", counted(others)))
    return lines


def counted(names: Mapping[str, int]) -> str:
    """Return names with how often each is there: ``k_proj x 3, q_proj x 3``."""
    return ", ".join(f"{name} x {count}" for name, count in sorted(names.items()))


def data_lines(trainer: ContrastiveTrainer) -> list[str]:
    """Describe an epoch's share of each data set, where there are several."""
    rows = trainer.train_dataset
    if len(rows.parts) == 1:
        return []
    total = sum(share.taken for share in rows.shares)
    lines = [line("batching", f"{trainer.options.mixing}, {len(trainer.plan()):,} batches of {total:,} rows an epoch")]
    for part, share in zip(rows.parts, rows.shares, strict=True):
        alone = "" if part.in_batch else ", no in-batch negatives"
        size = f"{share.taken:,} of {share.rows:,} rows an epoch, {share.taken / total:.1%} of all"
        lines.append(line(f"  {part.label:<13} ", f"{size}{alone}"))
    return lines


def not_read_lines(trainer: ContrastiveTrainer) -> list[str]:
    """Name the keys of training and evaluation rows that are not read, and count the rows that were skipped."""
    lines = []
    parts = list(trainer.train_dataset.parts)
    if isinstance(trainer.eval_dataset, TripletRows):
        parts += trainer.eval_dataset.parts
    for part in parts:
        if part.report is None:
            continue
        if part.report.ignored_keys:
            lines.append(line("not read", f"{part.label}: the keys {names(part.report.ignored_keys)}"))
        if part.report.invalid:
            lines.append(line("not read", f"{part.label}: {part.report.invalid:,} invalid rows of {part.report.rows:,}"))
    return lines


def batch_lines(trainer: ContrastiveTrainer, sample: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describe a batch, a query's negatives and a step's tokens, counted on a sample of rows."""
    step, own = trainer.contrastive_step, trainer.args.per_device_train_batch_size
    queries, accumulated = own * step.processes.count, trainer.args.gradient_accumulation_steps
    size = f"{queries} queries ({own} x {step.processes.count} processes)"
    if accumulated > 1:
        size += f" x {accumulated} batches an optimizer step"
    tokens, padding = tokens_of(trainer, sample)
    sharing = queries if step.processes.share_negatives else own
    packed = ", left out of all but attention and pooling" if step.chunker.packs_up_to else ""
    return [
        line("batch", size),
        line("negatives", negatives_text(trainer.data_collator.as_read(sample), sharing)),
        line("tokens", f"about {quantity(tokens * queries * accumulated)} a step, and {padding:.0%} padding{packed}"),
    ]


def row_lines(trainer: ContrastiveTrainer) -> list[str]:
    """Describe a batch of packed rows, and a step's tokens."""
    own, accumulated = trainer.args.per_device_train_batch_size, trainer.args.gradient_accumulation_steps
    rows, length = own * trainer.accelerator.num_processes, trainer.model.recipe.length("document")
    size = f"{rows} rows of {length} tokens ({own} x {trainer.accelerator.num_processes} processes)"
    if accumulated > 1:
        size += f" x {accumulated} batches an optimizer step"
    return [line("batch", size), line("tokens", f"{quantity(rows * accumulated * length)} a step, no padding")]


def negatives_text(sample: Sequence[Mapping[str, Any]], queries: int) -> str:
    """Count the negatives of a query: hard ones, and those of other queries that share its loss.

    Args:
        sample: rows.
        queries: number of queries that share a loss.
    """
    hard = sum(len(row["negatives"]) for row in sample) / len(sample)
    shared = sum(bool(row.get("in_batch", True)) for row in sample) / len(sample)
    alone = f"{hard:.3g} hard ones of its own"
    if not shared:
        return f"{alone} a query, none of the batch"
    positives = queries - 1
    others = positives * (1 + hard)
    text = f"{hard + others:.0f} a query: {alone}, {positives} positives and {others - positives:.0f} hard ones of others"
    return text if shared == 1 else f"{text}; {1 - shared:.0%} of the queries have {alone} alone"


def tokens_of(trainer: ContrastiveTrainer, sample: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the tokens of a row, and the share that padding adds."""
    own = trainer.args.per_device_train_batch_size
    real = padded = 0
    for start in range(0, len(sample), own):
        lengths = [len(ids) for ids in trainer.data_collator(sample[start : start + own]).ids]
        real += sum(lengths)
        for group in trainer.contrastive_step.groups(lengths):
            padded += lengths[group[0]] * len(group)  # the longest comes first
    return real / len(sample), padded / real - 1


def loss_text(trainer: ContrastiveTrainer) -> str:
    """Describe the loss."""
    chunk_tokens, step = trainer.options.chunk_tokens, trainer.contrastive_step
    text = describe_masking(step) if isinstance(step, MaskedTokensStep) else describe_loss(step.loss)
    if chunk_tokens is not None:
        text += f", in chunks of {chunk_tokens} tokens"
    return text


def evaluation_lines(trainer: ContrastiveTrainer) -> list[str]:
    """Describe the tasks that are scored, and what is chosen by the evaluations."""
    lines = []
    if trainer.task_scores is not None:
        names = trainer.task_scores.names
        more = f" and {len(names) - MOST_TASKS} more" if len(names) > MOST_TASKS else ""
        lines.append(line("scored", f"{', '.join(names[:MOST_TASKS])}{more}; results in {trainer.task_scores.folder}"))
    if trainer.selection is not None:
        lines.append(line("choice", str(trainer.selection)))
    return lines


def optimizer_text(trainer: ContrastiveTrainer) -> str:
    """Describe the optimizer and its schedule."""
    args, pooling_rate = trainer.args, trainer.options.pooling_learning_rate
    text = f"{plain(args.optim)}, learning rate {args.learning_rate:g}"
    if pooling_rate is not None:
        text += f", of the pooling {pooling_rate:g}"
    return f"{text}, {plain(args.lr_scheduler_type)} schedule"


def notes(trainer: ContrastiveTrainer) -> list[str]:
    """Return notes on settings that are probably not meant."""
    counts, precision = parameters_of(trainer.model), trainer.accelerator.mixed_precision
    in_fp32 = trainer.model.device.type == "cpu" and trainer.model.dtype == "float32" and precision == "no"
    rate = trainer.args.learning_rate
    notes = surprises(counts, rate, fp32_on_cpu=in_fp32)
    positions = check_positions(trainer.model)
    if positions:
        notes.append(positions)
    dimensions = widths_of(trainer.contrastive_step.loss)
    if dimensions and max(dimensions) < trainer.model.dim:
        notes.append(
            f"the vectors' numbers behind the first {max(dimensions)} of {trainer.model.dim} are in no loss: encode with "
            f"dimensions of at most {max(dimensions)}, or add {trainer.model.dim} to --matryoshka_dims"
        )
    if getattr(trainer.data_collator, "own_positive", False) and any(pairs_of(part) for part in trainer.train_dataset.parts):
        notes.append("of rows with a query and a positive only the queries are read: each is its own positive (SimCSE)")
    accumulated = trainer.args.gradient_accumulation_steps
    if accumulated > 1 and trainer.objective == "contrastive":
        notes.append(
            f"accumulating {accumulated} batches averages their gradients; it adds no negatives. For a larger contrastive "
            "batch raise --per_device_train_batch_size and bound memory by --chunk_tokens."
        )
    return notes


def pairs_of(part: LoadedDataSet) -> int:
    """Return how many rows of a data set are pairs, not single texts."""
    return 0 if part.report is None else part.report.triplets - part.report.texts


def plain(value: object) -> str:
    """Return the text of a setting that may be an enum."""
    return str(getattr(value, "value", value))
