from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.errors import UserError
from evaluation.cli import main
from model_loaders import load
from tests.evaluation.conftest import BagOfWords
from tests.tiny import ROOT, new_model

SCRIPTS = ["run_mteb.py", "run_mteb_retrieval.py"]


def script(name: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = name if Path(name).is_absolute() else ROOT / name
    return subprocess.run([sys.executable, path, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=300)


class Loader:
    """Gives a stub model; keeps how it was called."""

    def __init__(self) -> None:
        self.calls: list[dict] = []

    def __call__(self, **options):
        self.calls.append(options)
        if options["adapter_path"] == "missing":
            raise UserError("there is no adapter directory missing")
        model = BagOfWords()
        model.design_name, model.version = "bow", "1"
        return model


def call(*arguments, loader=None, types=None, **defaults) -> int:
    return main(
        "Doc.",
        loader=loader or Loader(),
        paper_tasks=["SciFact"],
        types=types,
        defaults=defaults,
        arguments=[*map(str, arguments)],
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_quick(name, tmp_path):
    script(name, "--help")  # fills the file cache
    begin = time.monotonic()
    done = script(name, "--help", cwd=tmp_path)
    assert done.returncode == 0 and "--adapter_path" in done.stdout
    assert time.monotonic() - begin < 2


def test_help_needs_no_heavy_import():
    heavy = ("torch", "mteb", "transformers", "datasets")
    code = f"import sys, run_mteb, evaluation.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_wrong_usage_of_a_real_script():
    done = script("run_mteb.py", "--adaptr_path", "x")
    assert done.returncode == 2
    assert "did you mean '--adapter_path'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--batch-size", "4", "--adapter_path", "x"], "did you mean '--batch_size'"),
        (["--adapt", "x"], "unknown argument '--adapt'"),  # no abbreviations
        ([], "--adapter_path"),
        (["--adapter_path", "x", "--batch_size", "0"], "no whole number above 0"),
        (["--adapter_path", "x", "--loader", "modle3"], "did you mean 'model3'"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        call(*arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--data_dir", "none"], "data folder none does not exist"),
        (["--tasks", "SciFacts"], "did you mean 'SciFact'"),
        (["--output_dir", "{file}/out"], "give another --output_dir"),
        (["--adapter_path", "missing", "--tasks", "SciFact"], "no adapter directory missing"),
        (["--tasks", "SciFact", "--prompts", "none.yaml"], "none.yaml cannot be read"),
    ],
)
def test_expected_mistakes_are_one_error(arguments, message, tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    loader = Loader()
    with pytest.raises(SystemExit) as stop:
        call("--adapter_path", "a", "--output_dir", tmp_path / "out", *[a.format(file=file) for a in arguments], loader=loader)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not loader.calls or loader.calls[0]["adapter_path"] == "missing"  # known before a model is loaded


def test_scores_and_table(tmp_path, data_dir, capsys):
    loader = Loader()
    options = [
        "--data_dir",
        data_dir,
        "--output_dir",
        tmp_path / "out",
        "--dtype",
        "float32",
        "--num_heads",
        4,
        "--cache_dir",
        "c",
    ]
    assert call("--adapter_path", "a", "--base_model", "b", *options, "--tasks", "TinySTS", "TinyPair", loader=loader) == 0
    out, err = capsys.readouterr()
    assert re.search(r"TinyPair +1.0000  max_ap", out)
    assert "[1/2] TinySTS" in err and "left" in err
    assert loader.calls == [{"base_model": "b", "adapter_path": "a", "dtype": "float32", "num_heads": 4, "cache_dir": "c"}]


def test_constants_are_defaults_that_flags_override(tmp_path, data_dir, capsys):
    constants = {"adapter_path": "a", "data_dir": str(data_dir), "tasks": ["TinyPair"], "output_dir": str(tmp_path / "out")}
    assert call(**constants) == 0
    assert "TinyPair" in capsys.readouterr().out
    assert call("--tasks", "TinySTS", **constants) == 0
    out = capsys.readouterr().out
    assert "TinySTS" in out and "TinyPair" not in out


def test_only_retrieval(tmp_path, data_dir, capsys):
    assert call("--adapter_path", "a", "--data_dir", data_dir, "--output_dir", tmp_path / "out", types=["Retrieval"]) == 0
    out = capsys.readouterr().out
    assert "TinyRetrieval" in out and "TinySTS" not in out


def test_a_failed_task_shows_in_the_exit_code(tmp_path, data_dir, capsys):
    (data_dir / "TinySTS/test.jsonl").write_text("{\n")
    assert call("--adapter_path", "a", "--data_dir", data_dir, "--output_dir", tmp_path / "out") == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "1 of 7 tasks failed:" in out and "test.jsonl:1: JSON lines are expected" in out and "TinyPair" in out


def test_the_keyboard_stops_it_politely(tmp_path, data_dir, capsys):
    def stop(**_):
        raise KeyboardInterrupt

    assert call("--adapter_path", "a", "--data_dir", data_dir, "--output_dir", tmp_path / "out", loader=stop) == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    """An adapter of our layout, of design 3."""
    from model_loaders.saving import save

    directory = tmp_path_factory.mktemp("adapter") / "model3"
    save(new_model("model3", base), directory)
    return directory


EDITS = """
from model_loaders import load as EmbedModel -> from model_loaders.model3 import EmbedModel
BASE_MODEL = None -> BASE_MODEL = {base!r}
ADAPTER_PATH = None -> ADAPTER_PATH = {adapter!r}
OUTPUT_DIR = "runs/mteb" -> OUTPUT_DIR = {out!r}
TASKS = None -> TASKS = ['TinySTS', 'TinyRetrieval']
DATA_DIR = None -> DATA_DIR = {data!r}
"""


def edited_script(folder: Path, **places: Path) -> Path:
    """Write a copy of run_mteb.py with other constants, which prints at the end what heavy modules it has loaded."""
    text = (ROOT / "run_mteb.py").read_text().replace("from __future__ import annotations\n", "")
    for line in EDITS.format(**{name: str(place) for name, place in places.items()}).strip().splitlines():
        old, new = line.split(" -> ")
        assert old in text
        text = text.replace(old, new)
    end = (
        "import atexit, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "heavy = ('peft', 'transformers.modeling_utils', 'torch._dynamo')\n"
        "atexit.register(lambda: print([name for name in heavy if name in sys.modules]))\n"
    )
    path = folder / "edited.py"
    path.write_text(end + text)
    return path


def test_an_edited_script_takes_the_results_without_the_model(adapter, base, data_dir, tmp_path, capsys):
    """By flags first, in this process; then an edited copy elsewhere shows the same results, and loads no model."""
    out = tmp_path / "out"
    flags = ["--adapter_path", adapter, "--data_dir", data_dir, "--output_dir", out, "--device", "cpu"]
    assert call(*flags, "--tasks", "TinySTS", "TinyRetrieval", loader=load) == 0
    scores = re.findall(r"\d\.\d{4}", capsys.readouterr().out)
    path = edited_script(tmp_path, base=base, adapter=adapter, out=out, data=data_dir)
    done = script(str(path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"\d\.\d{4}", done.stdout) == scores and len(scores) >= 2
    assert done.stdout.count("already there") == 2 and done.stdout.splitlines()[-1] == "[]", done.stderr


def test_an_adapter_that_does_not_load_is_one_error(adapter, data_dir, tmp_path, capsys):
    flags = ["--data_dir", data_dir, "--output_dir", tmp_path / "out", "--device", "cpu"]
    for arguments, message in (
        (["--loader", "model1", "--adapter_path", adapter], "model3"),
        (["--adapter_path", tmp_path / "gone"], "there is no adapter directory"),
    ):
        with pytest.raises(SystemExit) as stop:
            call(*arguments, *flags, loader=load)
        assert stop.value.code == 2 and message in capsys.readouterr().err


def test_the_manifests_prompt_is_recorded(adapter, data_dir, tmp_path):
    import json

    from evaluation.evaluate import evaluate
    from evaluation.tasks.find import find_tasks

    result = evaluate(load(adapter, device="cpu"), find_tasks(["TinySTS"], data_dir), tmp_path / "out")
    recipe = json.loads((result.folder / "recipes/TinySTS.json").read_text())
    assert recipe["encoder"]["design_name"] == "model3" and recipe["encoder"]["recipe"]["max_length"] == 512
    side = recipe["sides"]["text"]
    assert side["prompt"] == "" and side["role"] == "query" and side["first_text"]


def test_batches_and_the_cache_of_vectors_are_as_asked(tmp_path, data_dir, base, monkeypatch):
    from model_loaders.embed_model import EmbedModel

    asked = []

    def spy(self, texts, role="document", **options):
        asked.append((options["batch_tokens"], options["batch_size"]))
        return encode(self, texts, role, **options)

    encode = EmbedModel.encode_counted
    monkeypatch.setattr(EmbedModel, "encode_counted", spy)
    flags = ["--adapter_path", "a", "--data_dir", data_dir, "--tasks", "TinyPair", "--output_dir", tmp_path / "out"]
    cache = ["--embedding_cache", tmp_path / "cache"]
    assert call(*flags, *cache, "--batch_tokens", 99, "--batch_size", 3, loader=lambda **_: new_model("model1", base)) == 0
    assert set(asked) == {(99, 3)} and list((tmp_path / "cache").rglob("*.npz"))


def test_a_base_llm_is_scored_with_a_recipe(base, data_dir, tmp_path, capsys):
    output = tmp_path / "out"
    words = ["--recipe", "prompteol", "--base_model", base, "--data_dir", data_dir, "--output_dir", output, "--device", "cpu"]
    assert call(*words, "--tasks", "TinySTS") == 0, capsys.readouterr().err
    (record,) = output.rglob("recipes/TinySTS.json")
    content = json.loads(record.read_text())
    assert content["model"].endswith("prompteol") and content["origin"]["recipe"] == "prompteol"
    assert content["encoder"]["recipe"]["end_token"] == "none"
    assert call("--rerun", record) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "prompteol"], "--base_model"),
        (["--recipe", "prompteoll", "--base_model", "x"], "did you mean 'prompteol'"),
        (["--recipe", "echo", "--base_model", "x", "--adapter_path", "y"], "--adapter_path goes with an adapter"),
    ],
)
def test_a_recipe_goes_with_a_base_llm(words, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        call(*words, "--output_dir", tmp_path / "out", "--tasks", "SciFact")
    assert message in capsys.readouterr().err
