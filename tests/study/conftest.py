"""A study of tiny models on tiny data: as a file, as run, and as a copy of the one that was run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.study.tiny_study import Main, change, run_in_process, run_main, write_study

LEFTOVERS = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "MASTER_PORT": "1",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_MIXED_PRECISION": "fp8",
    "TORCHELASTIC_RUN_ID": "outer",
}


@pytest.fixture
def study_file(base: Path, tmp_path: Path) -> Path:
    return write_study(tmp_path, base)


@pytest.fixture(scope="session")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a study that has been run as a user does, as in a job of another launcher; look, and leave it as it is."""
    study_file = write_study(tmp_path_factory.mktemp("finished"), base)
    done = run_in_process(study_file, environment={**os.environ, **LEFTOVERS})
    assert done.returncode == 0, done.stdout + done.stderr
    (study_file.parent / "stdout.txt").write_text(done.stdout)
    return study_file


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study that a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(finished.parent, folder)
    change(folder / "study.yaml", output_dir=str(folder / "out"))
    return folder / "study.yaml"


@pytest.fixture
def main(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Main:
    """Runs ``run_study.py`` in this process, in the study's folder: imports are paid once."""

    def call(study_file: Path, *options: str) -> tuple[int, str, str]:
        monkeypatch.chdir(study_file.parent)
        return run_main(capsys, study_file, *options)

    return call
