"""The table of published models: every file reads, names are recognised, the recipe is that of the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from common.errors import UserError
from model_loaders import get_design, load
from model_loaders.layouts import known_models
from model_loaders.layouts.known_models import FOLDER, known_name, published_models
from model_loaders.layouts.source import Source
from model_loaders.layouts.table import LAYOUTS
from model_loaders.text.prompts import ROLES
from model_loaders.text.recipe import Recipe, default_values
from tests.tiny import SHARED, write_base, write_tokenizer

FILES = sorted(FOLDER.glob("*.yaml"))
NEIGHBOURS = SHARED / "neighbours"
NAMED = (
    "nvidia/NV-Embed-v1",
    "nvidia/NV-Embed-v2",
    "McGill-NLP/LLM2Vec-Mistral-7B-Instruct-v2-mntp-supervised",
    "Qwen/Qwen3-Embedding-0.6B",
    "Qwen/Qwen3-Embedding-4B",
    "Qwen/Qwen3-Embedding-8B",
    "HIT-TMG/KaLM-embedding-multilingual-mini-instruct-v1.5",
    "KaLM-Embedding/KaLM-embedding-multilingual-mini-instruct-v2.5",
    "intfloat/e5-mistral-7b-instruct",
    "GritLM/GritLM-7B",
)


@pytest.mark.parametrize("name", NAMED)
def test_the_models_of_the_docs_are_there(name: str) -> None:
    model = published_models()[name]
    assert model.models[name].licence and model.source and model.summary


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_whole_and_its_recipe_builds(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    model = published_models()[next(iter(content["models"]))]
    assert content["layout"] in {layout.name for layout in LAYOUTS}
    recipe = model.recipe_over(Recipe())
    assert recipe.evaluation_prompts in ("mteb", "none")
    assert get_design(model.design).summary
    for entry in recipe.task_instructions:
        assert len(entry) == 3 and entry[1] in ("query", "document")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("nvidia/NV-Embed-v2", "nvidia/NV-Embed-v2"),
        ("/models/nvidia/NV-Embed-v2/", "nvidia/NV-Embed-v2"),
        ("/cache/models--GritLM--GritLM-7B/snapshots/0123abc", "GritLM/GritLM-7B"),
        ("NV-Embed-v2", None),
        ("runs/model3", None),
        ("nvidia/NV-Embed-v3", None),
    ],
)
def test_names(name: str, known: str | None) -> None:
    assert known_name(name) == known


def place(folder: Path, name: str) -> Path:
    """A folder whose last parts are a hub name."""
    target = folder / name
    target.parent.mkdir(parents=True)
    return target


def qwen3_like(folder: Path) -> Path:
    """Write a whole model under a name of the table: its tokenizer appends the end token, and it has prompts of its own."""
    target = place(folder, "Qwen/Qwen3-Embedding-0.6B")
    write_base(target, initializer_range=0.1)
    write_tokenizer(target, appends_eos=True)
    kinds = ("models.Transformer", "models.Pooling", "models.Normalize")
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.{kind}"}
        for number, (path, kind) in enumerate(zip(("", "1_Pooling", "2_Normalize"), kinds, strict=True))
    ]
    (target / "modules.json").write_text(json.dumps(modules))
    (target / "1_Pooling").mkdir()
    (target / "2_Normalize").mkdir()
    (target / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
    settings = {"prompts": {"query": "word9 word8 ", "document": ""}, "similarity_fn_name": "cosine"}
    (target / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return target


def test_a_published_folder_has_the_recipe_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known_models.SHOWN.clear()
    target = qwen3_like(tmp_path)
    model = load(target, device="cpu")
    said = capsys.readouterr().err
    assert "Qwen/Qwen3-Embedding-0.6B: design model1 (EOS-last-token pooling, causal attention), licence apache-2.0" in said
    assert r"prompt_template: 'Instruct: {prompt}\nQuery:{text}'" in said
    assert model.recipe.query_prompt == "" and model.recipe.task_prompts == "mteb"
    assert [row.count(2) for row in model.tokenizer.ids(["word1 word2"], 16)] == [1]
    other = tmp_path / "copy"
    shutil.copytree(target, other)
    plain = load(other, device="cpu")
    assert plain.recipe.query_prompt == "word9 word8 " and capsys.readouterr().err == ""
    load(target, device="cpu")
    assert capsys.readouterr().err == "", "the recipe is printed once"


def test_the_printed_recipe_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Defaults decide a vector too, such as the end token of E5-Mistral."""
    known_models.SHOWN.clear()
    name = "intfloat/e5-mistral-7b-instruct"
    source = Source(Path(name), "model1", name, Recipe())
    known_models.with_published_recipe(source, published_models()[name], name)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(name) and "licence mit" in said[0]
    lines = {line.split(":")[0].strip(): line.split(": ", 1)[1] for line in said[1:]}
    assert list(lines) == list(default_values())
    assert lines["end_token"] == "eos" and lines["bos_token"] == "tokenizer" and lines["truncation"] == "right"
    assert lines["pooled"] == "all" and lines["query_max_length"] == "max_length" and lines["instruct_documents"] == "False"


