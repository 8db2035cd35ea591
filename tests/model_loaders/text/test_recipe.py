"""Which tokens a recipe reads, which it pools and what it cuts, on small tokenizers; expected values are written by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from common.errors import UserError
from model_loaders import load
from model_loaders.layouts.manifest import read_manifest
from model_loaders.saving import save
from model_loaders.text.named import named_recipe, recipe_names
from model_loaders.text.prompts import render
from model_loaders.text.recipe import Recipe
from model_loaders.text.render import Tokens, read_texts, rendered
from model_loaders.text.template import Part, parts
from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer
from tests.tiny import new_model, write_tokenizer
from trainers.step.batch import TripletCollator

BOS, EOS = 1, 2
WORD = 4  # id of word0
ODD_TEXTS = ["word1 word2", "", "日本語 🙂", " ", "word1 " * 40, "</s> word3", "word4\nword5"]
ROOM = 64


def character_tokenizer(folder: Path) -> TextTokenizer:
    """A byte-level tokenizer without BOS and EOS of its own: one token a byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(["<end>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)  # as Llama 3 and Qwen have it
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(str(folder))
    return TextTokenizer.of(load_tokenizer(folder), Recipe(end_token="none"))


@pytest.fixture
def words(tmp_path: Path) -> Any:
    write_tokenizer(tmp_path)
    return load_tokenizer(tmp_path)


def read(raw: Any, recipe: Recipe, text: str, prompt: str = "", max_length: int = ROOM) -> Tokens:
    return read_texts(TextTokenizer.of(raw, recipe), recipe, [text], [prompt], max_length)


def pooled(tokens: Tokens) -> list[int]:
    assert tokens.pooled is not None
    return list(tokens.pooled[0])


def test_parts_of_a_prompt() -> None:
    assert parts("a {text} b {text}") == [Part("words", "a "), Part("text"), Part("words", " b {text}")]
    several = parts("a {|b|}{text}c{text}", every=True, pieces=True)
    assert [part.kind for part in several] == ["words", "limited", "text", "words", "text"]
    assert render("x", "a{|b|} {text}-{text}", every=True, pieces=True) == "ab x-x"


@pytest.mark.parametrize(
    ("end_token", "appends", "expected"),
    [
        ("eos", False, [BOS, WORD, EOS]),
        ("eos", True, [BOS, WORD, EOS]),
        ("none", False, [BOS, WORD]),
        ("none", True, [BOS, WORD]),
        ("tokenizer", True, [BOS, WORD, EOS]),
        ("tokenizer", False, [BOS, WORD, EOS]),
        ("<pad>", True, [BOS, WORD, 3]),
        ("word7", False, [BOS, WORD, WORD + 7]),
    ],
)
def test_the_end_token_is_the_recipes(tmp_path: Path, end_token: str, appends: bool, expected: list[int]) -> None:
    write_tokenizer(tmp_path, appends_eos=appends)
    assert read(load_tokenizer(tmp_path), Recipe(end_token=end_token), "word0").ids == [expected]


def test_bos_is_the_recipes(words: Any) -> None:
    assert read(words, Recipe(bos_token="none"), "word0").ids == [[WORD, EOS]]
    assert read(words, Recipe(bos_token="word9"), "word0").ids == [[WORD + 9, WORD, EOS]]
    with pytest.raises(UserError, match="does not know the BOS token '<start>'"):
        read(words, Recipe(bos_token="<start>"), "word0")


PROMPT = "word8 word9 {text} word7"  # BOS, 8, 9, text, 7, EOS


@pytest.mark.parametrize(
    ("kind", "prompt", "expected"),
    [
        ("text", PROMPT, [3, 4]),
        ("text_and_end", PROMPT, [3, 4, 6]),
        ("after_prompt", PROMPT, [3, 4, 5, 6]),
        ("all", PROMPT, [0, 1, 2, 3, 4, 5, 6]),
        ("text", "", [1, 2]),
        ("text_and_end", "", [1, 2, 3]),
        ("after_prompt", "", [0, 1, 2, 3]),  # without a prompt nothing is hidden, BOS neither
        ("text", "{text} word3 {text}", [4, 5]),
        ("after_prompt", "{text} word3 {text}", [4, 5, 6]),
    ],
)
@pytest.mark.parametrize("pieces", [False, True])
def test_what_is_pooled(words: Any, kind: Any, prompt: str, expected: list[int], pieces: bool) -> None:
    recipe = Recipe(pooled=kind, truncation="text", pieces=pieces)
    assert pooled(read(words, recipe, "word0 word1", prompt)) == expected


def test_a_character_is_text_wherever_the_tokenizer_puts_its_offsets(tmp_path: Path) -> None:
    tokenizer = character_tokenizer(tmp_path)
    recipe = Recipe(end_token="none", pooled="text", truncation="text")
    for text in (" a", "日本", "🙂", "a ", "\n", "aé"):
        tokens = read_texts(tokenizer, recipe, [text], ["p: {text}!"], ROOM)
        size = len(text.encode())
        assert list(tokens.pooled[0]) == list(range(3, 3 + size)), text  # type: ignore[index]
        assert len(tokens.ids[0]) == 3 + size + 1


@pytest.mark.parametrize("pieces", [False, True])
def test_the_text_is_cut_and_the_template_stays(words: Any, pieces: bool) -> None:
    recipe = Recipe(pooled="text", truncation="text", pieces=pieces)
    text = " ".join(f"word{number}" for number in range(20))
    tokens = read(words, recipe, text, PROMPT, max_length=9)
    assert tokens.ids == [[BOS, WORD + 8, WORD + 9, *range(WORD, WORD + 4), WORD + 7, EOS]]
    assert tokens.cut == [True] and pooled(tokens) == [3, 4, 5, 6]
    twice = read(words, recipe, text, "{text} word30 {text} word31", max_length=11)
    copy = [WORD, WORD + 1, WORD + 2]
    assert twice.ids == [[BOS, *copy, WORD + 30, *copy, WORD + 31, EOS]]  # one token is left over: copies are alike
    assert pooled(twice) == [5, 6, 7]


def test_the_text_alone_may_have_a_limit(words: Any) -> None:
    recipe = Recipe(truncation="text", text_max_length=2)
    tokens = read(words, recipe, "word0 word1 word2", PROMPT)
    assert tokens.ids == [[BOS, WORD + 8, WORD + 9, WORD, WORD + 1, WORD + 7, EOS]] and tokens.cut == [True]
    pieces = replace(recipe, pieces=True)
    marked = read(words, pieces, "word0 word1 word2", "word8 {|word9 word9 word9|}{text}")
    assert marked.ids == [[BOS, WORD + 8, WORD + 9, WORD + 9, WORD, WORD + 1, EOS]]
    assert not read(words, recipe, "word0 word1", PROMPT).cut[0]


def test_a_character_of_several_tokens_is_cut_whole(tmp_path: Path) -> None:
    tokenizer = character_tokenizer(tmp_path)
    recipe = Recipe(end_token="none", truncation="text", text_max_length=4)
    tokens = read_texts(tokenizer, recipe, ["日本"], [""], ROOM)
    assert len(tokens.ids[0]) == 3 and tokens.cut == [True]


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(truncation="text"), Recipe(truncation="text", pieces=True)])
def test_a_prompt_that_leaves_no_room_is_an_error_with_the_lengths(words: Any, recipe: Recipe) -> None:
    prompt = "word1 word2 word3 word4 word5 {text}"
    assert len(read(words, recipe, "word0 word9", prompt, max_length=8).ids[0]) == 8
    with pytest.raises(UserError, match=r"leaves no room for the text: .* has 7 tokens, and the maximum length is 7"):
        read(words, recipe, "word0 word9", prompt, max_length=7)


