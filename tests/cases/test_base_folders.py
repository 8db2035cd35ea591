"""Folders of base LLMs that hold more, less or other things than a decoder's weights."""

from __future__ import annotations

import ast
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_loaders import LoadOptions, UserError, load
from model_loaders.backbone.base_config import read_config
from model_loaders.backbone.base_files import weights_hash
from model_loaders.create import create
from model_loaders.saving import save
from model_loaders.text.tokenizer import load_tokenizer
from model_loaders.version import content_hash
from tests.test_imports import ROOMS, sources
from tests.tiny import ROOT, SIZES, new_model, write_base, write_tokenizer

CPU = LoadOptions(device="cpu", dtype="float32")
TEXTS = ["word1 word2", "word3"]


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("stdin", ["y"])
def test_code_of_the_folder_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stdin: str) -> None:
    base = write_base(tmp_path / "base")
    (base / "configuration_x.py").write_text(f"open({str(tmp_path / 'EXECUTED')!r}, 'w').write('x')\n")
    edit(base / "config.json", model_type="somebodys", auto_map={"AutoConfig": "configuration_x.X"})
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    for read in (lambda: create("model1", base, lora=None, options=CPU), lambda: read_config(base)):
        with pytest.raises(UserError, match="code of its own, which this toolkit does not run"):
            read()
    assert not (tmp_path / "EXECUTED").exists()


def test_code_of_a_tokenizer_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_base(tmp_path / "base")
    (base / "tokenizer.json").unlink()
    (base / "tokenization_x.py").write_text(f"open({str(tmp_path / 'EXECUTED')!r}, 'w').write('x')\n")
    auto_map = {"AutoTokenizer": ["tokenization_x.X", None]}
    edit(base / "tokenizer_config.json", tokenizer_class="X", auto_map=auto_map)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    with pytest.raises(UserError, match="tokenizer"):
        create("model1", base, lora=None, options=CPU)
    assert not (tmp_path / "EXECUTED").exists()


def test_a_kernel_of_the_hub_is_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    edit(base / "config.json", attn_implementation="somebody/kernel")
    with pytest.raises(UserError, match="somebody/kernel"):
        create("model1", base, lora=None, options=CPU)


def test_every_auto_class_is_told_to_run_no_code() -> None:
    wrong = []
    rooms = [path for room in ROOMS for path in sources(room)]
    for path in [*ROOT.glob("*.py"), *rooms]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = node.func.value
            auto = isinstance(owner, ast.Name) and owner.id.startswith("Auto")
            names = {keyword.arg for keyword in node.keywords}
            if auto and node.func.attr in ("from_pretrained", "from_config") and "trust_remote_code" not in names:
                wrong.append(f"{path}:{node.lineno}")
    assert not wrong


def test_a_stray_adapter_acts_on_nothing(tmp_path: Path) -> None:
    clean = write_base(tmp_path / "clean")
    stray = Path(shutil.copytree(clean, tmp_path / "stray"))
    model = new_model("model1", clean)
    save(model, tmp_path / "adapter")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(tmp_path / "adapter" / name, stray / name)
    config = json.loads((stray / "adapter_config.json").read_text())
    for lora in (None, {"r": 2, "target_modules": ["down_proj"]}):
        for named in (str(clean), "nobody/nothing"):
            edit(stray / "adapter_config.json", **(config | {"base_model_name_or_path": named}))
            plain, other = (create("model1", base, lora=lora, options=CPU) for base in (clean, stray))
            assert (plain.encode(TEXTS) == other.encode(TEXTS)).all()
            assert [name for name, _ in plain.named_parameters()] == [name for name, _ in other.named_parameters()]
            assert plain.version == other.version


@pytest.mark.parametrize("name", ["consolidated.safetensors", "pytorch_model.bin", "optimizer.bin"])
def test_a_second_copy_of_the_weights_does_not_count(tmp_path: Path, name: str) -> None:
    plain = write_base(tmp_path / "plain")
    full = Path(shutil.copytree(plain, tmp_path / "full"))
    tensors = {f"{key}.copy": tensor for key, tensor in load_file(full / "model.safetensors").items()}
    if name.endswith(".bin"):
        torch.save(tensors, full / name)
    else:
        save_file(tensors, full / name)
    assert weights_hash(plain) == weights_hash(full)
    assert content_hash(plain) == content_hash(full)
    for here, there in ((plain, full), (full, plain)):
        save(new_model("model1", here), tmp_path / "adapter")
        load(tmp_path / "adapter", base_model=there, device="cpu")


def test_adapters_with_the_hash_of_all_files_still_load(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    save_file({"copy": torch.zeros(2)}, base / "consolidated.safetensors")
    from model_loaders.backbone.base_files import hash_of_all

    save(new_model("model1", base), tmp_path / "adapter")
    manifest = json.loads((tmp_path / "adapter" / "embedder.json").read_text())
    manifest["base_model"]["weights"] = hash_of_all(base)
    (tmp_path / "adapter" / "embedder.json").write_text(json.dumps(manifest))
    load(tmp_path / "adapter", device="cpu")


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    names = dict.fromkeys(load_file(base / "model.safetensors"), "model-00001-of-00001.safetensors")
    (base / "model.safetensors").rename(base / "model-00001-of-00001.safetensors")
    index = base / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    create("model1", base, lora=None, options=CPU)
    index.write_text(json.dumps({"metadata": {}, "weight_map": names | {"x": "model-00002-of-00002.safetensors"}}))
    with pytest.raises(UserError, match=r"model-00002-of-00002.safetensors.*incomplete"):
        create("model1", base, lora=None, options=CPU)
    index.write_text(json.dumps({"metadata": {}, "weight_map": names | {"x": "../other.safetensors"}}))
    with pytest.raises(UserError, match="not inside"):
        create("model1", base, lora=None, options=CPU)


def text_sizes(**changes: Any) -> dict[str, Any]:
    return SIZES | {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3} | changes


def gemma3() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    config = Gemma3Config(
        text_config=text_sizes(sliding_window=16),
        vision_config=vision,
        mm_tokens_per_image=4,
        image_token_index=50,
        boi_token_index=51,
        eoi_token_index=52,
    )
    return Gemma3ForConditionalGeneration(config)


def of_llava(kind: str) -> Any:
    import transformers

    vision = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    if kind == "Mistral3":
        vision["model_type"] = "pixtral"
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14, "projection_dim": 32}
    text = text_sizes(model_type="mistral", sliding_window=None)
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=vision, image_token_index=50)
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config)


