"""LLM2Vec: adapters and merged checkpoints made from code give the vectors of merged weights; damage is one clear error."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_loaders import LoadOptions, UserError, load, load_design
from model_loaders.convert import main as convert
from model_loaders.create import create
from model_loaders.layouts.known_models import published_models
from model_loaders.layouts.llm2vec import CHAT_TEMPLATES
from model_loaders.loading import plan_loading
from model_loaders.text.prompts import in_template
from model_loaders.text.recipe import Recipe
from model_loaders.text.render import read_texts
from tests.model_loaders.layouts.write_layouts import (
    LINEAR,
    PROOF,
    edit_json,
    edit_tensors,
    lora_tensors,
    mapping_of,
    write_first,
    write_merged,
    write_second,
)

TEXTS = ["word1 word2 word3", "", "word4", " ".join(f"word{number}" for number in range(30))]
PROMPT = "word40 word41 "
SCALE = 2.0  # alpha 8, rank 4
CPU = LoadOptions(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def folders(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A first adapter, a second one on it, and both merged, as LLM2Vec has them."""
    place = tmp_path_factory.mktemp("llm2vec")
    write_first(place / "mntp", base)
    write_second(place / "second", base)
    first, second = (lora_tensors(base, 4, seed) for seed in (11, 12))
    write_merged(place / "merged_first", base, (first, SCALE))
    write_merged(place / "merged", base, (first, SCALE), (second, SCALE), prefix="model.")
    return place


@pytest.fixture
def copy(folders: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders, tmp_path / "llm2vec"))


@pytest.fixture(scope="module")
def both(folders: Path) -> Any:
    return load(folders / "second", folders / "mntp", device="cpu")


def of_merged(folder: Path, model: Any, design: str = "bidirectional_mean") -> Any:
    """A model of merged weights as a plain base LLM, with the recipe of ``model``."""
    return create(design, folder, lora=None, recipe=model.recipe, options=CPU).eval()


def same(model: Any, other: Any, atol: float = 5e-6) -> None:
    for prompt in (None, PROMPT):
        np.testing.assert_allclose(model.encode(TEXTS, prompt=prompt), other.encode(TEXTS, prompt=prompt), atol=atol)


def test_both_adapters_are_those_of_merged_weights(folders: Path, both: Any) -> None:
    first = load(folders / "mntp", device="cpu")
    same(first, of_merged(folders / "merged_first", first))
    same(both, of_merged(folders / "merged", both))
    assert both.design_name == "bidirectional_mean" and both.has_lora
    assert not list(folders.rglob(PROOF))  # no code of the folders ran


def test_merged_checkpoints_and_a_second_adapter_on_one(folders: Path, both: Any) -> None:
    same(both, load(folders / "merged", device="cpu"))
    same(both, load(folders / "second", folders / "merged_first", device="cpu"))


def test_what_is_pooled_is_the_text(both: Any) -> None:
    words = both.tokenizer.tokenizer.convert_tokens_to_ids(["<s>", "word40", "word41", "word1"])  # and no end token
    with torch.no_grad():
        expected = both(torch.tensor([words]), torch.ones(1, 4), torch.tensor([[0, 0, 0, 1]]))[0].numpy()
    np.testing.assert_allclose(both.encode(["word1"], prompt=PROMPT)[0], expected, atol=1e-6)
    assert both.recipe.instructed("Find it:", "query") == "Find it: {text}"


def test_a_text_has_one_vector_in_any_batch(both: Any) -> None:
    for prompt in ("", PROMPT):
        together, alone = both.encode(TEXTS, prompt=prompt), both.encode(TEXTS, prompt=prompt, batch_size=1)
        assert (together * alone).sum(axis=1).min() >= 0.99999