def test_edits_of_the_text(words: Any) -> None:
    recipe = Recipe(truncation="text", text_edits=("full_stop", "single_quotes", "no_question_mark"))
    texts = {'say "no"': "say 'no'.", "who?": "who.", "done.": "done.", "": "", 'a"': "a'", "a": "a."}
    from model_loaders.text.render import rendered

    for text, expected in texts.items():
        if text == 'say "no"':
            expected = "say 'no'"  # it ends in a quotation mark, so that no full stop is added
        assert rendered(text, "<{text}>", recipe) == f"<{expected}>"


def test_no_text_is_without_a_vector(words: Any, tmp_path: Path) -> None:
    recipe = Recipe(pooled="text", truncation="text")
    tokenizer = TextTokenizer.of(words, recipe)
    tokens = read_texts(tokenizer, recipe, ["", "word1"], ["word8 {text}"] * 2, ROOM)
    assert tokens.pooled is not None and list(tokens.pooled[0]) == []
    batch = tokenizer.pad(tokens.ids, tokens.pooled)
    assert batch.pool_mask.tolist() == [[1, 1, 1, 0], [0, 0, 1, 0]]  # all tokens of the empty text
    bare = character_tokenizer(tmp_path / "characters")
    assert read_texts(bare, Recipe(end_token="none"), [""], [""], ROOM).ids == [[0]]