def qwen3_vl() -> Any:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    vision = {"hidden_size": 32, "intermediate_size": 32, "depth": 1, "num_heads": 2, "out_hidden_size": 32}
    vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}
    text = text_sizes(rope_parameters=rope)
    config = Qwen3VLConfig(text_config=text, vision_config=vision, image_token_id=50, video_token_id=51)
    return Qwen3VLForConditionalGeneration(config)


@pytest.mark.parametrize("make", [gemma3, lambda: of_llava("Llava"), lambda: of_llava("Mistral3"), qwen3_vl])
def test_the_text_decoder_of_several_modalities(tmp_path: Path, make: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    whole = make()
    whole.save_pretrained(tmp_path / "whole")
    whole.model.language_model.save_pretrained(tmp_path / "alone")
    for name in ("whole", "alone"):
        write_tokenizer(tmp_path / name)
    for design in ("model1", "bidirectional_mean"):
        inside = create(design, tmp_path / "whole", lora=None, options=CPU)
        alone = create(design, tmp_path / "alone", lora=None, options=CPU)
        cosines = (inside.encode(TEXTS) * alone.encode(TEXTS)).sum(axis=1)
        assert cosines.min() > 0.999999
    model = new_model("model1", tmp_path / "whole")
    save(model, tmp_path / "adapter")
    load(tmp_path / "adapter", device="cpu")
    for parameter in inside.backbone.parameters():  # as --train full does
        parameter.requires_grad_(True).data.mul_(1.01)
    save(inside, tmp_path / "full")
    assert (load(tmp_path / "full", device="cpu").encode(TEXTS) * inside.encode(TEXTS)).sum(axis=1).min() > 0.999999


def test_encoder_decoder_bases_are_refused(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=64, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="an encoder and a decoder"):
        create("model1", tmp_path, lora=None, options=CPU)


def test_an_adapter_is_no_base_and_a_base_no_adapter(tmp_path: Path, base: Path) -> None:
    save(new_model("model1", base), tmp_path / "adapter")
    with pytest.raises(UserError, match="it is an adapter"):
        create("model1", tmp_path / "adapter", lora=None, options=CPU)
    with pytest.raises(UserError, match="it is a model of its own"):
        load(base)


def add_token(base: Path, token: str, token_id: int) -> None:
    path = base / "tokenizer.json"
    content = json.loads(path.read_text())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"].append({"id": token_id, "content": token, "special": True} | flags)
    path.write_text(json.dumps(content))


def test_a_pad_token_beyond_the_embedding_is_only_a_filler(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", vocab_size=54)
    plain = create("model1", base, lora=None, options=CPU).encode(TEXTS)
    add_token(base, "[PAD]", 54)
    edit(base / "tokenizer_config.json", pad_token="[PAD]")
    model = create("model1", base, lora=None, options=CPU)
    assert (model.encode(TEXTS) == plain).all()
    with pytest.raises(UserError, match=r"\[PAD\].*54 rows"):
        model.encode(["word1 [PAD]"])
    save(model, tmp_path / "adapter")
    assert (load(tmp_path / "adapter", device="cpu").encode(TEXTS) == plain).all()


def test_other_tokens_beyond_the_embedding_are_refused_at_load(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", vocab_size=54)
    add_token(base, "[END]", 54)
    for end in ("</s>", "[END]"):
        edit(base / "tokenizer_config.json", eos_token=end)
        with pytest.raises(UserError, match=r"54 rows .*\[END\]' with id 54"):
            create("model1", base, lora=None, options=CPU)


def test_a_sentencepiece_file_alone_says_what_to_do(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    (base / "tokenizer.json").unlink()
    (base / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")
    edit(base / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    with pytest.raises(UserError, match=r"tokenizer.model and no tokenizer.json: make one"):
        create("model1", base, lora=None, options=CPU)


def test_an_adapter_does_not_tell_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "alice"
    base = write_base(home / "models" / "base")
    monkeypatch.setenv("HOME", str(home))
    for adapter in (home / "runs" / "one", tmp_path / "scratch" / "one"):
        save(new_model("model1", base), adapter)
        for name in ("embedder.json", "adapter_config.json"):
            assert "alice" not in (adapter / name).read_text()
        load(adapter, device="cpu")
        moved = shutil.copytree(adapter, adapter.with_name("moved") / "deeper")
        load(moved, device="cpu")
    monkeypatch.setenv("HOME", str(tmp_path))
    load(home / "runs" / "one", device="cpu")


def test_a_tokenizer_that_is_a_pipe_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(UserError, match=r"tokenizer.json is no regular file"):
        load_tokenizer(tmp_path)
