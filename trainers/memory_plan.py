"""Plan the memory of a training step, without the base model's weights, a GPU or data.

    python trainers/memory_plan.py --design model3 --config configs/mistral-7b.yaml --negatives 7

The step is the trainer's own, run on a copy of the model whose tensors are PyTorch's fake ones: they have sizes but no memory.
Every tensor is counted while it is alive, so the plan holds for any base model, LoRA, pooling, kernel and checkpointing without
a formula for them. Only the chunks that can have the peak are encoded (`placeholders.chunks_at_peak`); placeholders for the
others hold as much memory a token as the first chunk did.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own folder is on sys.path, the root is not

from common.errors import UserError
from common.files import first_line
from trainers.flags.command_line import parse


def number(least: int, most: int) -> Callable[[str], int]:
    """Return a type for argparse: a whole number from ``least`` to ``most``."""

    def convert(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"it must be from {least} to {most}, not {text}")
        return value

    return convert


def main(argv: Sequence[str] | None = None) -> int:
    """Print the plan of a command line for ``trainers/train.py``; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--negatives", type=number(0, 2**16), default=1, help="hard negatives of each query (1)")
    parser.add_argument("--processes", type=number(1, 2**20), default=1, help="processes that share a batch (1)")
    own, rest = parser.parse_known_args(argv)
    config = parse([*rest, "--output_dir", tempfile.gettempdir()], needs_data=False)

    # After --help and errors in flags: these import torch.
    from trainers.memory.plan_config import check_planned, model_of, plan_config
    from trainers.monitor.surprises import parameters_of, surprises
    from trainers.run.losses import loss_of

    if config.objective.objective == "simcse":
        own.negatives = 0
    try:
        check_planned(config)
        model, loss = model_of(config), loss_of(config.contrastive)
        plan = plan_config(config, loss, negatives=own.negatives, processes=own.processes, model=model)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:  # an operation that has no sizes without values
        print(
            f"error: an operation of this base model cannot be planned without values in this dtype: {first_line(error)}. "
            "Try another --torch_dtype; the training command with --dry_run measures the memory.",
            file=sys.stderr,
        )
        return 1
    size = f"{config.training.per_device_train_batch_size} queries with {own.negatives} hard negatives each"
    name, longest = config.model.model_name_or_path, config.data.max_seq_length
    print(f"{config.design} on {name}, {own.processes} processes of {size}, every text at its longest ({longest} tokens)")
    print(plan)
    if config.contrastive.chunk_tokens == "auto":
        print("--chunk_tokens auto: of the whole batch at once; a run takes chunks where that does not fit its device")
    in_fp32 = config.training.use_cpu and not config.training.bf16 and config.model.torch_dtype in ("auto", "float32")
    for note in surprises(parameters_of(model), config.training.learning_rate, fp32_on_cpu=in_fp32):
        print(f"note: {note}")
    print("tensors of one process; memory inside kernels and rounding by the allocator come on top")
    return 0


if __name__ == "__main__":
    sys.exit(main())