@pytest.mark.parametrize(
    ("mode", "design", "end", "pooled"),
    [
        ("weighted_mean", "bidirectional_weighted_mean", "none", "text"),
        ("eos_token", "bidirectional_eos", "eos", "all"),
        ("last_token", "bidirectional_eos", "none", "all"),
        ("bos_token", "bidirectional_first", "none", "all"),
    ],
)
def test_poolings(copy: Path, mode: str, design: str, end: str, pooled: str) -> None:
    edit_json(copy / "second" / "llm2vec_config.json", pooling_mode=mode, max_length=24, doc_max_length=20)
    model = load(copy / "second", copy / "mntp", device="cpu")
    assert (model.design_name, model.recipe.end_token, model.recipe.pooled) == (design, end, pooled)
    assert (model.recipe.max_length, model.recipe.text_max_length) == (24, 20)
    same(model, of_merged(copy / "merged", model, design))
    if mode != "last_token":
        asked = load_design(design, copy / "mntp", copy / "second", device="cpu")
        assert asked.version == model.version


def test_instructions_are_kept_where_the_settings_say_so(copy: Path) -> None:
    edit_json(copy / "second" / "llm2vec_config.json", skip_instruction=False)
    assert load(copy / "second", copy / "mntp", device="cpu").recipe.pooled == "all"


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(both: Any, side: str) -> None:
    recipe = replace(both.recipe, max_length=64)
    tokens = read_texts(both.tokenizer, recipe, TEXTS, [PROMPT] * len(TEXTS), 64)
    batch = both.tokenizer.pad(tokens.ids, tokens.pooled)
    rows = [batch.input_ids, batch.attention_mask, batch.pool_mask]
    if side == "left":
        free = [batch.input_ids.shape[1] - len(ids) for ids in tokens.ids]
        rows = [torch.stack([row.roll(shift) for row, shift in zip(part, free, strict=True)]) for part in rows]
    with torch.inference_mode():
        padded = both(*rows).numpy()
    assert (padded * both.encode(TEXTS, prompt=PROMPT, batch_size=1)).sum(axis=1).min() >= 0.99999


def test_a_chat_template_goes_by_the_name_of_the_base(copy: Path) -> None:
    edit_json(copy / "mntp" / "config.json", _name_or_path="mistralai/Mistral-7B-Instruct-v0.2")
    recipe = load(copy / "second", copy / "mntp", device="cpu").recipe
    assert recipe.query_prompt == recipe.document_prompt == "[INST] {text} [/INST]"
    assert recipe.instructed("Find it:", "query") == "[INST] Find it: {text} [/INST]" and recipe.pooled == "after_prompt"


def test_adapters_that_differ_are_stacked(base: Path, tmp_path: Path) -> None:
    """Other modules, ranks and scales: those of each module count."""
    first = lora_tensors(base, 4, 1, LINEAR[:2])
    second = lora_tensors(base, 3, 2, LINEAR[1:])
    name = "layers.0.self_attn.k_proj"
    write_first(tmp_path / "mntp", base, tensors=first, use_rslora=True, alpha_pattern={name: 3})
    write_second(tmp_path / "second", base, tensors=second, r=3, lora_alpha=6)
    special = {key: tensor for key, tensor in first.items() if name in key}
    others = {key: tensor for key, tensor in first.items() if name not in key}
    merged = write_merged(tmp_path / "merged", base, (others, 8 / 2), (special, 3 / 2), (second, 2.0))
    model = load(tmp_path / "second", tmp_path / "mntp", device="cpu")
    same(model, of_merged(merged, model), atol=1e-5)
    with pytest.raises(UserError, match=r"use_dora True.*merge it first"):
        edit_json(tmp_path / "mntp" / "adapter_config.json", use_dora=True)
        load(tmp_path / "second", tmp_path / "mntp", device="cpu")


def test_the_version_is_known_before_loading(folders: Path, both: Any) -> None:
    versions = {both.version}
    for name, below in (("second", "mntp"), ("mntp", None), ("merged", None), ("second", "merged_first")):
        adapter, base_model = folders / name, None if below is None else folders / below
        plan = plan_loading(None, base_model, adapter, LoadOptions(device="cpu"))
        assert plan.version() == load(adapter, base_model, device="cpu").version
        versions.add(str(plan.version()))
    assert len(versions) == 4


