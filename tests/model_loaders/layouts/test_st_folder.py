"""Folders of sentence-transformers: what its ``encode`` gives, ours gives; what cannot be said here is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from common.errors import UserError
from model_loaders import load
from model_loaders.saving import save
from model_loaders.text.render import read_texts
from tests.tiny import LORA, WORDS, write_base, write_tokenizer

TEXTS = ["word1", "word2 word3 word4", " ".join(WORDS[5:25]), "word7 unheard word9", "word1 word1"]
LONG = " ".join(WORDS * 2)
MODES = ["mean", "lasttoken", "cls", "max", "weightedmean", "mean_sqrt_len_tokens"]
DESIGN_OF = {"mean": "mean", "mean_sqrt_len_tokens": "mean", "weightedmean": "weighted_mean", "cls": "first", "max": "max"}
Folder = Callable[..., tuple[Path, SentenceTransformer]]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def check_equal(folder: Path, theirs: SentenceTransformer, **options: Any) -> Any:
    """Compare both sides' vectors, in batches and alone, of short texts and one that is cut."""
    model = load(folder, device="cpu", dtype="float32", **options)
    texts = [*TEXTS, LONG]
    for role, encode in (("query", theirs.encode_query), ("document", theirs.encode_document)):
        expected = unit(encode(texts, batch_size=3))
        assert np.abs(model.encode(texts, role) - expected).max() <= 1e-5
        alone = np.concatenate([model.encode([text], role) for text in texts])
        assert np.abs(alone - expected).max() <= 1e-5
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Saves a folder with sentence-transformers; returns it and the model."""

    def make(mode: str = "mean", **changes: Any) -> tuple[Path, SentenceTransformer]:
        base = changes.pop("base", None)
        if base is None:
            sizes = {"is_causal": False} if changes.pop("bidirectional", False) else {}
            base = write_base(tmp_path / "base", initializer_range=0.1, **sizes)
            if changes.pop("appends_eos", False):
                write_tokenizer(base, appends_eos=True)
        transformer = Transformer(str(base), max_seq_length=changes.pop("max_seq_length", 32))
        modules: list[Any] = [transformer, Pooling(32, mode, include_prompt=changes.pop("include_prompt", True))]
        if changes.pop("normalize", True):
            modules.append(Normalize())
        lora = changes.pop("lora", None)
        model = SentenceTransformer(modules=modules, device="cpu", **changes)
        if lora:
            with_adapter(model)
        model.save_pretrained(str(tmp_path / "folder"))
        return tmp_path / "folder", model.eval()

    return make


def with_adapter(model: SentenceTransformer) -> None:
    """Add a LoRA adapter whose B is not zero."""
    model.add_adapter(peft.LoraConfig(task_type="FEATURE_EXTRACTION", **LORA))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("bidirectional", [False, True], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("mode", MODES)
def test_poolings(folder: Folder, mode: str, bidirectional: bool) -> None:
    path, theirs = folder(mode, bidirectional=bidirectional)
    model = check_equal(path, theirs)
    names = {"lasttoken": "bidirectional_eos" if bidirectional else "model1"}
    attention = "bidirectional" if bidirectional else "causal"
    assert model.design_name == names.get(mode, f"{attention}_{DESIGN_OF.get(mode)}")


def test_prompts_of_both_sides(folder: Folder) -> None:
    path, theirs = folder("mean", prompts={"query": "word5 word6 ", "document": "word8 "})
    model = check_equal(path, theirs)
    assert (model.recipe.query_prompt, model.recipe.document_prompt) == ("word5 word6 ", "word8 ")


def test_the_default_prompt(folder: Folder) -> None:
    path, theirs = folder("mean", prompts={"clustering": "word5 "}, default_prompt_name="clustering")
    model = load(path, device="cpu")
    expected = theirs.encode(TEXTS)
    assert np.abs(model.encode(TEXTS) - expected).max() <= 1e-5


def test_prompts_that_no_role_uses_are_named(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = folder("mean", prompts={"query": "word5 ", "s2s_query": "word6 "})
    load(path, device="cpu")
    assert "prompts that no role uses: s2s_query" in capsys.readouterr().err


@pytest.mark.parametrize("normalize", [True, False])
def test_dimensions_are_made_unit_again(folder: Folder, normalize: bool) -> None:
    path, theirs = folder("mean", truncate_dim=12, normalize=normalize)
    model = check_equal(path, theirs)
    assert model.dim == 12 and np.allclose(np.linalg.norm(model.encode(TEXTS), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("mode", ["mean", "lasttoken"])
def test_the_end_token_is_what_the_tokenizer_appends(folder: Folder, mode: str) -> None:
    path, theirs = folder(mode, appends_eos=True)
    model = check_equal(path, theirs)
    assert model.recipe.end_token == "tokenizer"
    assert [row.count(2) for row in model.tokenizer.ids(["word1", LONG], 8)] == [1, 1]


@pytest.mark.parametrize("mode", ["mean", "lasttoken"])
def test_an_adapter(folder: Folder, tmp_path: Path, mode: str) -> None:
    path, theirs = folder(mode, lora=True)
    model = check_equal(path, theirs)
    assert model.has_lora
    moved = tmp_path / "moved"
    (tmp_path / "base").rename(moved)
    with pytest.raises(UserError, match="base"):
        load(path, device="cpu")
    check_equal(path, theirs, base_model=moved)


def test_a_prompt_that_is_not_pooled(folder: Folder) -> None:
    """This tokenizer joins nothing, so that both ways of counting agree."""
    path, theirs = folder("mean", include_prompt=False, prompts={"query": "word5 word6 "})
    assert check_equal(path, theirs).recipe.pooled == "after_prompt"


def test_where_sentence_transformers_is_off_by_one(folder: Folder, tmp_path: Path) -> None:
    """A prompt that ends in a space has a last token "▁" alone, which the first word takes in in the joined text."""
    base = write_base(tmp_path / "base", initializer_range=0.1)
    write_joining_tokenizer(base)
    path, theirs = folder("mean", base=base, include_prompt=False, prompts={"query": "word5 word6 "})
    model = load(path, device="cpu", dtype="float32")
    texts = ["word1 word2 word3", "word4 word9"]
    tokens = read_texts(model.tokenizer, model.recipe, texts, ["word5 word6 "] * 2, 32)
    assert [list(places) for places in tokens.pooled] == [[3, 4, 5], [3, 4]]  # behind BOS and two of the prompt
    whole = Transformer(str(base))
    for row, text in zip(tokens.ids, texts, strict=True):
        states = whole.model(input_ids=torch.tensor([row])).last_hidden_state[0].detach().numpy()
        right, short_by_one = unit(states[3:].mean(axis=0)[None]), unit(states[4:].mean(axis=0)[None])
        assert np.abs(model.encode([text], "query") - right).max() <= 1e-5
        assert np.abs(theirs.encode_query([text]) - short_by_one).max() <= 1e-5
        assert np.abs(right - short_by_one).max() > 1e-2


def write_joining_tokenizer(directory: Path) -> None:
    """Write a tokenizer with BOS whose words begin with "▁", as those of Llama 2 and Mistral."""
    names = ["<unk>", "<s>", "</s>", "▁", *(f"▁{word}" for word in WORDS)]
    vocabulary = {token: index for index, token in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    fast.save_pretrained(str(directory))


def older(path: Path) -> None:
    """Write the folder's settings as sentence-transformers 3 did."""
    modules = json.loads((path / "modules.json").read_text())
    for entry in modules:
        entry["type"] = f"sentence_transformers.models.{entry['type'].rsplit('.', 1)[-1]}"
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12, "do_lower_case": False}))
    pooling = json.loads((path / "1_Pooling" / "config.json").read_text())
    names = {
        "mean": "pooling_mode_mean_tokens",
        "lasttoken": "pooling_mode_lasttoken",
        "cls": "pooling_mode_cls_token",
    }
    content = {"word_embedding_dimension": 32} | {key: mode == pooling["pooling_mode"] for mode, key in names.items()}
    (path / "1_Pooling" / "config.json").write_text(json.dumps(content))
    (path / "2_Normalize" / "config.json").unlink()


