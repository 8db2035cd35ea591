"""The ``transformers.Trainer`` whose step is contrastive: loop, optimizer, schedule and logging are Trainer's."""

from __future__ import annotations

import os
import warnings
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer import SCHEDULER_NAME
from transformers.trainer_callback import TrainerState

from common.errors import SharedError, UserError
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.tensors import trained_tensors
from trainers.checkpoints.seal import read_seal
from trainers.checkpoints.write import (
    STATE,
    attempt,
    check_weights,
    load_checkpoint,
    publish_checkpoint,
    save_checkpoint,
)
from trainers.monitor.finite import check_finite
from trainers.monitor.metrics import RunningMetrics, exclusion_warning
from trainers.monitor.out_of_memory import out_of_memory
from trainers.run.progress import say
from trainers.run.stopping import leave_signals_to_the_parent
from trainers.step.batch import TripletBatch, TripletCollator
from trainers.step.contrastive import ContrastiveStep
from trainers.step.distributed import first_trouble
from trainers.step.engines import engine_of
from trainers.step.gather import Processes
from trainers.step.loss import ContrastiveLoss
from triplets.batch_plan import BatchPlan, Mixing
from triplets.dataset import TripletRows

SETTLED = 10  # steps that a run may look collapsed without a warning


class ContrastiveTrainer(Trainer):
    """Trains an ``EmbedModel`` on triplets.

    Only what is contrastive is overridden: the batches, the step, the optimizer's parameter groups, the evaluation's
    loss, and what a checkpoint holds (an adapter directory, written whole).
    """

    def __init__(
        self,
        model: EmbedModel,
        args: Any,
        train_rows: Any,
        collator: TripletCollator,
        *,
        eval_rows: Any = None,
        mixing: Mixing = "homogeneous",
        loss: ContrastiveLoss | None = None,
        chunk_tokens: int | None = None,
        negatives_across_processes: bool = True,
        pooling_learning_rate: float | None = None,
        start: str = "",
        callbacks: list[Any] | None = None,
    ) -> None:
        evaluated = None if eval_rows is None else TripletRows.of(eval_rows)
        super().__init__(
            model=model, args=args, data_collator=collator, train_dataset=TripletRows.of(train_rows), eval_dataset=evaluated,
            callbacks=callbacks,
        )  # fmt: skip
        self.mixing, self.pooling_learning_rate = mixing, pooling_learning_rate
        self.contrastive_step = ContrastiveStep.of(
            model,
            engine_of(self.accelerator),
            self.args.device,
            chunk_tokens=chunk_tokens,
            loss=loss,
            processes=Processes(self.accelerator.num_processes, self.accelerator.process_index, negatives_across_processes),
        )
        # By this a run that goes on is known again, whatever its files are called: a checkpoint's seal holds it.
        self.known_by = {"data": self.train_dataset.content, "start": start, "dtype": model.dtype}
        self.metrics = RunningMetrics()
        self.warned = False

    # Batches

    def plan(self) -> BatchPlan:
        """Return the plan of this process's batches."""
        seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
        shuffle = str(getattr(self.args, "train_sampling_strategy", "random")) != "sequential"
        return BatchPlan(
            self.train_dataset.shares, self.args.per_device_train_batch_size, seed=seed, shuffle=shuffle, mixing=self.mixing,
            rank=self.accelerator.process_index, processes=self.accelerator.num_processes,
        )  # fmt: skip

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of this process's ``TripletBatch``es; accelerate must not shard it again."""
        plan = self.plan()
        loader = self._loader(self.train_dataset, plan)
        loader.set_epoch = plan.set_epoch  # type: ignore[attr-defined]  # called by Trainer at each epoch
        return loader

    def _loader(self, dataset: Any, plan: BatchPlan) -> DataLoader[Any]:
        workers = self.args.dataloader_num_workers
        return DataLoader(
            dataset,
            batch_sampler=plan,
            collate_fn=self.data_collator,
            num_workers=workers,
            worker_init_fn=leave_signals_to_the_parent,
            generator=torch.Generator(),  # or starting a loader would draw from the random state that dropout draws from
            prefetch_factor=self.args.dataloader_prefetch_factor if workers else None,
            persistent_workers=self.args.dataloader_persistent_workers if workers else False,
        )

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[TripletBatch], None]:
        """Fetch the batches of one optimizer step; there are no labels whose tokens would have to be counted."""
        return list(islice(epoch_iterator, num_batches)), None

    def num_examples(self, dataloader: DataLoader[Any]) -> int:
        """Return the number of rows of an epoch."""
        plan: Any = dataloader.batch_sampler
        return int(plan.rows)

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 0: Trainer's estimate knows only models that take one ``input_ids``."""
        return 0

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs  # a TripletBatch moves to the device chunk by chunk

    # The step

    def training_step(self, model: nn.Module, inputs: TripletBatch, num_items_in_batch: Any = None) -> Tensor:  # type: ignore[override]
        """Add one batch's gradient; returns its loss over all processes, divided by the accumulated batches."""
        model.train()
        weight = 1.0 / self.current_gradient_accumulation_steps
        step, processes = self.state.global_step + 1, self.accelerator.num_processes
        try:
            result = self.contrastive_step(model, inputs, weight)
        except torch.OutOfMemoryError as error:
            raise UserError(out_of_memory(error, inputs, number=step, step=self.contrastive_step, args=self.args)) from error
        scaled = self.accelerator.mixed_precision == "fp16"
        check_finite(model, inputs, result, step=step, processes=processes, loss_scaling=scaled)
        self.contrastive_step.engine.finish(model)
        self.metrics.add(inputs, result)
        loss: Tensor = result.loss * weight
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add to Trainer's figures those of the batches since the last line, over all processes."""
        if "loss" in logs and self.metrics.batches:
            figures, warning = self.metrics.take(self.accelerator)
            logs = logs | figures
            # Before, an untrained pooling may look so.
            started = self.state.global_step > max(SETTLED, 0.1 * self.state.max_steps)
            warning = exclusion_warning(figures) or (warning if started else "")
            if warning and self.is_world_process_zero() and not self.warned:
                self.warned = True
                say(f"warning: {warning}")
        super().log(logs, *args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Build the optimizer; the pooling has its own learning rate if one was given."""
        self.optimizer: torch.optim.Optimizer | None
        if self.optimizer is not None or self.pooling_learning_rate is None:
            inherited: torch.optim.Optimizer = super().create_optimizer(model)
            return inherited
        chosen: nn.Module = self.model if model is None else model
        decayed = set(self.get_decay_parameter_names(chosen))
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, chosen)
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in chosen.named_parameters():
            if parameter.requires_grad:
                groups.setdefault((name.startswith("pooling."), name in decayed), []).append(parameter)
        optimizer: torch.optim.Optimizer = kind(
            [
                {
                    "params": parameters,
                    "weight_decay": self.args.weight_decay if decay else 0.0,
                    **({"lr": self.pooling_learning_rate} if of_pooling else {}),
                }
                for (of_pooling, decay), parameters in groups.items()
            ],
            **options,
        )
        self.optimizer = optimizer
        return optimizer

    # Evaluation of the loss

    @torch.no_grad()
    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Compute the loss and accuracy of the evaluation triplets, batch by batch, and log them.

        Every process computes the same: each batch's negatives are those of the batch alone.
        """
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        model: EmbedModel = self.model
        model.eval()
        total = torch.zeros(3)
        plan = BatchPlan(len(rows), self.args.per_device_eval_batch_size, seed=0, shuffle=False)
        for batch in self._loader(rows, plan):
            result = self.contrastive_step.evaluate(model, batch)
            total += batch.queries * torch.tensor([float(result.loss), float(result.accuracy), 1.0])
        metrics = {
            f"{metric_key_prefix}_loss": float(total[0] / total[2]),
            f"{metric_key_prefix}_accuracy": float(total[1] / total[2]),
        }
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # Checkpoints

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter directory: on every process, as parameters may be sharded; the first one writes."""
        save_checkpoint(self.model, Path(output_dir or self.args.output_dir), write=self.args.should_save)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        assert self.optimizer is not None
        self.contrastive_step.engine.save_optimizer(self.model_wrapped, self.optimizer, output_dir)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None) -> Any:
        # accelerate passes our ddp_broadcast_buffers on under torch's old name for it.
        warnings.filterwarnings("ignore", message=".broadcast_buffers. is deprecated", category=FutureWarning)
        if resume_from_checkpoint is None or not self.is_deepspeed_enabled:
            return super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        # Trainer would ask DeepSpeed for the base LLM's weights too, which a checkpoint does not hold.
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        self._load_from_checkpoint(resume_from_checkpoint)
        self.contrastive_step.engine.load_state(self.model_wrapped, resume_from_checkpoint)
        self._load_optimizer_and_scheduler(resume_from_checkpoint)
        return prepared

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        publish_checkpoint(self, partial(super()._save_checkpoint, model, trial))

    def _get_output_dir(self, trial: Any) -> str:
        stage: str | None = getattr(self, "_stage", None)  # while a checkpoint is being written
        return stage or str(super()._get_output_dir(trial))

    def train_from(self, checkpoint: Path | None) -> tuple[int, dict[str, float]]:
        """Train to the end, from a checkpoint if one is given; returns the number of steps and Trainer's figures.

        A checkpoint of the last step is only loaded: Trainer would train one step more before it looks at the limit.
        """
        if checkpoint is not None:
            state = TrainerState.load_from_json(str(checkpoint / STATE))
            limit = self.set_initial_training_values(self.args, self.get_train_dataloader())[-1]
            if state.global_step > limit:
                raise UserError(
                    f"{checkpoint} is at step {state.global_step}, and this run shall have {limit} (--max_steps, "
                    "--num_train_epochs): nothing is taken back. Give a checkpoint of an earlier step and another --output_dir"
                )
            if state.global_step == limit:
                self.state = state
                self._load_from_checkpoint(str(checkpoint))
                return limit, {}
        result = self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        return result.global_step, result.metrics

    def save_final(self, directory: Path) -> None:
        """Write the adapter where the run ends, and read it back."""

        def write() -> None:
            self.save_model(str(directory))
            expected = trained_tensors(self.model.backbone, self.model.pooling)
            if self.args.should_save:
                check_weights(directory, expected)

        if trouble := first_trouble(attempt(write)):
            raise SharedError(
                f"the adapter could not be written to {directory}: {trouble}\nOnce the cause is gone (a full disk: make "
                "room), the same command with --resume_from_checkpoint true writes it."
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        checkpoint = Path(os.fspath(resume_from_checkpoint))
        load_checkpoint(self.model, checkpoint)
        self.metrics.go_on(read_seal(checkpoint).get("seen"))
