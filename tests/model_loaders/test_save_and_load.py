"""What is saved comes back bit for bit in a new process, without network, from our layout and from the published one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model_loaders import UserError, load, load_design
from model_loaders.convert import main as convert
from model_loaders.layouts.published import NAMES
from model_loaders.saving import save
from model_loaders.text.recipe import Recipe
from tests.tiny import ROOT, new_model, trained_parameters

TEXTS = ["", "word1 word2", "</s> <pad> word3", " ".join(f"word{number}" for number in range(50))]

# Runs elsewhere than in the repository; any connection is an error, and the hub is not declared offline.
IN_A_NEW_PROCESS = """
import socket, sys
from pathlib import Path
def refuse(self, address):
    raise AssertionError(f"connects to {address}")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = lambda *args, **options: refuse(None, args)
import numpy as np, torch
from safetensors.torch import save_file
torch.set_num_threads(1)
from model_loaders import load
from model_loaders.saving import save
from tests.tiny import trained_parameters
texts, *folders = TEXTS, *map(Path, sys.argv[1:])
for folder in folders:
    model = load(folder, device="cpu")
    np.save(folder.with_suffix(".npy"), model.encode(texts, "query"))
    save_file({n: t.detach().contiguous() for n, t in trained_parameters(model).items()}, folder.with_suffix(".tensors"))
    save(model, folder.with_suffix(".again"))
print("done")
"""


def run_elsewhere(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    variables = {**kept, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false", **environment}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, cwd="/", env=variables, capture_output=True, text=True, timeout=300)


def test_a_new_process_without_network_gives_the_same_tensors_and_vectors(base: Path, tmp_path: Path) -> None:
    recipe = Recipe(query_prompt="find {text}: ", document_prompt="d ", max_length=20, query_max_length=12)
    models = {design: new_model(design, base, recipe=recipe).eval() for design in ("model1", "model3", "model4", "model5")}
    models["no_lora"] = new_model("bidirectional_mean", base, lora=None)
    for name, model in models.items():
        save(model, tmp_path / name)
    done = run_elsewhere(IN_A_NEW_PROCESS.replace("TEXTS", repr(TEXTS)), *(tmp_path / name for name in models))
    assert done.stdout == "done\n", done.stderr[-2000:]
    for name, model in models.items():
        folder = tmp_path / name
        np.testing.assert_array_equal(np.load(folder.with_suffix(".npy")), model.encode(TEXTS, "query"), err_msg=name)
        tensors = {key: tensor.detach().contiguous() for key, tensor in trained_parameters(model).items()}
        save_file(tensors, tmp_path / "expected")
        assert folder.with_suffix(".tensors").read_bytes() == (tmp_path / "expected").read_bytes(), name
        files = sorted(path.name for path in folder.iterdir())
        assert files == sorted(path.name for path in folder.with_suffix(".again").iterdir())
        for file in set(files) - {"tokenizer_config.json"}:  # saved again, byte for byte; that one says "is_local"
            assert (folder / file).read_bytes() == (folder.with_suffix(".again") / file).read_bytes(), (name, file)
        assert not any(file.endswith((".pt", ".bin", ".pkl", ".py")) for file in files)


def test_the_manifest_says_what_it_is(base: Path, tmp_path: Path) -> None:
    model = new_model("model5", base, recipe=Recipe(query_prompt="q ", unpooled_token_ids=(0,)))
    save(model, tmp_path)
    content = json.loads((tmp_path / "embedder.json").read_text())
    assert content["design"] == "model5"
    assert content["base_model"]["name_or_path"] == str(base.resolve())
    assert len(content["base_model"]["weights"]) == 64
    assert content["pooling"]["layers"] == 3
    assert set(content["versions"]) == {"torch", "transformers", "peft", "tokenizers"}
    np.testing.assert_allclose(np.linalg.norm(content["fingerprints"], axis=1), 1, atol=1e-5)
    loaded = load(tmp_path, device="cpu")
    assert loaded.recipe == model.recipe
    assert loaded.version == model.version
    assert load(tmp_path, dtype="bfloat16", device="cpu").version != model.version


def test_other_versions_are_no_error_but_are_named_when_the_vectors_differ(base: Path, tmp_path: Path) -> None:
    save(new_model("model1", base), tmp_path)
    path = tmp_path / "embedder.json"
    content = json.loads(path.read_text())
    content["versions"]["peft"] = "0.0.1"
    path.write_text(json.dumps(content))
    load(tmp_path, device="cpu")
    content["fingerprints"][0] = [-value for value in content["fingerprints"][0]]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"cosine -1.0000 on the .*peft 0.0.1 -> "):
        load(tmp_path, device="cpu")


def test_an_interrupted_save_leaves_no_manifest(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with a manifest is whole: the old manifest goes before the first new file comes."""
    model = new_model("model1", base)
    save(model, tmp_path)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(model, tmp_path)
    with pytest.raises(UserError):
        load(tmp_path, device="cpu")