@pytest.mark.parametrize("mode", ["mean", "lasttoken", "cls"])
def test_older_formats(folder: Folder, mode: str) -> None:
    path, _ = folder(mode)
    older(path)
    model = check_equal(path, SentenceTransformer(str(path), device="cpu"))
    assert model.recipe.max_length == 12


def test_a_transformer_in_a_folder_of_its_own(folder: Folder, tmp_path: Path) -> None:
    path, theirs = folder("mean")
    inner = path / "0_Transformer"
    inner.mkdir()
    for file in list(path.iterdir()):
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(inner / file.name)
    modules = json.loads((path / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (path / "modules.json").write_text(json.dumps(modules))
    check_equal(path, theirs)


def test_it_becomes_an_adapter_directory_of_ours(folder: Folder, tmp_path: Path) -> None:
    path, theirs = folder("lasttoken", prompts={"query": "word5 "}, truncate_dim=12, lora=True)
    save(load(path, device="cpu", dtype="float32"), tmp_path / "ours")
    check_equal(tmp_path / "ours", theirs)


def change(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | values))


def add_dense(path: Path) -> None:
    modules = json.loads((path / "modules.json").read_text())
    dense = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.base.modules.dense.Dense"}
    (path / "modules.json").write_text(json.dumps([*modules, dense]))


def own_module(path: Path) -> None:
    modules = json.loads((path / "modules.json").read_text())
    modules[1]["type"] = "my_pooling.Pooling"
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "my_pooling.py").write_text("open('ran', 'w')\n")


