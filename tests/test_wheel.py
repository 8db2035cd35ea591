"""What ``pip install git+…`` gives: the whole project, by its command, from any directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.tiny import ROOT

FOLDERS = ("common", "pooling", "model_loaders", "triplets", "trainers", "evaluation", "comparison", "study", "quickstart")
SCRIPTS = ("pooling_attention.py", "run_mteb.py", "run_mteb_retrieval.py", "run_study.py")
NO_PART = ("__pycache__", ".egg-info", ".pyc", ".part")


def tracked() -> list[str]:
    """Every file of the project, by its path from the root; without git, those in the rooms' folders."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode == 0 and listing.stdout:
        return [name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
    pytest.skip("the project's files are known where it is a clone")


def part_of_the_wheel(name: str) -> bool:
    return name in SCRIPTS or name.split("/")[0] in (*FOLDERS, "configs")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel and a source distribution of a copy of the tree, and a folder in which the wheel is installed."""
    pytest.importorskip("setuptools")
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    out = folder / "dist"
    out.mkdir()
    make = "import setuptools.build_meta as b, sys; print(getattr(b, sys.argv[1])(sys.argv[2]))"
    for what in ("build_wheel", "build_sdist"):
        done = subprocess.run(
            [sys.executable, "-c", make, what, str(out)], cwd=tree, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-2000:]
    wheel, sdist = next(out.glob("*.whl")), next(out.glob("*.tar.gz"))
    target = folder / "installed"
    words = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(target)]
    done = subprocess.run([sys.executable, *words, str(wheel)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return {"wheel": wheel, "sdist": sdist, "installed": target}


@pytest.mark.slow
def test_a_wheel_has_what_a_clone_runs(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = set(wheel.namelist())
        entries = next(name for name in names if name.endswith("entry_points.txt"))
        assert "pooling-attention = pooling_attention:main" in wheel.read(entries).decode()
        wanted = {name for name in tracked() if part_of_the_wheel(name)}
        assert len(wanted) > 250
        assert not wanted - names, "these files are missing in the wheel"
        surplus = {name for name in names - wanted if ".dist-info/" not in name}
        assert not surplus, "these files are nobody's"
        for name in wanted:
            assert wheel.read(name) == (ROOT / name).read_bytes(), name


@pytest.mark.slow
def test_a_source_distribution_is_the_tree(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert not set(tracked()) - names, "these files are missing in the source distribution"


def installed(built: dict[str, Path], words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a directory elsewhere, with the installed wheel and without the clone."""
    environment = {**os.environ, "PYTHONPATH": str(built["installed"]), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["train", "encode", "evaluate", "compare", "study", "export", "push", "prefetch", "convert"]
)
def test_each_command_has_help(built: dict[str, Path], command: str, tmp_path: Path) -> None:
    done = installed(built, ["-m", "pooling_attention", command, "--help"], tmp_path)
    assert done.returncode == 0 and "--" in done.stdout, done.stderr[-2000:]


@pytest.mark.slow
def test_a_study_runs_from_the_wheel(built: dict[str, Path], tmp_path: Path) -> None:
    """Training, evaluation, comparison and the report, with base LLM, corpus, templates and launcher files of the wheel."""
    small = (ROOT / "configs" / "quickstart.yaml").read_text()
    small = small.replace("[model1, model2, model3, model4, model5]", "[model1, model4]").replace(
        "max_steps: 50", "max_steps: 2"
    )
    small = small.replace("warmup_steps: 5", "warmup_steps: 0").replace(", tfidf, static_bag", "")
    (tmp_path / "small.yaml").write_text(small.replace("per_device_train_batch_size: 64", "per_device_train_batch_size: 8"))
    done = installed(built, ["-m", "pooling_attention", "study", "small.yaml"], tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    study = tmp_path / "runs" / "quickstart"
    assert "model4" in (study / "report" / "report.html").read_text()
    adapter = next((study / "cells").glob("model1-*")) / "adapter"
    (tmp_path / "texts.txt").write_text("a first text\na second one\n")
    done = installed(built, ["-m", "pooling_attention", "encode", str(adapter), "texts.txt", "vectors.npy"], tmp_path)
    assert done.returncode == 0 and "2 vectors" in done.stdout, done.stderr[-2000:]
    words = ["compare", str(study), "--output_dir", "compared", "--families", "comparison/families_strict.yaml"]
    done = installed(built, ["-m", "pooling_attention", *words], tmp_path)
    assert done.returncode == 0 and (tmp_path / "compared" / "report.html").is_file(), done.stderr[-2000:]