def test_a_whole_model_needs_a_name_or_a_design(tmp_path: Path) -> None:
    target = place(tmp_path, "GritLM/GritLM-7B")
    write_base(target, initializer_range=0.1)
    model = load(target, device="cpu")
    assert (model.design_name, model.recipe.pooled, model.recipe.end_token) == ("bidirectional_mean", "after_prompt", "none")
    # Neither BOS nor the instruction: the mean of the text's states.
    with torch.no_grad():
        ids = torch.tensor([[1, *(model.tokenizer.tokenizer.convert_tokens_to_ids(word) for word in ("word1", "word2"))]])
        states = model.backbone(input_ids=ids).last_hidden_state[0, 1:]
    expected = torch.nn.functional.normalize(states.mean(dim=0), dim=-1).numpy()
    assert np.abs(model.encode(["word1 word2"], prompt="")[0] - expected).max() > 1e-3, "without a prompt BOS is pooled too"
    other = tmp_path / "other"
    shutil.copytree(target, other)
    with pytest.raises(UserError, match="nothing in it says how it embeds"):
        load(other, device="cpu")
    with pytest.raises(UserError, match="holds no pooling"):
        load(other, device="cpu", design="model4")
    assert load(other, device="cpu", design="model1").recipe == Recipe()


def test_code_in_a_folder_does_not_run(tmp_path: Path) -> None:
    """A config that names classes of its own folder is read without them, where transformers knows the model type."""
    target = qwen3_like(tmp_path)
    config = json.loads((target / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling.Model", "AutoConfig": "modeling.Config"}
    (target / "config.json").write_text(json.dumps(config))
    trace = tmp_path / "ran"
    for name in ("modeling.py", "tokenization.py", "conftest.py"):
        (target / name).write_text(f"open({str(trace)!r}, 'w').close()\n")
    tokenizer = json.loads((target / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": ["tokenization.T", None]}
    (target / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert np.isfinite(load(target, device="cpu").encode(["word1"])).all()
    assert not trace.exists()


SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
GOLDEN = {
    "intfloat/e5-mistral-7b-instruct": ("e5_mistral", SEARCH),
    "Qwen/Qwen3-Embedding-0.6B": ("qwen3", SEARCH),
    "GritLM/GritLM-7B": ("gritlm", "Retrieve the answer"),
}


@pytest.mark.skipif(not NEIGHBOURS.is_dir(), reason="the published code's vectors are not here")
@pytest.mark.parametrize("name", GOLDEN)
def test_vectors_of_the_published_code(tmp_path: Path, name: str) -> None:
    """A folder under the model's name, whole and without modules.json, gives the vectors of both sides."""
    key, instruction = GOLDEN[name]
    folder = NEIGHBOURS / "recipes"
    target = place(tmp_path, name)
    shutil.copytree(folder / "base", target)
    model = load(target, device="cpu", dtype="float32")
    facts, arrays = json.loads((folder / "golden.json").read_text()), np.load(folder / "golden.npz")
    for role in ROLES:
        of_role = facts[f"{key}_{role}"]
        texts = [row["text"] for row in of_role["rows"]]
        prompt = model.recipe.instructed(instruction, role)
        assert prompt.replace("{text}", "") == of_role["prompt"]
        vectors = model.encode(texts, role, prompt=prompt, max_length=of_role["max_length"])
        expected = arrays[f"{key}_{role}"]
        real = np.isfinite(expected).all(axis=1)
        assert np.abs(vectors[real] - expected[real]).max() <= 1e-5 and np.isfinite(vectors).all()


@pytest.mark.skipif(not NEIGHBOURS.is_dir(), reason="the tiny checkpoints are not here")
def test_a_layout_of_its_own_under_its_name(tmp_path: Path) -> None:
    """NV-Embed and a second LLM2Vec adapter give under their names the vectors that they give without, and mteb's prompts."""
    llm2vec = NEIGHBOURS / "llm2vec" / "mistral"
    folders = {
        "nvidia/NV-Embed-v2": (NEIGHBOURS / "nv_embed" / "checkpoint", None),
        "McGill-NLP/LLM2Vec-Sheared-LLaMA-mntp-supervised": (llm2vec / "second", llm2vec / "mntp"),
    }
    for name, (folder, base) in folders.items():
        target = place(tmp_path, name)
        shutil.copytree(folder, target)
        named, plain = (load(path, base, device="cpu", dtype="float32") for path in (target, folder))
        assert named.design_name == plain.design_name == published_models()[name].design
        assert named.recipe.evaluation_prompts == "mteb" and not named.recipe.instruct_documents
        texts = ["how much protein", "one\ntwo"]
        np.testing.assert_array_equal(named.encode(texts), plain.encode(texts))
        for role in ROLES:
            prompts = [model.recipe.instructed("Find the answer:", role) for model in (named, plain)]
            vectors = [model.encode(texts, role, prompt=prompt) for model, prompt in zip((named, plain), prompts, strict=True)]
            assert np.abs(vectors[0] - vectors[1]).max() <= 1e-6