def outside(path: Path) -> None:
    modules = json.loads((path / "modules.json").read_text())
    modules[1]["path"] = "../elsewhere"
    (path / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (add_dense, "Dense"),
        (own_module, "my_pooling.Pooling"),
        (outside, "../elsewhere"),
        (lambda path: change(path / "1_Pooling" / "config.json", pooling_mode=["mean", "max"]), r"mean \+ max"),
        (lambda path: change(path / "1_Pooling" / "config.json", pooling_mode="attention"), "attention"),
        (lambda path: change(path / "sentence_bert_config.json", do_lower_case=True), "do_lower_case"),
        (lambda path: change(path / "sentence_bert_config.json", config_args={"rope_theta": 1}), "rope_theta"),
        (lambda path: change(path / "sentence_bert_config.json", transformer_task="fill-mask"), "fill-mask"),
        (lambda path: change(path / "sentence_bert_config.json", document_length=12), "document_length"),
        (lambda path: change(path / "config_sentence_transformers.json", similarity_fn_name="manhattan"), "manhattan"),
        (lambda path: change(path / "config_sentence_transformers.json", similarity_fn_name="dot", truncate_dim=8), "dot"),
        (lambda path: change(path / "config.json", use_bidirectional_attention=True), "use_bidirectional_attention"),
        (lambda path: shutil.rmtree(path / "1_Pooling"), "1_Pooling"),
        (lambda path: (path / "modules.json").write_text("{"), "modules.json"),
        (lambda path: (path / "modules.json").write_text("[]"), "none"),
    ],
)
def test_what_cannot_be_said_is_refused(folder: Folder, damage: Callable[[Path], object], message: str) -> None:
    path, _ = folder("mean")
    damage(path)
    with pytest.raises(UserError, match=message):
        load(path, device="cpu")
    assert not Path("ran").exists() and not (path / "ran").exists()


def test_queries_with_a_length_of_their_own(folder: Folder) -> None:
    path, _ = folder("mean")
    change(path / "sentence_bert_config.json", query_length=9)
    model = check_equal(path, SentenceTransformer(str(path), device="cpu"))
    assert (model.recipe.query_max_length, model.recipe.max_length) == (9, 32)


TEMPLATE = "{% for message in messages %}word9 {{ message['content'] }} word8{% endfor %}"