def test_it_is_converted_to_our_layout(folders: Path, both: Any, tmp_path: Path) -> None:
    for name, below in (("second", folders / "mntp"), ("mntp", None), ("merged", None)):
        given = [] if below is None else ["--base_model", str(below)]
        assert convert([str(folders / name), str(tmp_path / name), *given]) == 0
        again = load(tmp_path / name, device="cpu")
        before = load(folders / name, below, device="cpu")
        np.testing.assert_allclose(again.encode(TEXTS), before.encode(TEXTS), atol=1e-6)
        assert again.version == before.version
    same(both, load(folders / "second", tmp_path / "mntp", device="cpu"))  # the first adapter in our layout


def refused(message: str, adapter: Path, base_model: Path | str | None = None, **options: Any) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(adapter, base_model, device="cpu", **options)
    assert "Traceback" not in str(caught.value)


def test_a_second_adapter_without_its_first(folders: Path, base: Path, tmp_path: Path) -> None:
    (folders / "broken").mkdir(exist_ok=True)
    (folders / "broken" / "adapter_config.json").write_text("{")  # a neighbour that is no matter
    beside = r"the first one \(MNTP\) is missing.*\(base_model=, --base_model\): .*mntp, which lies beside it\.$"
    refused(beside, folders / "second")
    refused(r"is neither an LLM2Vec adapter nor a merged checkpoint", folders / "second", base)
    refused("is a second adapter too", folders / "second", folders / "second")
    published = tmp_path / "LLM2Vec-Sheared-LLaMA-mntp-unsup-simcse"
    shutil.copytree(folders / "second", published)
    refused(r"--base_model\): LLM2Vec-Sheared-LLaMA-mntp\.$", published)
    (published / "llm2vec_config.json").unlink()  # its name tells
    refused(r"--base_model\): LLM2Vec-Sheared-LLaMA-mntp\.$", published)


