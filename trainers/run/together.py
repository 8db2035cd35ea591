"""The processes of a run: they join, agree on what they train, and end together where one of them is lost."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore

from common.errors import SharedError, UserError
from common.files import first_line
from common.heartbeat import Heartbeat, Store
from model_loaders.layouts.manifest import library_versions
from trainers.checkpoints.load import base_facts
from trainers.checkpoints.output_dir import without_names
from trainers.step.distributed import several

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from model_loaders.embed_model import EmbedModel
    from trainers.checkpoints.seal import RunIdentity
    from trainers.flags.train_config import TrainConfig

ADVICE = (
    "Its own last line, or the launcher's report, has the reason. Earlier checkpoints are whole: end what is left of the run, "
    "and the same command with --resume_from_checkpoint true goes on from the last one"
)
CONNECTION = re.compile("gloo|nccl|connection|broken pipe|reset by peer|timed ?out|processgroup|socket|TCPStore", re.IGNORECASE)
MOST_DIFFERENCES = 5  # in a message
LOCAL_NAMES = ("cache_dir", "local_rank", "use_cpu")  # these may differ from machine to machine


class ProcessLostError(UserError):
    """Another process is gone.

    Attributes:
        speaks: whether this process is the one that says so.
    """

    def __init__(self, message: str, *, speaks: bool) -> None:
        super().__init__(message)
        self.speaks = speaks


class Place:
    """The step that this process is at, for the others."""

    heartbeat: Heartbeat | None = None

    @classmethod
    def at_step(cls, step: int) -> None:
        """Note the step."""
        if cls.heartbeat is not None:
            cls.heartbeat.place = f"step {step}"


def start_processes(training: TrainingArguments) -> int:
    """Join the run's other processes, and return their number: TrainingArguments start the group when they are asked for it.

    Raises:
        UserError: they do not come within ``--ddp_timeout``.
    """
    environment = os.environ
    on_cpu = training.use_cpu or environment.get("ACCELERATE_USE_CPU", "false").lower() in ("true", "1")
    several_here = int(environment.get("WORLD_SIZE") or 1) > 1 and "LOCAL_RANK" in environment
    try:
        if on_cpu and several_here and training.ddp_backend in (None, "gloo") and not dist.is_initialized():
            # TrainingArguments pass their timeout on to GPUs' groups only.
            dist.init_process_group("gloo", timeout=timedelta(seconds=training.ddp_timeout))
        return int(training.world_size)
    except (RuntimeError, ValueError) as error:  # torch.distributed's errors are RuntimeErrors
        if int(os.environ.get("WORLD_SIZE") or 1) == 1:
            raise
        raise UserError(
            f"the {os.environ['WORLD_SIZE']} processes of this run did not find each other within --ddp_timeout "
            f"{training.ddp_timeout} s ({first_line(error)}): start all of them, with the same MASTER_ADDR and MASTER_PORT"
        ) from error


@contextmanager
def together(training: TrainingArguments) -> Iterator[None]:
    """Watch the run's other processes inside the block.

    Raises:
        ProcessLostError: one is gone. One that is frozen ends this process within ``--ddp_timeout``.
    """
    if not several():
        yield
        return
    rank, size = dist.get_rank(), dist.get_world_size()
    Place.heartbeat = beat = Heartbeat(connect, rank, size, patience=training.ddp_timeout, advice=ADVICE)
    try:
        yield
    except RuntimeError as error:  # gloo's and NCCL's, when a connection is closed or silent
        if isinstance(error, torch.OutOfMemoryError) or not CONNECTION.search(str(error)):
            raise
        lost = beat.lost_now()
        if rank == 0:
            beat.survive()
        raise ProcessLostError(beat.message(lost), speaks=beat.speaks(lost)) from error
    finally:
        Place.heartbeat = None
        beat.leave()


def connect() -> Store:
    """Return a connection of its own to the store that the processes have met at."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(host, port, is_master=False, timeout=timedelta(seconds=10), wait_for_workers=False)


def check_configuration(config: TrainConfig) -> None:
    """Refuse processes whose flags or library versions differ.

    Raises:
        SharedError: naming the process, the flag and both values.
    """
    if not several():
        return
    facts = {name: value for name, value in without_names(config.record()).items() if name not in LOCAL_NAMES}
    facts["resume_from_checkpoint"] = bool(config.training.resume_from_checkpoint)
    facts["dry_run"] = config.run.dry_run
    named = {f"--{name}": value for name, value in facts.items()}
    versions = {f"the version of {name}": version for name, version in library_versions().items()}
    check_agreement({**named, **versions})


def check_content(identity: RunIdentity, evaluation: str | None, model: EmbedModel) -> None:
    """Refuse processes whose data or base models differ, whatever their files are called.

    Args:
        identity: of the run, as this process sees it.
        evaluation: hash of the evaluation data, None without any.
        model: of this process.

    Raises:
        SharedError: naming the process, the fact and both values.
    """
    check_agreement(
        {
            "the training data (hash of the content)": identity.data,
            "the evaluation data (hash of the content)": evaluation,
            "the base model (type, hash of the weights, quantisation)": base_facts(model.base_model),
            "the adapter to start from (hash of the weights)": identity.start,
            "the base model's dtype": identity.dtype,
        }
    )


def check_agreement(facts: Mapping[str, Any]) -> None:
    """Compare facts of all processes with those of the first one; called on every process.

    Raises:
        SharedError: on all of them, naming who differs in what.
    """
    if not several():
        return
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, dict(facts))
    differences = []
    for rank, others in enumerate(gathered):
        for name in dict.fromkeys([*gathered[0], *others]):
            first, other = gathered[0].get(name), others.get(name)
            if repr(first) != repr(other):
                differences.append(f"{name} is {first!r} on process 0 and {other!r} on process {rank}")
    if differences:
        more = len(differences) - MOST_DIFFERENCES
        listed = "; ".join(differences[:MOST_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        raise SharedError(
            f"the processes of this run would not train the same: {listed}. Start all of them with the same command, data, "
            "base model and versions"
        )