def write_templated_base(directory: Path) -> Path:
    """Write a base LLM whose tokenizer has a chat template."""
    base = write_base(directory, initializer_range=0.1)
    change(base / "tokenizer_config.json", chat_template=TEMPLATE)
    return base


def test_texts_through_a_chat_template_are_refused(folder: Folder, tmp_path: Path) -> None:
    path, _ = folder("mean", base=write_templated_base(tmp_path / "templated"))
    with pytest.raises(UserError, match=r"'message'.*chat template.*--recipe"):
        load(path, device="cpu")
    published = tmp_path / "Qwen" / "Qwen3-Embedding-0.6B"  # its recipe says what stands around a text
    shutil.copytree(path, published)
    change(published / "1_Pooling" / "config.json", pooling_mode="lasttoken")
    assert load(published, device="cpu").design_name == "model1"


def test_an_older_folder_has_no_chat_template_in_its_texts(folder: Folder, tmp_path: Path) -> None:
    path, _ = folder("mean", base=write_templated_base(tmp_path / "templated"))
    older(path)
    theirs = SentenceTransformer(str(path), device="cpu")
    assert theirs.tokenizer.chat_template == TEMPLATE
    check_equal(path, theirs)


def test_a_bidirectional_window_is_not_lost(folder: Folder, tmp_path: Path) -> None:
    base = write_base(tmp_path / "windowed", initializer_range=0.1, is_causal=False, sliding_window=8)
    path, _ = folder("mean", base=base)
    with pytest.raises(UserError, match=r"a window of 8 tokens, and texts have up to 32.*max_seq_length 8"):
        load(path, device="cpu")
    change(path / "sentence_bert_config.json", max_seq_length=8)
    check_equal(path, SentenceTransformer(str(path), device="cpu"))


def test_a_name_that_servers_know_beside_is_causal(folder: Folder) -> None:
    path, theirs = folder("mean", bidirectional=True)
    change(path / "config.json", use_bidirectional_attention=True)
    assert check_equal(path, theirs).design_name == "bidirectional_mean"


def test_an_encoder_is_refused(tmp_path: Path, folder: Folder) -> None:
    base = write_base(tmp_path / "base")
    path, _ = folder("mean", base=base)
    for file in path.glob("*.safetensors"):
        file.unlink()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32, "vocab_size": 64}
    BertModel(BertConfig(**sizes)).save_pretrained(path)
    with pytest.raises(UserError):
        load(path, device="cpu")


def test_code_of_its_own_is_said(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """KaLM-Embedding v2 is bidirectional by code in its folder: read without it, it must not silently be causal."""
    path, theirs = folder("mean", bidirectional=True)
    config = json.loads((path / "config.json").read_text())
    del config["is_causal"]
    (path / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling.Model"}}))
    assert load(path, device="cpu").design_name == "causal_mean"
    assert "names code of its own, which is not run: it is read as causal_mean" in capsys.readouterr().err
    check_equal(path, theirs, design="bidirectional_mean")
    assert capsys.readouterr().err == ""


def test_another_design_than_the_folders_is_refused(folder: Folder) -> None:
    path, _ = folder("mean")
    assert load(path, device="cpu", design="bidirectional_mean").design_name == "bidirectional_mean"
    with pytest.raises(UserError, match="mean"):
        load(path, device="cpu", design="model1")
    with pytest.raises(UserError, match="leave base_model"):
        load(path, path, device="cpu")


def test_an_end_token_that_is_only_promised_is_named(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = folder("lasttoken")
    place = path / "tokenizer_config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"add_eos_token": True}))
    load(path, device="cpu")
    assert "add_eos_token" in capsys.readouterr().err


def test_marks_of_pieces_in_a_prompt_are_words(folder: Folder) -> None:
    path, theirs = folder("mean", prompts={"query": "Q {|x|} "})
    ours = load(path, device="cpu").encode(["word1"], "query")
    np.testing.assert_allclose(ours, theirs.encode(["word1"], prompt_name="query", normalize_embeddings=True), atol=1e-5)
