"""Tasks that are scored while a run trains: the scores of its checkpoints, and a training that does not notice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.warm import Warm
from tests.evaluation.conftest import make_tasks
from tests.trainers.checkpoints.tools import metrics, weights
from tests.trainers.conftest import Command
from trainers.checkpoints.run_files import checkpoints
from trainers.train import main

pytestmark = pytest.mark.slow
TASKS = ("TinyPair", "TinyRetrieval")
Scored = Callable[..., list[str]]


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of tasks whose texts are words of the tiny base LLMs."""
    return make_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="session")
def scored(command: Command, tasks: Path) -> Scored:
    """Makes a command that scores two tasks each second step, with dropout and chunks."""

    def make(output: Path, names: tuple[str, ...] = TASKS, **flags: Any) -> list[str]:
        evaluated = {"eval_steps": 2, "save_steps": 2, "max_steps": 6, "chunk_tokens": 24, "load_best_model_at_end": "true"}
        return [*command(output, **(evaluated | flags)), "--eval_tasks", *(str(tasks / name) for name in names)]

    return make


@pytest.fixture(scope="session")
def whole(scored: Scored, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run; not to be changed."""
    output = tmp_path_factory.mktemp("whole") / "run"
    assert main(scored(output), design="model5") == 0
    return output


def evaluations(output: Path) -> list[dict[str, Any]]:
    """The lines of evaluations, without what depends on the clock."""
    lines = []
    for line in metrics(output):
        if "eval_mean" in line:
            lines.append({name: value for name, value in line.items() if name != "eval_seconds"})
    return lines


def scores_by_script(adapter: Path, tasks: Path, output: Path) -> dict[str, float]:
    """The main scores that `run_mteb.py` writes."""
    from evaluation.cli import main as evaluate
    from model_loaders import load

    argv = ["--adapter_path", str(adapter), "--output_dir", str(output), "--data_dir", str(tasks), "--tasks", *TASKS]
    assert evaluate("", loader=load, paper_tasks=(), arguments=[*argv, "--device", "cpu"]) == 0
    scores = {}
    for name in TASKS:
        (path,) = output.glob(f"results/*/*/{name}.json")
        (entries,) = json.loads(path.read_text())["scores"].values()
        scores[name] = entries[0]["main_score"]
    return scores


def test_the_scores_are_those_of_the_checkpoints(
    whole: Path, tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = evaluations(whole)
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert len({line["eval_mean"] for line in lines}) > 1
    for line in lines:
        step = line["step"]
        scores = scores_by_script(whole / f"checkpoint-{step}", tasks, tmp_path / str(step))
        for name in TASKS:
            assert line[f"eval_{name}"] == pytest.approx(scores[name], abs=1e-6)
        assert line["eval_mean"] == pytest.approx(sum(scores.values()) / 2, abs=1e-6)
        capsys.readouterr()
        scores_by_script(whole / f"checkpoint-{step}", tasks, whole / "eval_tasks" / f"step-{step}")
        assert capsys.readouterr().err.count("already there") == 2  # the results are complete ones
    best = max(lines, key=lambda line: (line["eval_mean"], -line["step"]))
    assert json.loads((whole / "train_result.json").read_text())["best"]["step"] == best["step"]
    assert weights(whole) == weights(whole / f"checkpoint-{best['step']}")
    assert (whole / "training_curve.svg").read_text().count("<svg") == 1


def test_training_does_not_notice(whole: Path, command: Command, tmp_path: Path) -> None:
    plain = {"save_steps": 2, "max_steps": 6, "chunk_tokens": 24}
    assert main(command(tmp_path / "run", **plain), design="model5") == 0
    for saved in checkpoints(whole):
        assert weights(saved) == weights(tmp_path / "run" / saved.name)
    assert [line["loss"] for line in metrics(whole) if "loss" in line] == [
        line["loss"] for line in metrics(tmp_path / "run") if "loss" in line
    ]


def test_a_kill_between_evaluations(whole: Path, scored: Scored, warm: Warm, tmp_path: Path) -> None:
    """`kill -9` after the checkpoint of step 4, before the evaluation of step 6."""
    output, log = tmp_path / "run", tmp_path / "log"
    argv = scored(output, save_total_limit=1)
    pid = warm.start(argv, log, design="model5")
    wait_for(lambda: (output / "checkpoint-4").is_dir(), log)
    os.kill(pid, signal.SIGKILL)
    assert warm.wait(pid) == -signal.SIGKILL
    assert evaluations(output)[-1]["step"] == 4
    assert warm.wait(warm.start(argv, log, design="model5")) == 0, log.read_text()[-3000:]
    assert evaluations(output) == evaluations(whole) and weights(output) == weights(whole)
    results = [json.loads((run / "train_result.json").read_text())["best"] for run in (output, whole)]
    assert results[0] == results[1]


def wait_for(condition: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.001)


def test_told_to_stop_while_tasks_are_scored(
    whole: Path, scored: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is saved without its evaluation, which is made up for when the run goes on."""
    from model_loaders.embed_model import EmbedModel

    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        encode = EmbedModel.encode_counted

        def told(self: EmbedModel, *args: Any, **kwargs: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return encode(self, *args, **kwargs)

        patch.setattr(EmbedModel, "encode_counted", told)
        assert main(scored(output), design="model5") == 143
    assert [path.name for path in checkpoints(output)] == ["checkpoint-2"] and evaluations(output) == []
    assert main(scored(output), design="model5") == 0
    assert evaluations(output) == evaluations(whole) and weights(output) == weights(whole)


def test_two_processes(scored: Scored, warm: Warm, tmp_path: Path) -> None:
    """Each task is scored once, and both processes stop at the same step, with the best checkpoint."""
    output, log = tmp_path / "run", tmp_path / "log"
    argv = scored(
        output, learning_rate=1e-9, early_stopping_patience=1, early_stopping_threshold=0.5, eval_steps=1, save_steps=1
    )
    for pid in warm.start_two(argv, log, design="model5"):
        assert warm.wait(pid) == 0, log.with_suffix(".0").read_text()[-3000:] + log.with_suffix(".1").read_text()[-3000:]
    assert [line["step"] for line in evaluations(output)] == [1, 2]
    assert log.with_suffix(".0").read_text().count("the run ends after step 2") == 1
    assert "the run ends" not in log.with_suffix(".1").read_text()
    records = [json.loads(path.read_text()) for path in sorted(output.glob("eval_tasks/step-*/results/*/*/recipes/*.json"))]
    assert len(records) == 4 and {record["task"] for record in records} == set(TASKS)
    alone = tmp_path / "alone"
    names = scored(alone, learning_rate=1e-9, eval_steps=1, save_steps=1, max_steps=1)
    assert main(names, design="model5") == 0
    first = evaluations(output)[0]
    for name in TASKS:  # after a step of nearly nothing the models are the same
        assert first[f"eval_{name}"] == pytest.approx(evaluations(alone)[0][f"eval_{name}"], abs=1e-3)


def test_another_process_dies_while_tasks_are_scored(scored: Scored, warm: Warm, tmp_path: Path) -> None:
    output, log = tmp_path / "run", tmp_path / "log"
    names = ("TinyPair", "TinyRetrieval", "TinyClassification", "TinyClustering", "TinyReranking")
    pids = warm.start_two(scored(output, names, ddp_timeout=20), log, design="model5")
    wait_for(lambda: (output / "eval_tasks" / "step-2" / "results").is_dir(), log.with_suffix(".0"))
    os.kill(pids[1], signal.SIGKILL)
    assert warm.wait(pids[1]) == -signal.SIGKILL
    assert warm.wait(pids[0]) == 1
    told = log.with_suffix(".0").read_text()
    assert told.count("error:") == 1 and "Traceback" not in told and "process 1" in told


def test_what_cannot_be_scored(scored: Scored, tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is known before the first step."""
    broken = tmp_path / "Broken"
    broken.mkdir()
    (broken / "test.jsonl").write_text('{"sentence1": "word1"}\n')
    mean = tmp_path / "mean"
    shutil.copytree(tasks / "TinyPair", mean)
    cases = {
        str(broken): "--eval_tasks Broken",
        "NoSuchTask": "--eval_tasks NoSuchTask: unknown task 'NoSuchTask'",
        str(mean): "a task cannot be named 'mean'",
    }
    for entry, words in cases.items():
        assert main([*scored(tmp_path / "run", ()), entry], design="model5") == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_data_that_changed(scored: Scored, tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their scores cannot be compared with the earlier ones."""
    own = shutil.copytree(tasks / "TinyClassification", tmp_path / "TinyClassification")
    run = partial(main, design="model5")
    make = partial(scored, tmp_path / "run", ())
    assert run([*make(max_steps=2), str(own)]) == 0
    with (own / "test.jsonl").open("a") as file:
        file.write('{"text": "word1", "label": "bread"}\n')
    assert run([*make(max_steps=4), str(own)]) == 1
    assert "the data of the task TinyClassification are not those that this run was scored on" in capsys.readouterr().err


def test_dry_run_says_what_evaluations_cost(scored: Scored, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*scored(tmp_path / "run"), "--dry_run"], design="model5") == 0
    assert "2 tasks scored in " in (told := capsys.readouterr().out) and "3 times in this run" in told
    assert not (tmp_path / "run").exists()


def test_masked_training(base: Path, scored: Scored, tmp_path: Path) -> None:
    """Its model encodes as any other."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"text": f"word{number} word{number + 1} word{number + 2}"}) + "\n" for number in range(40))
    )
    flags = {"dataset_name": rows, "objective": "mntp", "max_seq_length": 8, "pooling_latents": None, "pooling_heads": None}
    argv = scored(tmp_path / "run", pooling_head_dim=None, mask_token="word49", chunk_tokens=None, **flags)
    assert main(argv, design="bidirectional_mean") == 0
    assert len(evaluations(tmp_path / "run")) == 3
