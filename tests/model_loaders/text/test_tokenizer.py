"""Every text ends with the pooled token, also after truncation; one renderer makes the strings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_loaders import UserError, load
from model_loaders.saving import save
from model_loaders.text.prompts import render
from model_loaders.text.recipe import Recipe
from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer
from tests.tiny import WORDS, new_model, write_tokenizer
from trainers.step.batch import TripletCollator

BOS, EOS = 1, 2
TEXTS = ["", "word1", "word1 </s>", "</s>", "<pad> word1", "word1 word2 word3", " ".join(WORDS), " ".join(["</s>"] * 40)]


def tokenizer_of(directory: Path, **options: Any) -> TextTokenizer:
    write_tokenizer(directory, **options)
    return TextTokenizer(load_tokenizer(directory))


@pytest.mark.parametrize("max_length", [2, 3, 5, 40, 512])
@pytest.mark.parametrize("pad", ["<pad>", "</s>", "<unk>", None])
@pytest.mark.parametrize("appends_eos", [False, True])
def test_the_last_attended_token_is_eos(tmp_path: Path, appends_eos: bool, pad: str | None, max_length: int) -> None:
    tokenizer = tokenizer_of(tmp_path, appends_eos=appends_eos, pad=pad)
    rows = tokenizer.ids(TEXTS, max_length)
    batch = tokenizer.pad(rows)
    for row, ids, mask in zip(rows, batch.input_ids.tolist(), batch.attention_mask.tolist(), strict=True):
        assert row[0] == BOS and row[-1] == EOS and len(row) <= max_length
        assert sum(mask) == len(row) and ids[: len(row)] == row and mask[: len(row)] == [1] * len(row)
    if max_length == 40:
        assert rows[5] == [BOS, 5, 6, 7, EOS], "EOS comes once"
        assert rows[6] == [BOS, *range(4, 42), EOS], "a long text loses its end"


@pytest.mark.parametrize("side", ["left", "right"])
def test_truncation_and_padding_in_the_files_do_not_act(tmp_path: Path, side: str) -> None:
    write_tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["truncation"] = {"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 16},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 3,
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }
    path.write_text(json.dumps(content))
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"truncation_side": side, "padding_side": side, "model_max_length": 4}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = TextTokenizer(load_tokenizer(tmp_path))
    assert tokenizer.ids(["word1 word2 word3 word4"], 64) == [[BOS, 5, 6, 7, 8, EOS]]
    assert tokenizer.ids(["word1 word2 word3 word4"], 4) == [[BOS, 5, 6, EOS]]


def test_a_tokenizer_without_eos_is_refused(make_base: Callable[..., Path], tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["eos_token"]
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r'no EOS token.*Set "eos_token"'):
        TextTokenizer(load_tokenizer(tmp_path))


@pytest.mark.parametrize("max_length", [1, 0, -5])
def test_a_length_without_room_for_a_text_is_refused(base: Path, max_length: int) -> None:
    with pytest.raises(UserError, match="at least 2 tokens"):
        new_model("model1", base).encode(["word1"], max_length=max_length)


def test_a_tokenizer_that_hides_the_end_token_is_noticed(tmp_path: Path) -> None:
    """Checked, not hoped for: a tokenizer that appends EOS to some texts only."""
    tokenizer = tokenizer_of(tmp_path, appends_eos=True)
    raw = tokenizer._raw

    def hiding(texts: Any, max_length: int | None) -> Any:
        rows, cut = raw(texts, max_length)
        return [row[:-1] if len(row) > 3 else row for row in rows], cut

    tokenizer._raw = hiding  # type: ignore[method-assign]
    with pytest.raises(UserError, match="do not end with the pooled token"):
        tokenizer.ids(["word1 word2"], 64)


def test_the_manifest_may_name_another_end_token(base: Path, tmp_path: Path) -> None:
    model = new_model("model1", base)
    model.tokenizer = TextTokenizer(model.tokenizer.tokenizer, end_token="<pad>")
    save(model, tmp_path)
    loaded = load(tmp_path, device="cpu")
    assert loaded.tokenizer.ids(["word1"], 64) == [[BOS, 5, 3]]
    content = json.loads((tmp_path / "embedder.json").read_text())
    (tmp_path / "embedder.json").write_text(json.dumps(content | {"end_token": "<stop>"}))
    with pytest.raises(UserError, match="does not know the end token '<stop>'"):
        load(tmp_path, device="cpu")


PROMPTS = [
    ("", "word1", "word1"),
    ("query: ", "word1", "query: word1"),
    ("query:", "word1", "query:word1"),
    ("Q {text} A", "word1", "Q word1 A"),
    ("Q {text} A", "a {text} b {0} {{x}} }{ %s \\1", "Q a {text} b {0} {{x}} }{ %s \\1 A"),
    ("{text}{text}", "x", "x{text}"),
    ("{instruction} {other}", "word1", "{instruction} {other}word1"),
    ("p ", "{text}", "p {text}"),
    ("p\n", " \tΓειά 你好 \n", "p\n \tΓειά 你好 \n"),
]


@pytest.mark.parametrize(("prompt", "text", "expected"), PROMPTS)
def test_prompts_are_rendered_to_the_byte(prompt: str, text: str, expected: str) -> None:
    assert render(text, prompt).encode() == expected.encode()


class Recorder:
    """Keeps the strings and lengths that would be tokenised."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.tokenizer, self.seen = tokenizer, []

    def ids(self, texts: list[str], max_length: int) -> list[list[int]]:
        return self.tokenise(texts, max_length)[0]

    def tokenise(self, texts: list[str], max_length: int) -> tuple[list[list[int]], list[bool]]:
        self.seen += [(text.encode(), max_length) for text in texts]
        return self.tokenizer.tokenise(texts, max_length)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


@pytest.mark.parametrize(("prompt", "text", "expected"), PROMPTS)
def test_training_and_encode_see_the_same_bytes(base: Path, prompt: str, text: str, expected: str) -> None:
    recipe = Recipe(query_prompt=prompt, document_prompt="d " + prompt, max_length=12, query_max_length=10)
    model = new_model("model1", base, recipe=recipe)
    collator = TripletCollator(Recorder(model.tokenizer), recipe)  # type: ignore[arg-type]
    trained = collator([{"query": text, "positive": text, "negatives": [text]}])
    model.tokenizer = Recorder(model.tokenizer)
    model.encode([text], "query")
    model.encode([text], "document")
    model.encode([text])
    assert model.tokenizer.seen == collator.tokenizer.seen
    assert model.tokenizer.seen[0] == (expected.encode(), 10)
    assert model.tokenizer.ids([expected], 10)[0] == trained.ids[0]

    model.tokenizer.seen.clear()
    model.encode([text], "document", prompt=prompt, max_length=9)
    assert model.tokenizer.seen == [(expected.encode(), 9)]


def test_an_unknown_role_is_refused(base: Path) -> None:
    with pytest.raises(UserError, match="'query' or 'document', not 'passage'"):
        new_model("model1", base).encode(["word1"], "passage")


@pytest.mark.parametrize("kind", ["Qwen2Tokenizer", "LlamaTokenizer"])
def test_a_folder_without_a_vocabulary_is_refused(tmp_path: Path, kind: str) -> None:
    """transformers makes a tokenizer of special tokens alone: every text would have one vector."""
    config = {"tokenizer_class": kind, "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>", "model_max_length": 64}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="has special tokens alone"):
        load_tokenizer(tmp_path)
