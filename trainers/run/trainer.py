"""The ``transformers.Trainer`` whose step is contrastive: loop, optimizer, schedule and logging are Trainer's."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer import SCHEDULER_NAME

from common.errors import UserError
from model_loaders.embed_model import EmbedModel
from trainers.checkpoints.load import load_checkpoint
from trainers.checkpoints.seal import RunIdentity, read_seal
from trainers.checkpoints.write import publish_checkpoint, save_checkpoint
from trainers.memory.plan import packs_texts
from trainers.monitor.finite import check_finite
from trainers.monitor.metrics import RunningMetrics, exclusion_warning
from trainers.monitor.out_of_memory import out_of_memory
from trainers.monitor.progress import warn
from trainers.run.loader import triplet_loader
from trainers.run.loss_sums import LossRecord, LossSums
from trainers.run.together import Place
from trainers.scoring.evaluation import Scores, evaluate_run, loss_evaluations
from trainers.step.batch import TripletBatch, TripletCollator
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import engine_of
from trainers.step.gather import ProcessGroup
from trainers.step.loss import VectorLoss
from trainers.step.matryoshka import widths_of
from trainers.step.parameter_groups import parameter_groups
from triplets.batch_plan import BatchPlan
from triplets.dataset import TripletRows
from triplets.mixing import Mixing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from transformers import TrainerState, TrainingArguments

    from trainers.scoring.selection import Selection

SETTLED = 10  # steps that a run may look collapsed without a warning


@dataclass(frozen=True)
class ContrastiveOptions:
    """Options of a contrastive training, beside the loss.

    Attributes:
        mixing: of several data sets; see `BatchPlan`.
        chunk_tokens: padded tokens whose activations are kept at once; None for those of the whole batch.
        negatives_across_processes: whether texts of every process are negatives for every other one.
        pooling_learning_rate: None for that of the rest.
        packing: whether the base LLM computes texts without padding, where it can: ``auto`` on a CPU, ``on`` anywhere, ``off``.
    """

    mixing: Mixing = "homogeneous"
    chunk_tokens: int | None = None
    negatives_across_processes: bool = True
    pooling_learning_rate: float | None = None
    packing: str = "auto"


class ContrastiveTrainer(Trainer):
    """Trains an ``EmbedModel`` on triplets.

    Only the contrastive parts are overridden: batches, step, parameter groups, evaluations, and the content of a checkpoint.
    """

    objective = "contrastive"

    def __init__(
        self,
        model: EmbedModel,
        args: TrainingArguments,
        train_rows: TripletRows | Sequence[Mapping[str, Any]],
        collator: TripletCollator,
        *,
        eval_rows: TripletRows | Sequence[Mapping[str, Any]] | None = None,
        loss: VectorLoss | None = None,
        options: ContrastiveOptions | None = None,
        start: str = "",
    ) -> None:
        """Make the trainer of a run.

        Args:
            model: to train.
            args: flags inherited from transformers.
            train_rows: triplets.
            collator: tokenises them.
            eval_rows: triplets that the loss is evaluated on.
            loss: of a batch's vectors.
            options: of the batches and the step.
            start: hash of the adapter that the run starts from, empty without one.
        """
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=TripletRows.of(train_rows),
            eval_dataset=TripletRows.of(eval_rows or []),  # Trainer itself does not evaluate without any
        )
        self.options = options or ContrastiveOptions()
        share = self.options.negatives_across_processes
        processes = ProcessGroup(self.accelerator.num_processes, self.accelerator.process_index, share)
        self.contrastive_step = ContrastiveStep.of(
            model,
            engine_of(self.accelerator),
            self.args.device,
            chunk_tokens=self.options.chunk_tokens,
            loss=loss,
            processes=processes,
            packing=packs_texts(self.options.packing, self.args),
        )
        self.identity = RunIdentity(processes.count, self.train_dataset.content, start, model.dtype, loss_evaluations(self))
        self.metrics = RunningMetrics(dimensions=widths_of(loss))
        self.loss_record = LossRecord()
        self.stage: str | None = None  # directory of a checkpoint while it is being written
        self.task_scores: Scores | None = None
        self.selection: Selection | None = None
        self.chosen_step: int | None = None  # of the weights, once those of the best checkpoint are loaded
        self.warned = False

    # Batches

    def plan(self) -> BatchPlan:
        """Return the plan of this process's batches."""
        return BatchPlan(
            self.train_dataset.shares,
            self.args.per_device_train_batch_size,
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
            shuffle=str(self.args.train_sampling_strategy) != "sequential",
            mixing=self.options.mixing,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of this process's ``TripletBatch``es; accelerate must not shard it again."""
        plan = self.plan()
        loader = triplet_loader(self.train_dataset, plan, self.data_collator, self.args)
        loader.set_epoch = plan.set_epoch  # type: ignore[attr-defined]  # called by Trainer at each epoch
        return loader

    def get_batch_samples(
        self, epoch_iterator: Iterator[TripletBatch], num_batches: int, device: torch.device
    ) -> tuple[list[TripletBatch], None]:
        """Fetch the batches of one optimizer step; there are no labels whose tokens would have to be counted."""
        return list(islice(epoch_iterator, num_batches)), None

    def num_examples(self, dataloader: DataLoader[Any]) -> int:
        """Return the number of rows of an epoch."""
        return int(dataloader.batch_sampler.rows)  # type: ignore[union-attr]

    def floating_point_ops(self, inputs: TripletBatch) -> int:
        """Return 0: Trainer's estimate knows only models that take one ``input_ids``."""
        return 0

    def _prepare_inputs(self, inputs: TripletBatch) -> TripletBatch:
        return inputs  # a TripletBatch moves to the device chunk by chunk

    # The step

    def training_step(self, model: nn.Module, inputs: TripletBatch, num_items_in_batch: None = None) -> Tensor:  # type: ignore[override]
        """Add one batch's gradient; returns its loss over all processes, divided by the accumulated batches."""
        model.train()
        self.loss_record.begin(self)
        weight = 1.0 / self.current_gradient_accumulation_steps
        step, processes = self.state.global_step + 1, self.accelerator.num_processes
        Place.at_step(step)
        try:
            result = self.contrastive_step(model, inputs, weight)
        except torch.OutOfMemoryError as error:
            raise UserError(out_of_memory(error, inputs, number=step, step=self.contrastive_step, args=self.args)) from error
        scaled = self.accelerator.mixed_precision == "fp16"
        check_finite(model, inputs, result, step=step, processes=processes, loss_scaling=scaled)
        self.contrastive_step.engine.finish(model)
        self.metrics.add(inputs, result)
        return result.loss.mul(weight)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add to Trainer's figures those of the batches since the last line, over all processes."""
        if "loss" in logs and self.metrics.batches:
            figures, collapsed = self.metrics.take(self.accelerator)
            logs = logs | figures
            warning = warning_of(figures, collapsed, self.state)
            if warning and self.is_world_process_zero() and not self.warned:
                self.warned = True
                warn(warning)
        self.loss_record.correct(logs, self)
        super().log(logs, *args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Build the optimizer; the pooling has its own learning rate if one was given."""
        self.optimizer: torch.optim.Optimizer | None
        rate = self.options.pooling_learning_rate
        if self.optimizer is not None or rate is None:
            inherited: torch.optim.Optimizer = super().create_optimizer(model)
            return inherited
        trained: nn.Module = self.model if model is None else model
        kind, settings = self.get_optimizer_cls_and_kwargs(self.args, trained)
        decayed = set(self.get_decay_parameter_names(trained))
        groups = parameter_groups(trained, decayed, weight_decay=self.args.weight_decay, pooling_rate=rate)
        self.optimizer = kind(groups, **settings)
        return self.optimizer

    # Evaluation

    def evaluate(
        self, eval_dataset: TripletRows | None = None, ignore_keys: None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Compute and log the figures of an evaluation."""
        return evaluate_run(self, self.eval_dataset if eval_dataset is None else eval_dataset, metric_key_prefix)

    def held_out(self, rows: TripletRows) -> tuple[float, float]:
        """Return the loss and accuracy of evaluation triplets, the same on every process: a batch has its own negatives alone.

        Pairs are read under SimCSE too: there is no dropout here, so a text would always find itself.
        """
        plan = BatchPlan(len(rows), self.args.per_device_eval_batch_size, seed=0, shuffle=False)
        batches = triplet_loader(rows, plan, self.data_collator.of_pairs(), self.args)
        return evaluation_means(self.contrastive_step, self.model, batches)

    # Checkpoints

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter directory: on every process, as parameters may be sharded; the first one writes."""
        folder = Path(output_dir or self.args.output_dir)
        save_checkpoint(self.model, folder, write=self.args.should_save, step=self.chosen_step)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        assert self.optimizer is not None
        self.contrastive_step.engine.save_optimizer(self.model_wrapped, self.optimizer, output_dir)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: DataLoader[Any], resume_from_checkpoint: str | None
    ) -> Any:
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

    def _save_checkpoint(self, model: nn.Module, trial: None) -> None:
        publish_checkpoint(self, partial(super()._save_checkpoint, model, trial))

    def _get_output_dir(self, trial: None) -> str:
        return self.stage or str(super()._get_output_dir(trial))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_checkpoint(self.model, Path(resume_from_checkpoint))
        resume_figures(self, read_seal(Path(resume_from_checkpoint)))

    def sums(self) -> dict[str, Any]:
        """Return the sums that a run which goes on needs for its figures; called on every process."""
        return {"loss": dataclasses.asdict(LossSums.of(self)), "window": self.metrics.window(self.accelerator)}


def warning_of(figures: dict[str, float], collapsed: str, state: TrainerState) -> str:
    """Return the warning of a log line, empty for none; in the first steps an untrained pooling may look collapsed."""
    settled = state.global_step > max(SETTLED, 0.1 * state.max_steps)
    return exclusion_warning(figures) or (collapsed if settled else "")


def resume_figures(trainer: ContrastiveTrainer, seal: dict[str, Any]) -> None:
    """Go on with the sums that a checkpoint's seal holds; an older checkpoint has none."""
    sums = seal.get("sums")
    trainer.loss_record.go_on(LossSums.read(sums))
    window = None if sums is None else sums["window"]
    trainer.metrics.go_on(seal.get("seen"), window, first=trainer.is_world_process_zero())


@torch.no_grad()
def evaluation_means(step: ContrastiveStep, model: EmbedModel, batches: Iterable[TripletBatch]) -> tuple[float, float]:
    """Return the mean loss and accuracy of the queries of all batches."""
    model.eval()
    sums = torch.zeros(3)  # loss, accuracy, number of queries
    for batch in batches:
        result = step.evaluate(model, batch)
        sums += batch.queries * torch.tensor([float(result.loss), float(result.accuracy), 1.0])
    return float(sums[0] / sums[2]), float(sums[1] / sums[2])