def test_the_missing_first_adapter_is_named_once(folders: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(folders / "second", device="cpu")
    assert str(caught.value).count(str(folders / "mntp")) == 1


def test_a_foreign_first_adapter_is_refused_by_name(copy: Path) -> None:
    """It has the same sizes, so that nothing else would tell."""
    second, first = copy / "second", copy / "mntp"
    config = second / "adapter_config.json"
    mapping = {"base_model_class": "LlamaBiModel", "parent_library": "llm2vec.models.bidirectional_llama"}
    edit_json(config, auto_mapping=mapping)
    for below in ("mntp", "merged_first"):
        refused("does not belong on .*: one for a Llama model, the other for a Mistral model", second, copy / below)
    edit_json(config, auto_mapping=None, base_model_name_or_path="mistralai/Mistral-7B-v0.3")
    edit_json(first / "adapter_config.json", base_model_name_or_path="mistralai/Mistral-7B-v0.1")
    refused("the base LLM mistralai/Mistral-7B-v0.3, the other for mistralai/Mistral-7B-v0.1.*write the same", second, first)


def test_a_first_adapter_on_a_base_of_another_family(copy: Path, make_base: Callable[..., Path]) -> None:
    refused("is for a Mistral model, and .* is of the type llama", copy / "mntp", make_base("llama"))


def test_a_merged_checkpoint_under_the_name_of_a_second_adapter(copy: Path, both: Any) -> None:
    whole = copy / "McGill-NLP" / "LLM2Vec-Sheared-LLaMA-mntp-supervised"
    shutil.copytree(copy / "merged", whole)
    np.testing.assert_allclose(load(whole, device="cpu").encode(TEXTS), both.encode(TEXTS), atol=5e-6)


def test_names_of_one_base(copy: Path, base: Path, both: Any) -> None:
    """A second adapter may name the base LLM as a folder or by its hub name, or its first adapter."""
    shutil.copytree(base, copy / "Tiny-1B")
    edit_json(copy / "mntp" / "adapter_config.json", base_model_name_or_path=str(copy / "Tiny-1B"))
    cached = "/cache/models--owner--Tiny-1B/snapshots/0a1b"
    for name in ("owner/Tiny-1B", str(copy / "Tiny-1B"), cached, "owner/mntp", str(copy / "mntp") + "/", None):
        edit_json(copy / "second" / "adapter_config.json", base_model_name_or_path=name)
        same(both, load(copy / "second", copy / "mntp", device="cpu"))


def test_a_first_adapter_in_our_layout_is_compared_too(copy: Path, tmp_path: Path) -> None:
    assert convert([str(copy / "mntp"), str(tmp_path / "ours")]) == 0
    load(copy / "second", tmp_path / "ours", device="cpu")
    edit_json(copy / "second" / "adapter_config.json", base_model_name_or_path="mistralai/Mistral-7B-v0.3")
    refused("does not belong on", copy / "second", tmp_path / "ours")


def test_a_published_second_adapter_finds_its_first_beside_it(folders: Path, both: Any, tmp_path: Path) -> None:
    owner = tmp_path / "McGill-NLP"
    shutil.copytree(folders / "second", owner / "LLM2Vec-Sheared-LLaMA-mntp-supervised")
    shutil.copytree(folders / "mntp", owner / "LLM2Vec-Sheared-LLaMA-mntp")
    same(both, load(owner / "LLM2Vec-Sheared-LLaMA-mntp-supervised", device="cpu"))


def test_the_first_adapter_of_a_hub_name_is_known(monkeypatch: pytest.MonkeyPatch, folders: Path, both: Any) -> None:
    hub = {"owner/LLM2Vec-Tiny-mntp-supervised": folders / "second", "owner/LLM2Vec-Tiny-mntp": folders / "mntp"}
    monkeypatch.setattr("model_loaders.hub.download", lambda name, **_: hub[name])
    same(both, load("owner/LLM2Vec-Tiny-mntp-supervised", device="cpu"))


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("folder", ["mntp", "second"])
def test_a_cut_or_missing_file(copy: Path, folder: str, file: str) -> None:
    path = copy / folder / file
    path.write_bytes(path.read_bytes()[:-9])
    refused(file, copy / "second", copy / "mntp")
    path.unlink()
    refused(f"has no {file}|has no adapter_config|of no layout|merged|no weights|lack", copy / "second", copy / "mntp")


Change = Callable[[dict[str, torch.Tensor]], Any]
Q = "base_model.model.layers.0.self_attn.q_proj.lora_A.weight"
ADAPTER_DAMAGE: dict[str, tuple[Change, str]] = {
    "missing": (lambda t: t.pop(Q), "lora_A and lora_B of layers.0.self_attn.q_proj are not two matrices"),
    "misshapen": (lambda t: t.update({Q: torch.ones(4, 5)}), "belong to two base LLMs|the model needs"),
    "another rank": (lambda t: t.update({Q: torch.ones(3, 32)}), "are not two matrices of one rank"),
    "unknown": (lambda t: t.update(stray=torch.ones(2, 2)), "stray is no LoRA of a linear map"),
    "not finite": (lambda t: t[Q].fill_(float("inf")), "NaN or infinite"),
}


@pytest.mark.parametrize("folder", ["mntp", "second"])
@pytest.mark.parametrize("damage", ADAPTER_DAMAGE)
def test_damaged_adapters(copy: Path, folder: str, damage: str) -> None:
    change, message = ADAPTER_DAMAGE[damage]
    edit_tensors(copy / folder / "adapter_model.safetensors", change)
    refused(message, copy / "second", copy / "mntp")


def test_a_damaged_adapter_alone(copy: Path) -> None:
    edit_tensors(copy / "mntp" / "adapter_model.safetensors", lambda tensors: tensors.pop(Q))
    refused("1 missing, such as", copy / "mntp")


MERGED_DAMAGE: dict[str, tuple[Change, str]] = {
    "missing": (lambda t: t.pop("model.norm.weight"), "lack 1 tensors.*model.norm.weight"),
    "misshapen": (lambda t: t.update({"model.norm.weight": torch.ones(5)}), r"norm.weight is \(5,\)"),
    "unknown": (lambda t: t.update(stray=torch.ones(2)), "hold 1 tensors.*stray"),
}


@pytest.mark.parametrize("damage", MERGED_DAMAGE)
def test_a_damaged_merged_checkpoint(copy: Path, damage: str) -> None:
    change, message = MERGED_DAMAGE[damage]
    edit_tensors(copy / "merged" / "model.safetensors", change)
    refused(message, copy / "merged")


def test_settings_are_checked(copy: Path) -> None:
    settings = copy / "second" / "llm2vec_config.json"
    for changes, message in (
        ({"pooling_mode": "median"}, "pooling_mode is 'median', not one of mean"),
        ({"pooling_mode": "mean", "max_length": "long"}, "max_length is 'long', not a whole number"),
        ({"max_length": 512, "max_lenght": 5}, "unknown key 'max_lenght' .did you mean 'max_length'"),
    ):
        edit_json(settings, **changes)
        refused(message, copy / "second", copy / "mntp")
    refused("leave base_model out", copy / "merged", copy / "mntp")
    with pytest.raises(UserError, match=r"whose designs are bidirectional_mean.*not model1"):
        load_design("model1", copy / "mntp", copy / "mntp", device="cpu")


def test_a_head_beside_the_decoder_is_left_out(copy: Path, both: Any) -> None:
    edit_tensors(copy / "merged" / "model.safetensors", lambda tensors: tensors.update({"lm_head.weight": torch.ones(64, 32)}))
    same(both, load(copy / "merged", device="cpu"))


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma"])
def test_other_families_see_both_ways(make_base: Callable[..., Path], tmp_path: Path, family: str) -> None:
    base = make_base(family)
    write_first(tmp_path / "mntp", base, auto_mapping=mapping_of(family))
    write_second(tmp_path / "second", base, auto_mapping=mapping_of(family))
    model = load(tmp_path / "second", tmp_path / "mntp", device="cpu")
    first, second = (lora_tensors(base, 4, seed) for seed in (11, 12))
    merged = write_merged(tmp_path / "merged", base, (first, SCALE), (second, SCALE))
    same(model, of_merged(merged, model))
    early = model.encode(["word1 word2"], prompt="") - model.encode(["word1 word3"], prompt="")
    pooled_first = replace(model.design, tokens="first")
    model.design = pooled_first
    moved = model.encode(["word1 word2"], prompt="") - model.encode(["word1 word3"], prompt="")
    assert np.abs(early).max() > 1e-3 and np.abs(moved).max() > 1e-3  # the first pooled token sees the last one


def test_an_instruction_is_stripped(both: Any) -> None:
    assert both.recipe.instructed("  Find it:\n", "query") == "Find it: {text}"
    for template in ("{prompt|strip} {text}", "{prompt:} {text}"):
        assert in_template("\t Find it: ", template) == "Find it: {text}"
    assert in_template(" Find it ", "{prompt} {text}") == " Find it  {text}"  # others are kept as they are


def test_an_instruction_ends_with_a_colon_where_the_template_says_so() -> None:
    for instruction in ("Find it", "Find it.", "Find it:"):
        assert in_template(instruction, "[INST] {prompt:} {text} [/INST]") == "[INST] Find it: {text} [/INST]"
    recipe = Recipe(prompt_template="{prompt:} {text}")
    assert recipe.instructed("Find it", "query") == "Find it: {text}"


@pytest.mark.parametrize(
    ("name", "base_name"),
    [
        ("McGill-NLP/LLM2Vec-Mistral-7B-Instruct-v2-mntp-supervised", "mistralai/Mistral-7B-Instruct-v0.2"),
        ("McGill-NLP/LLM2Vec-Llama-2-7b-chat-hf-mntp", "meta-llama/Llama-2-7b-chat-hf"),
        ("McGill-NLP/LLM2Vec-Meta-Llama-3-8B-Instruct-mntp-unsup-simcse", "meta-llama/Meta-Llama-3-8B-Instruct"),
    ],
)
def test_published_names_have_the_chat_template_of_their_base(name: str, base_name: str) -> None:
    before, after = CHAT_TEMPLATES[base_name]
    recipe = published_models()[name].recipe_over(Recipe())
    assert recipe.query_prompt == recipe.document_prompt == f"{before}{{text}}{after}"
    assert recipe.instructed("Find it.", "query") == f"{before}Find it: {{text}}{after}"
    assert recipe.pooled == "after_prompt" and recipe.end_token == "none"