@pytest.mark.parametrize("field", ["pooled", "truncation", "text_edits", "end_token", "dimensions", "text_max_length"])
def test_a_wrong_value_is_named(field: str) -> None:
    values: dict[str, Any] = {"text_edits": ("bold",), "end_token": "", "dimensions": 0, "text_max_length": 0}
    with pytest.raises(UserError, match=field):
        Recipe(**{field: values.get(field, "some")})


TOKEN_FIELDS = (
    {"end_token": "none"},
    {"bos_token": "none"},
    {"pooled": "text"},
    {"text_max_length": 4},
    {"text_edits": ("strip",)},
)


@pytest.mark.parametrize("changed", TOKEN_FIELDS)
def test_truncation_on_the_right_is_refused_where_the_text_alone_is_cut(changed: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"truncation: right goes with .*, and {next(iter(changed))} differs"):
        Recipe(truncation="right", **changed)
    assert Recipe(**changed).cuts == Recipe(truncation="text", **changed).cuts == "text"
    written = {name: list(value) if isinstance(value, tuple) else value for name, value in changed.items()}
    content = {"design": "model1", "summary": "s", "source": "s", "truncation": "right", **written}
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"odd.yaml: truncation: right"):
        named_recipe(str(tmp_path / "odd.yaml"))


def test_truncation_on_the_right_is_the_default_of_a_plain_recipe() -> None:
    said = Recipe(truncation="right")
    assert said.is_plain and said.cuts == Recipe().cuts == "right" and said.facts() == Recipe().facts()


def test_marks_of_pieces_are_words_elsewhere(tmp_path: Path) -> None:
    tokenizer = character_tokenizer(tmp_path)
    for recipe in (Recipe(), Recipe(end_token="none"), Recipe(pooled="text"), Recipe(truncation="text")):
        ids = read_texts(tokenizer, recipe, ["b"], ["{|a|} {|"], ROOM).ids[0]
        assert tokenizer.tokenizer.decode(ids, skip_special_tokens=True) == "{|a|} {|b"
        assert rendered("b", "{|a|} {|", recipe) == "{|a|} {|b"


def test_marks_of_pieces_are_checked() -> None:
    for prompt in ("{|word5", "word5|}", "{|a{|b|}", "{|a|}b|}"):
        with pytest.raises(UserError, match="stands without the other"):
            parts(prompt, every=True, pieces=True)
    echo = named_recipe("echo").recipe
    assert "{|Find it,|}" in echo.instructed("Find it", "query")
    with pytest.raises(UserError, match="which are marks in a recipe of pieces"):
        echo.instructed("Find |} it", "query")


def test_several_texts_in_a_template_need_a_recipe_that_reads_them() -> None:
    template = "{instruction} {text} {text}"
    with pytest.raises(UserError, match="truncation: text"):
        Recipe(prompt_template=template)
    recipe = Recipe(prompt_template=template, truncation="text", query_prompt="q ", instruct_documents=False)
    assert recipe.instructed("Find it", "query") == "Find it {text} {text}"
    assert recipe.instructed("", "query") == "q " and recipe.instructed("Find it", "document") == ""


def test_defaults_leave_hash_and_manifest_as_they_were(base: Path, tmp_path: Path) -> None:
    older = ["document_prompt", "max_length", "query_max_length", "query_prompt", "unpooled_token_ids"]
    assert sorted(Recipe().facts()) == older
    assert sorted(Recipe(pooled="text", dimensions=4).facts()) == sorted([*older, "pooled", "dimensions"])
    model = new_model("causal_mean", base, recipe=Recipe())
    versions = {model.version}
    for changed in ({"end_token": "none"}, {"pooled": "text"}, {"truncation": "text"}, {"dimensions": 8}):
        versions.add(new_model("causal_mean", base, recipe=Recipe(**changed)).version)
    assert len(versions) == 5
    save(model, tmp_path)
    assert "end_token" not in json.loads((tmp_path / "embedder.json").read_text())["recipe"]


