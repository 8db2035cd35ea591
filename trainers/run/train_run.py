"""One training run from top to bottom: checks, data, model, training, the final adapter.

The scripts import this module after they have parsed their flags: it needs torch and transformers.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_callback import TrainerState

from common.errors import DivergedError, UserError
from common.files import write_json
from model_loaders.embed_model import EmbedModel
from trainers.checkpoints.load import check_fits
from trainers.checkpoints.output_dir import check_later, is_finished
from trainers.checkpoints.resuming import clear_leftovers, evaluations_of, find_checkpoint
from trainers.checkpoints.run_files import CONFIG_FILE, DIVERGED_FILE, RESULT_FILE, STATE_FILE, checkpoint_name
from trainers.checkpoints.run_lock import only_run
from trainers.checkpoints.upload import name_of, push_command, repository_of, upload
from trainers.checkpoints.write import save_final
from trainers.flags.train_config import TrainConfig
from trainers.monitor.metrics import truncation_warning
from trainers.monitor.progress import show_progress, warn
from trainers.monitor.surprises import parameters_of
from trainers.run.build import build_trainer, read_data, with_saved_budget
from trainers.run.checkpoint_callback import CheckpointCallback
from trainers.run.dry_run import dry_run
from trainers.run.stage_start import begin_on_merged, forget_run
from trainers.run.stopping import Stopped, StopRequest, stop_requests
from trainers.run.together import check_configuration, start_processes, together
from trainers.run.trainer import ContrastiveTrainer
from trainers.scoring.choice import EarlyEnd, EndedEarly, check_compared, chosen, take_best
from trainers.step.distributed import from_first


def train(config: TrainConfig) -> None:
    """Run a training from its resolved configuration to an adapter directory in ``--output_dir``, its earlier stages first.

    Raises:
        UserError: the run cannot start, go on or be written.
        Stopped: a signal asked for it; the steps so far are in a checkpoint.
    """
    stages = [*config.before, config]
    for number, stage in enumerate(stages, start=1):
        train_one(stage, stages[number:])
        if stage is not config:
            forget_run()


def train_one(config: TrainConfig, later: Sequence[TrainConfig] = ()) -> None:
    """Run one training, of one stage where there are several; the data of ``later`` ones are read before it begins."""
    with stop_requests() as stop:
        start_processes(config.training)
        with together(config.training):
            check_configuration(config)
            config = with_saved_budget(config)
            if config.run.dry_run:
                dry_run(config)
                return
            output_dir, after = Path(config.training.output_dir), [Path(stage.training.output_dir) for stage in later]
            from_first(lambda: check_later(output_dir, config.record(), after))
            begin_on_merged(config)
            with only_run(output_dir):
                if not ended_before(config, last=not later):
                    check_data_of(later)
                    _train(config, stop)


def check_data_of(stages: Sequence[TrainConfig]) -> None:
    """Read the data of stages that begin when others have ended, hours from now.

    Raises:
        UserError: they cannot be read; the message names the stage by its output directory.
    """
    for stage in stages:
        try:
            read_data(stage)
        except UserError as error:
            raise UserError(f"the stage in {stage.training.output_dir}: {error}") from error


def ended_before(config: TrainConfig, *, last: bool = True) -> bool:
    """Whether ``--resume_from_checkpoint`` finds this very run finished; prints that it does, and how to go on."""
    output_dir = Path(config.training.output_dir)
    if not config.training.resume_from_checkpoint:
        return False
    finished = from_first(lambda: is_finished(output_dir, config.record()))
    if finished and config.training.process_index == 0:
        further = "; raise --max_steps or --num_train_epochs to train it further" if last else ""
        print(f"the run in {output_dir} is finished, and its adapter is there{further}")
        if config.hub.push_to_hub:
            command = push_command(output_dir, name_of(config), config.hub)
            print(f"--push_to_hub sends an adapter when its training ends, and nothing is sent now; this sends it: {command}")
    return finished


def _train(config: TrainConfig, stop: StopRequest) -> None:
    trainer = build_trainer(config)
    output_dir = Path(config.training.output_dir)
    # Whatever may refuse comes before the first change of the output directory.
    checkpoint = checkpoint_of(trainer, config.training.resume_from_checkpoint)
    repository = from_first(lambda: repository_of(trainer.model, config))
    if trainer.task_scores is not None:
        trainer.task_scores.check_data(goes_on=checkpoint is not None)
        trainer.task_scores.stop = stop
    model: EmbedModel = trainer.model
    vectors = model.fingerprints()
    if trainer.is_world_process_zero():
        output_dir.mkdir(parents=True, exist_ok=True)
        clear_leftovers(output_dir, checkpoint)
        write_json({**config.record(), "chunk_tokens": trainer.options.chunk_tokens}, output_dir / CONFIG_FILE)
    trainer.add_callback(CheckpointCallback(stop, trainer.evaluate))
    if trainer.selection is not None:
        trainer.add_callback(EarlyEnd(trainer.selection))  # after the evaluation that a stopped run has left out
    progress = show_progress(trainer)
    try:
        steps, metrics = train_from(trainer, checkpoint)
    except DivergedError as error:
        if trainer.is_world_process_zero():
            write_json({"reason": str(error)}, output_dir / DIVERGED_FILE)
        raise
    finally:
        progress.close()  # or an error's message would stand behind the bar
    if stop.agreed:
        raise Stopped(
            stop.agreed,
            f"after step {steps}, which is saved in {output_dir / checkpoint_name(steps)}; the same command with "
            "--resume_from_checkpoint true goes on from there",
        )
    best = take_best(trainer)
    trained = model.fingerprints()
    if checkpoint is None and steps > 0 and (trained == vectors).all():
        raise UserError(
            "training changed nothing: the probe texts' vectors are those of the untrained model. Is the learning "
            "rate 0, or --max_steps within the warm-up?"
        )
    save_final(trainer, output_dir)
    largest_change = float(1.0 - (trained * vectors).sum(axis=1).min())
    summary = {"steps": steps, "largest_cosine_change_of_a_probe_text": largest_change}
    report_end(trainer, output_dir, summary | chosen(best, trainer.selection), metrics)
    if repository:
        from_first(lambda: upload(model, output_dir, repository, config.hub))


def device_name() -> str:
    """Return the name of the GPU, or of the processor."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def checkpoint_of(trainer: ContrastiveTrainer, resume: str | bool | None) -> Path | None:
    """Return the checkpoint that a run goes on from, if any; nothing in the output directory is touched if it does not fit."""
    output_dir, optimizer = Path(trainer.args.output_dir), trainer.contrastive_step.engine.optimizer_file
    checkpoint = from_first(lambda: find_checkpoint(resume, output_dir, trainer.identity, optimizer=optimizer))
    if checkpoint is not None:
        check_fits(trainer.model, checkpoint)
        check_end(trainer, checkpoint)
        earlier = evaluations_of(checkpoint)
        check_compared(trainer.selection, earlier, trainer.identity.evaluations, checkpoint)
        trainer.identity = trainer.identity.after(earlier)
    return checkpoint


