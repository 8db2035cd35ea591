"""Run by every process of a distributed test: one step on this process's share, or a short training; writes what it got.

``torchrun … two_processes.py BASE DESIGN OUT MODE``; MODE is ``gradients``, ``chunked``, ``train`` or ``ragged``:
nine rows, so that the second batch has one row and the first process none of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.conftest import new_model, triplets
from trainers.batching import TripletCollator
from trainers.trainer import ContrastiveTrainer


def make_trainer(base: str, design: str, output_dir: str, *, rows: int = 7, chunk_tokens: int | None = None):
    from transformers import TrainingArguments

    args = TrainingArguments(
        output_dir=output_dir, report_to="none", use_cpu=True, save_strategy="no", logging_steps=1, disable_tqdm=True,
        remove_unused_columns=False, train_sampling_strategy="sequential", ddp_find_unused_parameters=False,
        per_device_train_batch_size=4, max_steps=3, optim="sgd", learning_rate=0.05, max_grad_norm=0.0,
    )  # fmt: skip
    model = new_model(design, Path(base))
    collator = TripletCollator(model.tokenizer, model.recipe)
    data = triplets(rows, negatives=2)
    data[1]["negatives"] = []  # ragged
    return ContrastiveTrainer(model, args, data, collator, chunk_tokens=chunk_tokens)


def one_step_gradients(trainer: ContrastiveTrainer, batch_size: int) -> dict[str, torch.Tensor]:
    """Gradients of the first batch, through the wrapped model."""
    trainer.args.per_device_train_batch_size = batch_size
    model = trainer.accelerator.prepare_model(trainer.model)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.current_gradient_accumulation_steps = 1
    trainer.training_step(model, batch)
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}


def main() -> None:
    torch.set_num_threads(1)
    base, design, out, mode = sys.argv[1:5]
    rows = 9 if mode == "ragged" else 7
    trainer = make_trainer(base, design, out, rows=rows, chunk_tokens=24 if mode in ("chunked", "ragged") else None)
    accelerator = trainer.accelerator
    assert accelerator.num_processes == 2, f"world size is {accelerator.num_processes}"
    if mode in ("train", "ragged"):
        trainer.train()
        state = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    else:
        state = one_step_gradients(trainer, 4)  # 7 rows: 3 and 4
    torch.save(state, Path(out) / f"{mode}-{accelerator.process_index}.pt")


if __name__ == "__main__":
    main()