def test_an_adapter_keeps_its_recipe(base: Path, tmp_path: Path) -> None:
    recipe = replace(named_recipe("echo").recipe, dimensions=8, max_length=90)
    model = new_model("causal_mean", base, recipe=recipe)
    save(model, tmp_path)
    assert read_manifest(tmp_path).recipe == recipe
    loaded = load(tmp_path, device="cpu")
    assert loaded.recipe == recipe and loaded.version == model.version and loaded.dim == 8
    texts = ["word1 word2", "word3"]
    assert np.array_equal(loaded.encode(texts, "query"), model.encode(texts, "query"))
    for end_token, saved in (("none", ""), ("word7", "word7")):
        model = new_model("causal_mean", base, recipe=Recipe(end_token=end_token))
        save(model, tmp_path / saved)
        loaded = load(tmp_path / saved, device="cpu")
        assert loaded.tokenizer.end_token == saved and loaded.version == model.version


@pytest.mark.parametrize("name", recipe_names())
def test_a_vector_depends_on_the_text_alone(name: str, base: Path) -> None:
    named = named_recipe(name)
    model = new_model(named.design, base, lora=None, recipe=named.recipe)
    prompt = named.recipe.instructed("word40 word41", "query")
    for options in ({"role": "query", "prompt": prompt}, {"role": "document"}):
        alone = np.concatenate([model.encode([text], **options) for text in ODD_TEXTS])
        together = model.encode(ODD_TEXTS[::-1], batch_tokens=10**6, **options)[::-1]
        assert np.isfinite(alone).all()
        assert ((alone * together).sum(axis=1) >= 0.99999).all()


@pytest.mark.parametrize("name", recipe_names())
def test_padding_on_the_left_changes_nothing(name: str, base: Path) -> None:
    named = named_recipe(name)
    model = new_model(named.design, base, lora=None, recipe=named.recipe).eval()
    prompts = [named.recipe.prompt("query")] * len(ODD_TEXTS)
    tokens = read_texts(model.tokenizer, named.recipe, ODD_TEXTS, prompts, ROOM * 4)
    right = model.tokenizer.pad(tokens.ids, tokens.pooled)
    lengths = right.attention_mask.sum(dim=1).tolist()  # type: ignore[union-attr]
    left = [torch.stack([row.roll(-length) for row, length in zip(part, lengths, strict=True)])
            for part in (right.input_ids, right.attention_mask, right.pool_mask)]  # fmt: skip
    with torch.no_grad():
        expected = model(right.input_ids, right.attention_mask, right.pool_mask)
        found = model(*left)
    assert float((expected * found).sum(dim=1).min()) >= 0.99999


@pytest.mark.parametrize("name", recipe_names())
def test_training_reads_what_serving_reads(name: str, base: Path) -> None:
    named = named_recipe(name)
    model = new_model(named.design, base, lora=None, recipe=named.recipe).eval()
    row = {"query": "word1 word2", "positive": "word3", "negatives": ["word4", ""]}
    batch = TripletCollator(model.tokenizer, named.recipe)([row])
    padded = model.tokenizer.pad(batch.ids, batch.pooled)
    with torch.no_grad():
        trained = model(padded.input_ids, padded.attention_mask, padded.pool_mask).numpy()
    served = np.concatenate([model.encode(["word1 word2"], "query"), model.encode(["word3", "word4", ""], "document")])
    assert np.abs(trained - served).max() < 1e-5


def test_dimensions_of_encode(base: Path) -> None:
    model = new_model("model1", base)
    whole, short = model.encode(["word1"]), model.encode(["word1"], dimensions=8)
    expected = whole[:, :8] / np.linalg.norm(whole[:, :8])
    assert short.shape == (1, 8) and np.abs(short - expected).max() < 1e-6
    with pytest.raises(UserError, match="dimensions is 33; the vectors have 32"):
        model.encode(["word1"], dimensions=33)
    with pytest.raises(UserError, match="keeps 33 numbers"):
        new_model("model1", base, recipe=Recipe(dimensions=33))
