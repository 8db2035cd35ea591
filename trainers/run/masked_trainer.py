"""The trainer of masked next-token prediction: a run like any other, whose batches are packed rows."""

from __future__ import annotations

from typing import Any

import torch

from common.errors import UserError
from model_loaders.backbone.head import load_head
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.source import open_base
from trainers.flags.arguments import ObjectiveArguments
from trainers.flags.train_config import TrainConfig
from trainers.masked.masking import Masking
from trainers.masked.model import MaskedTokenModel
from trainers.masked.packing import packed_rows
from trainers.masked.step import MaskedTokensStep, TokenRowCollator
from trainers.run.loader import triplet_loader
from trainers.run.trainer import ContrastiveOptions, ContrastiveTrainer
from triplets.arguments import mixing
from triplets.batch_plan import BatchPlan
from triplets.dataset import TripletRows


class MaskedTokensTrainer(ContrastiveTrainer):
    """Trains a ``MaskedTokenModel`` on packed rows; checkpoints, schedule and logs are those of every run."""

    objective = "mntp"

    def mask(self, masking: Masking, *, block_diagonal: bool) -> None:
        """Take the masks of the run; called once, before the first step."""
        step = self.contrastive_step
        self.contrastive_step = MaskedTokensStep(
            step.chunker,
            step.engine,
            processes=step.processes,
            masking=masking,
            block_diagonal=block_diagonal,
            number=lambda: int(self.state.global_step),
            dim=self.model.dim,
        )

    def held_out(self, rows: TripletRows) -> tuple[float, float]:
        """Return the mean loss and accuracy of the hidden tokens of evaluation rows.

        Every process computes the same. The masks are the same in every evaluation.
        """
        plan = BatchPlan(len(rows), self.args.per_device_eval_batch_size, seed=0, shuffle=False)
        step: Any = self.contrastive_step
        self.model.eval()
        sums = torch.zeros(3, dtype=torch.float64)  # loss, right tokens, hidden tokens
        for batch in triplet_loader(rows, plan, self.data_collator, self.args):
            result, count = step.evaluate_rows(self.model, batch)
            sums += count * torch.tensor([float(result.loss), float(result.accuracy), 1.0], dtype=torch.float64)
        count = max(1.0, float(sums[2]))
        return float(sums[0]) / count, float(sums[1]) / count


def masked_trainer(
    config: TrainConfig, model: EmbedModel, rows: TripletRows, eval_rows: TripletRows | None, start: str
) -> MaskedTokensTrainer:
    """Build the trainer of a run.

    Args:
        config: of the run.
        model: to train.
        rows: the training data, not packed.
        eval_rows: to evaluate the loss on, not packed.
        start: hash of the adapter that the run starts from, empty without one.
    """
    # The recipe's length: that of the adapter which the run goes on from, unless a flag says another one.
    training, length, base = config.training, model.recipe.length("document"), model.base_model
    directory, _ = open_base(base.name_or_path, config.model.cache_dir, revision=base.revision)
    masked = MaskedTokenModel(model, load_head(directory, model.backbone))
    trainer = MaskedTokensTrainer(
        masked,
        training,
        packed_rows(rows, model.tokenizer, length),
        TokenRowCollator(model.tokenizer.tokenizer),  # type: ignore[arg-type]
        eval_rows=None if eval_rows is None else packed_rows(eval_rows, model.tokenizer, length),
        options=ContrastiveOptions(mixing=mixing(config.data.batching), chunk_tokens=config.contrastive.token_budget),
        start=start,
    )
    masking = masking_of(config.objective, masked, training.seed)
    trainer.mask(masking, block_diagonal=config.objective.block_diagonal)
    return trainer


def masking_of(objective: ObjectiveArguments, model: MaskedTokenModel, seed: int) -> Masking:
    """Return the masks that the flags ask for."""
    tokenizer = model.tokenizer.tokenizer
    return Masking(
        mask_id=mask_token_id(tokenizer, objective.mask_token),
        share=objective.mask_share,
        all_masked=objective.masking == "all",
        special_ids=frozenset(tokenizer.all_special_ids),
        vocabulary=min(len(tokenizer), len(model.head.weight)),
        seed=seed,
    )


def mask_token_id(tokenizer: Any, name: str) -> int:
    """Return the id of ``--mask_token``: a token of the vocabulary, ``eos``, or an id; the tokenizer stays as it is.

    Raises:
        UserError: there is no such token.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    if name == "eos" and tokenizer.eos_token_id is not None:
        return int(tokenizer.eos_token_id)
    if name in vocabulary:
        return vocabulary[name]
    if name.isdecimal() and int(name) < len(tokenizer):
        return int(name)
    raise UserError(
        f"--mask_token {name!r} is no token of {tokenizer.name_or_path!r}: give one of its tokens, eos, or an id below "
        f"{len(tokenizer)}"
    )
