"""Processes of a distributed training, for tests: forked from one warm parent, which takes seconds instead of minutes.

``python ranks.py JOBS.json``: a list of jobs ``{world, engine, base, out, cases}``. Every rank of a job runs all its cases in
one process group, and writes what each found to ``out/NAME-RANK.pt``. Each case trains on given shares of given rows; the same
`ShareTrainer` in one process, on the joined rows, is the reference.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from model_loaders.backbone.load import train_weights
from tests.tiny import new_model, triplets
from trainers.run.trainer import ContrastiveOptions, ContrastiveTrainer
from trainers.step import contrastive as step_module
from trainers.step import gather as gather_module
from trainers.step.batch import TripletBatch, TripletCollator
from trainers.step.chunks import Grouping
from trainers.step.distillation import DistillationLoss
from trainers.step.loss import ContrastiveLoss
from trainers.step.matryoshka import MatryoshkaLoss


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        name: of its result files.
        design: row of the table of designs.
        splits: for each batch, how many rows each process gets.
        chunk_tokens: of gradient caching.
        alone: every third query has no in-batch negatives.
        options: of the trainer, beside chunk_tokens.
        arguments: other ``TrainingArguments``.
        broken: a mistake to make on purpose.
        checkpointing: recompute activations.
        group_tokens: of one forward pass without gradient caching.
        full: train all weights of the base LLM.
        distilled: kind of a distillation beside a contrastive loss with more terms; empty for none.
        widths: three of a Matryoshka loss; none for the contrastive one.
    """

    name: str
    design: str
    splits: list[list[int]]
    chunk_tokens: int | None = None
    alone: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    broken: str = ""
    checkpointing: bool = False
    group_tokens: int | None = None
    widths: list[int] = field(default_factory=list)
    distilled: str = ""
    full: bool = False

    def joined(self) -> Case:
        """Return the same training in one process."""
        return replace(self, splits=[[sum(split)] for split in self.splits])


class ShareTrainer(ContrastiveTrainer):
    """Trains on given shares; keeps the first optimizer step's gradients, the losses, and what DDP reduced in each step."""

    def __init__(self, case: Case, base: str, rank: int, **arguments: Any) -> None:
        from transformers import TrainingArguments

        self.case, self.share_rank = case, rank
        self.first_gradients: dict[str, torch.Tensor] = {}
        self.losses: list[float] = []
        self.reduced: list[list[int]] = []
        accumulation = case.arguments.get("gradient_accumulation_steps", 1)
        args = TrainingArguments(
            output_dir=tempfile.mkdtemp(), report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True,
            remove_unused_columns=False, ddp_find_unused_parameters=False, ddp_broadcast_buffers=False,
            per_device_train_batch_size=1, max_steps=len(case.splits) // accumulation,
            activation_checkpointing=case.checkpointing,
            **{"use_cpu": True, "optim": "sgd", "learning_rate": 0.05, "max_grad_norm": 0.0, **arguments, **case.arguments},
        )  # fmt: skip
        model = new_model(case.design, Path(base), **({"lora": None} if case.full else {}))
        if case.full:
            train_weights(model.backbone)
        rows = triplets(sum(map(sum, case.splits)), negatives=3)
        for index, row in enumerate(rows):
            row["negatives"] = row["negatives"][: index % 4]  # ragged
            row["scores"] = [float((index * 7 + 3 * k) % 5) for k in range(1 + len(row["negatives"]))]
        collator = TripletCollator(model.tokenizer, model.recipe, with_scores=bool(case.distilled))
        options = ContrastiveOptions(chunk_tokens=case.chunk_tokens, **case.options)
        loss: Any = (
            MatryoshkaLoss.of(ContrastiveLoss(both_directions=True), case.widths, [0.3, 0.1, 0.05]) if case.widths else None
        )
        if case.distilled:
            terms = ContrastiveLoss(terms=("query_query", "document_query", "document_document"), hardness=2.0)
            loss = DistillationLoss(terms, case.distilled, 0.5)
        super().__init__(model, args, rows, collator, loss=loss, options=options)

    def get_train_dataloader(self) -> Any:
        batches, start = [], 0
        for split in self.case.splits:
            begin = start + sum(split[: self.share_rank])
            rows = [self.train_dataset[index] for index in range(begin, begin + split[self.share_rank])]
            batch = self.data_collator(rows)
            if self.case.alone:
                batch = replace(batch, in_batch=torch.tensor([(begin + k) % 3 > 0 for k in range(len(rows))], dtype=torch.bool))
            batches.append(batch)
            start += sum(split)
        return torch.utils.data.DataLoader(batches, batch_size=None)

    def num_examples(self, dataloader: Any) -> int:
        return sum(map(sum, self.case.splits))

    def training_step(self, model: Any, inputs: TripletBatch, num_items_in_batch: Any = None) -> torch.Tensor:
        if not self.losses and hasattr(model, "register_comm_hook"):
            model.register_comm_hook(None, self.count)
        self.reduced.append([])
        loss = super().training_step(model, inputs, num_items_in_batch)
        if len(self.losses) + 1 == self.args.gradient_accumulation_steps:
            for name, parameter in self.model.named_parameters():
                if parameter.grad is not None:
                    gradient = parameter.grad
                    self.first_gradients[name] = (
                        gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
                    ).clone()
        self.losses.append(float(loss))
        return loss

    def count(self, _, bucket):  # type: ignore[no-untyped-def]  # DDP wants its own annotations, or none
        """Reduce as DDP does by itself, and note how many parameters each reduction was for."""
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

        self.reduced[-1].append(len(bucket.parameters()))
        return allreduce_hook(None, bucket)

    def run(self) -> dict[str, Any]:
        """Train; returns gradients, weights, losses and reductions."""
        wrapper: list[str] = []
        original = self.contrastive_step.__class__.__call__

        def noting(step: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
            wrapper.append(type(model).__name__)
            return original(step, model, *args, **kwargs)

        self.contrastive_step.__class__.__call__ = noting
        try:
            self.train()
        finally:
            self.contrastive_step.__class__.__call__ = original
        weights = {name: whole(parameter.detach()) for name, parameter in self.model.named_parameters()}
        trainable = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        return {
            "gradients": self.first_gradients, "weights": weights, "losses": self.losses, "reduced": self.reduced,
            "world": self.accelerator.num_processes, "wrapper": wrapper[0], "trainable": len(trainable),
        }  # fmt: skip


def whole(tensor: Any) -> torch.Tensor:
    """Copy a tensor, gathered if it is sharded."""
    gathered: torch.Tensor = (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).clone()
    return gathered


def break_on_purpose(what: str) -> Any:
    """Make the mistakes of other code bases; returns a function that undoes it."""
    before = step_module.encode_chunk, gather_module.gather_blocks
    if what == "unwrapped model":
        step_module.encode_chunk = lambda model, batch: before[0](getattr(model, "module", model), batch)  # type: ignore[assignment]
    elif what == "local gather":  # the others' vectors without their gradient, and no factor for DDP's mean

        class Local(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, own: torch.Tensor) -> torch.Tensor:
                return own.clone()

            @staticmethod
            def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
                return gradient / 2

        gather_module.gather_blocks = lambda own, rows, rank: before[1](
            Local.apply(own) if own.requires_grad else own, rows, rank
        )

    def undo() -> None:
        step_module.encode_chunk, gather_module.gather_blocks = before

    return undo


def prepare(engine: str) -> dict[str, Any]:
    """Make accelerate honour an engine on the CPU, which it does on GPUs only; returns arguments for the trainer."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    if engine == "fsdp2":
        return {"fsdp_shim": True}
    if engine == "zero2":
        import deepspeed  # noqa: F401  # registers deepspeed.comm

        sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None  # type: ignore[attr-defined]  # compiles for minutes
        PartialState._prepare_backend = lambda self, *a, **k: ("gloo", DistributedType.MULTI_CPU)
        config = {
            "zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto",
            "gradient_clipping": "auto", "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False,
        }  # fmt: skip
        return {"use_cpu": False, "deepspeed": config}
    return {}


def shard(trainer: ShareTrainer) -> None:
    """Tell accelerate that this CPU run is FSDP2."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    for state in (AcceleratorState._shared_state, PartialState._shared_state):
        state["distributed_type"] = DistributedType.FSDP
    AcceleratorState._shared_state["fsdp_plugin"] = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False,
        state_dict_type="FULL_STATE_DICT",
    )  # fmt: skip
    trainer.is_fsdp_enabled = True


