"""How much memory a training step will need, found by running it on tensors that have sizes but no memory.

The step is the trainer's own, on a copy of the model whose tensors are PyTorch's fake ones, and every tensor is counted
while it is alive. So the plan knows what autograd keeps of whatever base model, LoRA, pooling, kernel and checkpointing there
is, without a formula for any of them. Of many chunks only those run that can have the peak (`stand_ins.chunks_to_run`); between
them stand-ins hold as much a token as the first one did.

Plan a run from its configuration alone, without the base model's weights, a GPU or data::

    python trainers/memory_plan.py --design model3 --config configs/mistral-7b.yaml --negatives 7
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own folder is on sys.path, the root is not


from common.errors import UserError
from trainers.memory.plan_config import plan_config

if TYPE_CHECKING:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Print the plan of a command line for ``trainers/train.py``; returns the exit status."""
    import tempfile

    from trainers.flags.command_line import parse

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--negatives", type=int, default=1, help="hard negatives of each query (1)")
    parser.add_argument("--processes", type=int, default=1, help="processes that share a batch (1)")
    own, rest = parser.parse_known_args(argv)
    config = parse([*rest, "--output_dir", tempfile.gettempdir()], needs_data=False)
    try:
        plan = plan_config(config, negatives=own.negatives, processes=own.processes)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    batch = f"{config.training.per_device_train_batch_size} queries with {own.negatives} hard negatives each"
    print(f"{config.design} on {config.model.model_name_or_path}, {own.processes} processes of {batch}, every text at its "
          f"longest ({config.data.max_seq_length} tokens)")  # fmt: skip
    print(plan)
    print("tensors of one process; what kernels use inside and the allocator rounds up comes on top")
    return 0


if __name__ == "__main__":
    sys.exit(main())
