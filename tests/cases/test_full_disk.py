"""A disk that is full inside the tokenizer's file is one error, and nothing partial is left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from common.disk import unwritable
from model_loaders.saving import save
from tests.tiny import new_model
from tests.trainers.commands import arguments
from trainers.train import main

FULL = "No space left on device (os error 28)"


def refuse(self: PreTrainedTokenizerFast, directory: str, *args: object, **kwargs: object) -> None:
    (Path(directory) / "tokenizer.json").write_text('{"half')
    raise Exception(FULL)  # as the tokenizers library does


@pytest.mark.parametrize("strategy", ["no", "steps"])
def test_one_error_and_nothing_partial(
    strategy: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", refuse)
    flags = [*arguments(base, tmp_path), "--save_strategy", strategy, "--save_steps", "2"]
    assert main(flags, design="model1") == 1
    error = capsys.readouterr().err
    assert "could not be written" in error and "No space left" in error and "Traceback" not in error
    assert "no earlier checkpoint" in error and "--resume_from_checkpoint" not in error
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.jsonl", "train_config.json"}


def test_the_error_is_known_as_a_full_disk(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model("model1", base)
    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", refuse)
    with pytest.raises(OSError, match="No space") as caught:
        save(model, tmp_path)
    assert "No space left" in unwritable(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_of_torch_that_breaks_off_is_a_full_disk(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's writer in C++ names neither the disk nor the file; the first checkpoint is whole, the second is not."""
    whole = torch.save

    def break_off(content: object, file: object, *args: object, **kwargs: object) -> None:
        if "checkpoint-4" in str(file) and str(file).endswith("optimizer.pt"):
            raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 704 vs 598")
        whole(content, file, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "save", break_off)
    flags = [*arguments(base, tmp_path), "--save_strategy", "steps", "--save_steps", "2"]
    assert main(flags, design="model1") == 1
    error = capsys.readouterr().err
    assert "the disk is full" in error and "enforce" not in error
    assert "goes on from the last one, checkpoint-2" in error
    assert not (tmp_path / "out" / "checkpoint-4").exists()