def rank_main(job: dict[str, Any], rank: int, port: int) -> None:
    world = job["world"]
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), ACCELERATE_USE_CPU=str(job["engine"] != "zero2").lower(), OMP_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip
    torch.set_num_threads(1)
    options = prepare(job["engine"])
    if "argv" in job:
        command(job["argv"], job["design"], job["engine"])
        return
    sharded = options.pop("fsdp_shim", False)
    for fields in job["cases"]:
        case = Case(**fields)
        trainer = ShareTrainer(case, job["base"], rank, **options)
        if sharded:
            shard(trainer)
            trainer.contrastive_step = replace(trainer.contrastive_step, engine=engine_again(trainer))
        undo = break_on_purpose(case.broken)
        if case.group_tokens:
            chunker = replace(trainer.contrastive_step.chunker, grouping=Grouping(case.group_tokens, overhead=128))
            trainer.contrastive_step = replace(trainer.contrastive_step, chunker=chunker)
        try:
            torch.save(trainer.run(), Path(job["out"]) / f"{case.name}-{rank}.pt")
        finally:
            undo()


def command(argv: list[str], design: str, engine: str) -> None:
    """Run the trainer's command line, with an engine that the launcher would refuse on the CPU."""
    from trainers import train
    from trainers.flags import resolve
    from trainers.run import train_run

    resolve.check_launcher = lambda *args, **kwargs: None
    if engine == "zero2":
        os.environ.update(ACCELERATE_USE_DEEPSPEED="true", ACCELERATE_DEEPSPEED_ZERO_STAGE="2")
    if engine == "fsdp2":
        build = train_run.build_trainer

        def build_sharded(config: Any) -> Any:
            trainer: Any = build(config)
            shard(trainer)
            trainer.contrastive_step = replace(trainer.contrastive_step, engine=engine_again(trainer))
            return trainer

        train_run.build_trainer = build_sharded
    status = train.main(argv, design=design)
    assert status == 0, f"exit status {status}"


def engine_again(trainer: ShareTrainer) -> Any:
    """Choose the engine anew, after the shim."""
    from trainers.step.engines import engine_of

    return engine_of(trainer.accelerator)


def run_jobs(jobs: Sequence[dict[str, Any]]) -> int:
    """Run one job after the other, its ranks side by side; returns how many failed."""
    failed = 0
    for job in jobs:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        children = []
        for rank in range(job["world"]):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    rank_main(job, rank, port)
                    status = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(status)
            children.append(child)
        for _ in children:
            _, status = os.wait()
            if status:
                failed += 1
                for child in children:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, 9)
    return failed


def job_of(world: int, engine: str, base: Path, out: Path, cases: Sequence[Case]) -> dict[str, Any]:
    """Return a job ready for JSON."""
    return {"world": world, "engine": engine, "base": str(base), "out": str(out), "cases": [asdict(case) for case in cases]}


if __name__ == "__main__":
    sys.exit(run_jobs(json.loads(Path(sys.argv[1]).read_text())))