def test_an_adapter_that_is_not_finite_is_not_saved(base: Path, tmp_path: Path) -> None:
    model = new_model("model3", base)
    model.pooling.latents.data[0, 0] = float("nan")
    with pytest.raises(UserError, match="NaN or infinite"):
        save(model, tmp_path)
    assert not (tmp_path / "embedder.json").exists()


def test_initial_weights_come_from_the_seed_alone(base: Path) -> None:
    torch.manual_seed(1)
    first = new_model("model3", base, seed=7)
    state = torch.random.get_rng_state()
    second = new_model("model3", base, seed=7)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.version == second.version != new_model("model3", base, seed=8).version


def published_copy(parity: Path, directory: Path, *, design: str, beside: bool) -> Path:
    adapter = Path(shutil.copytree(parity / "adapters" / design, directory / "run"))
    if beside:
        (adapter / "attn_pool.pt").rename(directory / "runattn_pool.pt")
    return adapter


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("design", ["model1", "model3", "model4", "model5"])
def test_convert_makes_our_layout_of_a_published_run(parity: Path, tmp_path: Path, design: str, beside: bool) -> None:
    adapter = published_copy(parity, tmp_path, design=design, beside=beside and design != "model1")
    out = tmp_path / "out"
    base = str(parity / "base")
    assert convert([str(adapter), str(out), "--design", design, "--base_model", base, "--num_heads", "4"]) == 0
    vectors = load(out, device="cpu").encode(TEXTS)
    expected = load_design(design, base, adapter, num_heads=4, device="cpu").encode(TEXTS)
    np.testing.assert_array_equal(vectors, expected)
    assert not (out / "attn_pool.pt").exists()


def test_convert_overwrites_nothing(parity: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kept").write_text("mine")
    arguments = ["--design", "model3", "--base_model", str(parity / "base"), "--num_heads", "4"]
    for output in (tmp_path, tmp_path / "kept"):
        assert convert([str(parity / "adapters/model3"), str(output), *arguments]) == 1
        assert "exists and is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_text() == "mine"


def test_published_adapters_of_another_kind(parity: Path, tmp_path: Path) -> None:
    base, adapters = parity / "base", parity / "adapters"
    for design, adapter, options, message in (
        ("model3", "model3", {"num_heads": 5}, "does not divide into 5 heads; say how many"),
        ("model3", "model3", {"num_heads": 0}, "0 heads"),
        ("model3", "model2", {"num_heads": 4}, "It is a Last-Layer Trainable Pooling"),
        ("model2", "model5", {"num_heads": 4}, "It is a Multi-Layers Trainable Pooling"),
        ("model1", "model3", {}, "holds a trainable pooling"),
        ("model3", "model1", {}, "has no attn_pool.pt .nor is there model1attn_pool.pt beside it"),
    ):
        with pytest.raises(UserError, match=message):
            load_design(design, base, adapters / adapter, device="cpu", **options)
    with pytest.raises(UserError, match="does not name its base model: give base_model"):
        load_design("model3", None, adapters / "model3", num_heads=4, device="cpu")
    with pytest.raises(UserError, match="does not say its design"):
        load(adapters / "model3", base, device="cpu")


def test_the_published_number_of_heads_is_the_default_and_must_divide(base: Path, tmp_path: Path) -> None:
    model = new_model("model3", base)  # two heads of four: no 32 of anything
    save(model, tmp_path)
    ours = {name: tensor.clone() for name, tensor in model.pooling.state_dict().items()}
    torch.save({published: ours[name] for published, name in NAMES.items()}, tmp_path / "attn_pool.pt")
    (tmp_path / "embedder.json").unlink()
    with pytest.raises(UserError, match=r"width of 8 does not divide into 32 heads; say how many.*--num_heads"):
        load_design("model3", base, tmp_path, device="cpu")
    loaded = load_design("model3", base, tmp_path, num_heads=2, device="cpu")
    np.testing.assert_array_equal(loaded.encode(TEXTS), model.eval().encode(TEXTS))


HUB = """
import sys, time
from model_loaders import UserError, load
import model_loaders.loading  # not what is timed
if sys.argv[1] == "silent":  # a network that drops what it is sent
    import os, socket
    server = socket.create_server(("127.0.0.1", 0))
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.getsockname()[1]}"
start = time.monotonic()
try:
    load("nobody/no-such-adapter", cache_dir=sys.argv[2])
except UserError as error:
    print(round(time.monotonic() - start), str(error))
"""


@pytest.mark.parametrize(
    ("network", "environment"),
    [
        ("offline", {"HF_HUB_OFFLINE": "1"}),
        ("refused", {"HF_ENDPOINT": "http://127.0.0.1:9"}),
        pytest.param("silent", {}, marks=pytest.mark.slow),
    ],
)
def test_a_hub_name_without_network_is_one_quick_error(tmp_path: Path, network: str, environment: dict[str, str]) -> None:
    done = run_elsewhere(HUB, network, tmp_path / "cache", **environment)
    seconds, _, message = done.stdout.partition(" ")
    assert "the adapter 'nobody/no-such-adapter' is no directory here, and could not be had from the hub" in message, (
        done.stderr
    )
    assert len(message.splitlines()) == 1
    assert int(seconds) <= 15