def check_end(trainer: ContrastiveTrainer, checkpoint: Path) -> None:
    """Refuse to go on from a checkpoint behind the end of the run."""
    step, limit = TrainerState.load_from_json(str(checkpoint / STATE_FILE)).global_step, limit_of(trainer)
    if step > limit:
        raise UserError(
            f"{checkpoint} is at step {step}, and this run is to have {limit} (--max_steps, --num_train_epochs): nothing is "
            "taken back. Give a checkpoint of an earlier step and another --output_dir"
        )


def limit_of(trainer: ContrastiveTrainer) -> int:
    """Return the number of steps that the run is to have."""
    return int(trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[-1])


def train_from(trainer: ContrastiveTrainer, checkpoint: Path | None) -> tuple[int, dict[str, float]]:
    """Train to the end, from a checkpoint if one is given; returns the number of steps and Trainer's figures.

    A checkpoint of the last step is only loaded: Trainer would train one step more before it looks at the limit.
    """
    if checkpoint is not None:
        state, limit = TrainerState.load_from_json(str(checkpoint / STATE_FILE)), limit_of(trainer)
        if state.global_step == limit:
            trainer.state = state
            trainer._load_from_checkpoint(str(checkpoint))
            return limit, {}
    try:
        result = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except EndedEarly:
        return trainer.state.global_step, {}
    return result.global_step, result.metrics


def report_end(trainer: ContrastiveTrainer, output_dir: Path, summary: dict[str, Any], metrics: dict[str, float]) -> None:
    """Write ``train_result.json`` and print a summary.

    Args:
        trainer: of the run.
        output_dir: of the run.
        summary: steps, change of the probe texts, and the best evaluation where the weights are its.
        metrics: Trainer's figures.
    """
    truncated = trainer.metrics.truncated(trainer.accelerator)
    counts = trainer.metrics.whole(trainer.accelerator)
    if not trainer.is_world_process_zero():
        return
    facts = {"data_rows": len(trainer.train_dataset), "data_content": trainer.identity.data, "device": device_name()}
    facts |= {"processes": trainer.identity.processes, "tokens": None if counts is None else counts[0]}
    facts["trainable_parameters"] = parameters_of(trainer.model).trained
    write_json({**summary, **truncated, **facts, **metrics}, output_dir / RESULT_FILE)
    steps, change = summary["steps"], summary["largest_cosine_change_of_a_probe_text"]
    text = f"saved {trainer.model.design_name} to {output_dir} after {steps} steps"
    if "best" in summary:
        best = summary["best"]
        text += f", with the weights of step {best['step']}, the best by {best['metric']} ({best['value']:.4f})"
    text += "; "
    text += f"probe texts moved by up to {change:.3f} in cosine"
    if truncated and trainer.objective == "contrastive":
        queries, documents = truncated["truncated_queries"], truncated["truncated_documents"]
        text += f"; cut were {queries:.1%} of the queries, {documents:.1%} of the documents"
    print(text)
    if warning := truncation_warning(truncated, trainer.model.recipe):
        warn(warning)
