"""Probes on encoders of which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import UserError
from evaluation.encode.vector_store import Shard
from study.probes.kinds.compression import compression, quantised
from study.probes.kinds.dilution import dilution, half_length
from study.probes.kinds.geometry import effective_rank, geometry, neighbour_counts, skewness
from study.probes.kinds.layers import cka, gram
from study.probes.kinds.position import position
from study.probes.kinds.word_order import word_order
from study.probes.matching import mean_similarity, reciprocal_ranks
from study.probes.result import Estimate, ProbeResult
from tests.study.probes.encoders import (
    DIM,
    WORDS,
    Probed,
    WordEncoder,
    bag_of_words,
    constant,
    direction,
    encode_here,
    first_sentence,
    last_sentence,
    last_words,
    made_corpus,
)

SLACK = 1e-6  # of float32 vectors
NOISE = 4 / DIM**0.5  # cosine of two random directions
CORPUS = made_corpus()


def estimate(result: ProbeResult, name: str) -> Estimate:
    (figure,) = (figure for figure in result.figures if figure.name == name)
    return figure.estimate


def holds(interval: Estimate, value: float, slack: float = SLACK) -> bool:
    own = interval.low - slack <= interval.value <= interval.high + slack
    return own and interval.low - slack <= value <= interval.high + slack


def test_a_bag_of_words_has_no_place() -> None:
    result = position(bag_of_words(), CORPUS, 24, 1)
    assert result.texts == 24
    assert holds(estimate(result, "recency (end − middle)"), 0.0)
    assert holds(estimate(result, "primacy (beginning − middle)"), 0.0)
    alone, whole = 1 + WORDS, 1 + 17 * WORDS  # words, of which `LEAD` is one
    assert holds(estimate(result, "share kept, mean of all places"), (alone / whole) ** 0.5, 0.02)


def test_a_copy_of_the_last_sentence_has_full_recency() -> None:
    result = position(last_sentence(), CORPUS, 24, 1)
    assert holds(estimate(result, "recency (end − middle)"), 1.0, 0.02)
    assert holds(estimate(result, "primacy (beginning − middle)"), 0.0)


def test_a_copy_of_the_first_sentence_has_full_primacy() -> None:
    result = position(first_sentence(), CORPUS, 24, 1)
    assert holds(estimate(result, "primacy (beginning − middle)"), 1.0, 0.02)
    assert holds(estimate(result, "recency (end − middle)"), 0.0)


@pytest.mark.parametrize("common", [0.0, 1.0, 3.0])
def test_a_direction_that_all_texts_share_does_not_hide_recency(common: float) -> None:
    """At 3 two unrelated texts have a cosine of 0.9, and a raw gain of a perfect copy would be 0.1."""

    class Shared(WordEncoder):
        def encode(self, texts: list[str], role: str = "document", **options: object) -> np.ndarray:
            vectors = super().encode(texts, role) + common * direction("shared")
            return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    result = position(Probed(encode_here(Shared(last_words(WORDS)))), CORPUS, 24, 1)
    assert holds(estimate(result, "recency (end − middle)"), 1.0, 0.03)


class FirstWordApart(WordEncoder):
    """A bag of tokens, as byte-level BPE makes them: a word at the beginning of a text is another token than behind a space."""

    def encode(self, texts: list[str], role: str = "document", **options: object) -> np.ndarray:
        return super().encode([f"^{text}" for text in texts], role)


def test_a_bag_of_tokens_has_no_place_and_no_order_either() -> None:
    tokens = Probed(encode_here(FirstWordApart(lambda words: np.ones(words))))
    result = position(tokens, CORPUS, 24, 1)
    assert holds(estimate(result, "recency (end − middle)"), 0.0)
    assert holds(estimate(result, "primacy (beginning − middle)"), 0.0)
    assert holds(estimate(word_order(tokens, CORPUS, 24, 1), "order sensitivity (shuffle : other sentence)"), 0.0)


def test_vectors_without_any_similarity_have_no_place_and_no_length() -> None:
    """No share of nothing, and no praise for keeping all of nothing."""
    placed, diluted = position(constant(), CORPUS, 24, 1), dilution(constant(), CORPUS, 24, 1)
    assert placed.figures[0].shown() == "the sentence alone is no nearer to its query than others"
    assert diluted.figures[0].shown() == "there is no margin to begin with"


def test_a_mean_of_sentences_loses_half_its_margin_at_three_fillers() -> None:
    result = dilution(bag_of_words(), made_corpus(texts=60, sentences=10), 24, 1)
    half = estimate(result, "fillers at which half the margin is gone")
    gone = (4 * (WORDS + 1) - 1) / WORDS - 1  # 3.4: without `LEAD` it would be 3
    assert holds(half, gone, 0.15) and half.value == pytest.approx(gone, abs=0.2)
    curve = result.panels[0].curves[0]
    for sentences, margin in zip(curve.x, curve.estimates, strict=True):
        assert holds(margin, (WORDS / (WORDS * sentences + 1)) ** 0.5, 0.02)


def test_the_margin_of_a_copied_sentence_is_gone_at_once() -> None:
    result = dilution(last_sentence(), CORPUS, 24, 1)
    assert 0 < estimate(result, "fillers at which half the margin is gone").value < 2
    assert holds(estimate(result, "margin with 64 fillers"), 0.0, NOISE)


def test_half_length_of_known_margins() -> None:
    assert half_length(np.array([1.0, 0.9, 0.8]), [0, 1, 2]) == np.inf
    assert half_length(np.array([1.0, 0.0]), [0, 1]) == pytest.approx(2**0.5 - 1)
    assert np.isnan(half_length(np.array([0.0, 0.0]), [0, 1]))


def test_a_bag_of_words_has_no_word_order() -> None:
    result = word_order(bag_of_words(), CORPUS, 24, 1)
    assert holds(estimate(result, "order sensitivity (shuffle : other sentence)"), 0.0)
    assert holds(estimate(result, "similarity with roles swapped"), 1.0)
    assert holds(estimate(result, "passive nearer than swapped roles"), 0.0)


def test_an_encoder_of_places_sees_word_order() -> None:
    """Each word at each place has a direction of its own, so that another order is another text."""

    class Placed(WordEncoder):
        def encode(self, texts: list[str], role: str = "document", **options: object) -> np.ndarray:
            return super().encode([" ".join(f"{k}:{word}" for k, word in enumerate(text.split())) for text in texts])

    result = word_order(Probed(encode_here(Placed(lambda words: np.ones(words)))), CORPUS, 24, 1)
    sensitivity = estimate(result, "order sensitivity (shuffle : other sentence)")
    assert holds(sensitivity, 0.75, 0.02)  # of eight words the first keeps its place, and one of the others by chance
    assert sensitivity.low > 0.6


def test_unrelated_texts_of_a_bag_of_words_have_nothing_in_common() -> None:
    result = geometry(bag_of_words(), CORPUS, 60, 1)
    assert holds(estimate(result, "similarity of unrelated texts"), 0.0, 1e-3)
    assert estimate(result, "effective rank").value > 55
    for at_length in result.panels[0].curves[0].estimates:
        assert holds(at_length, 0.0, 1e-3)


def test_a_topic_of_a_text_makes_no_two_made_texts_alike() -> None:
    """Sentences of one text share two words of eight; made texts have no text in common, at any length."""
    corpus = made_corpus(texts=400, topic=True)
    curve = geometry(bag_of_words(), corpus, 24, 1).panels[0].curves[0]
    assert curve.x == (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
    for at_length in curve.estimates:
        assert holds(at_length, 0.0, 2e-3)


def test_constant_vectors_are_told() -> None:
    corpus = made_corpus()
    result = geometry(constant(), corpus, 60, 1)
    assert holds(estimate(result, "similarity of unrelated texts"), 1.0)
    assert holds(estimate(result, "uniformity (lower: more even)"), 0.0)
    assert holds(estimate(result, "alignment of halves (lower: nearer)"), 0.0)
    assert holds(estimate(result, "effective rank"), 1.0)
    score = compression(constant(), corpus, 60, 1)
    assert holds(estimate(score, "score, 64 dimensions of 32 bits"), 1 / 30.5)


def test_one_text_near_all_others_is_a_hub() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((60, 30))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    even = skewness(neighbour_counts(vectors))
    vectors[0] = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))
    counts = neighbour_counts(vectors)
    assert counts[0] == counts.max() and skewness(counts) > even


def test_effective_rank_counts_directions() -> None:
    assert effective_rank(np.tile(np.eye(7), (3, 1))) == pytest.approx(7.0)
    assert mean_similarity(np.eye(4)) == pytest.approx(0.0)


def test_a_score_that_lives_in_few_numbers_is_kept() -> None:
    """Sixteen signs say everything: fewer than sixteen dimensions lose, one bit a number loses nothing."""

    class Signs:
        def encode(self, texts: list[str], role: str = "document", **options: object) -> np.ndarray:
            topic = [int(next(word for word in text.split() if word.startswith("topic"))[5:-1]) for text in texts]
            draws = [np.random.default_rng(number).choice([-1.0, 1.0], 16) for number in topic]
            vectors = np.concatenate([np.stack(draws), np.zeros((len(texts), 48))], axis=1)
            return (vectors / 4).astype(np.float32)

    result = compression(Probed(encode_here(Signs())), made_corpus(topic=True), 60, 1)
    assert holds(estimate(result, "score, 16 dimensions"), 1.0)
    assert estimate(result, "score, 8 dimensions").high < 1.0
    for bits in (8, 4, 2, 1):
        assert holds(estimate(result, f"score, {bits} bits"), 1.0)


def test_quantised_numbers_are_the_nearest_level() -> None:
    vectors = np.array([[0.0, -1.0], [0.4, 0.2], [1.0, 1.0]])
    low, high = vectors.min(axis=0), vectors.max(axis=0)
    assert np.abs(quantised(vectors, 8, low, high) - vectors).max() <= 2 / 255 / 2 + 1e-12
    assert quantised(vectors, 2, low, high)[1].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert quantised(vectors, 1, low, high)[1].tolist() == [1.0, 1.0]


def test_ranks_of_ties_are_shared() -> None:
    assert reciprocal_ranks(np.ones((3, 2)), np.ones((3, 2))).tolist() == [0.5] * 3


def test_layers_that_are_rotated_are_the_same_and_unrelated_ones_are_not() -> None:
    generator = np.random.default_rng(0)
    states = generator.standard_normal((80, 40))
    rotation, _ = np.linalg.qr(generator.standard_normal((40, 40)))
    assert cka(gram(states), gram(5 * states @ rotation)) == pytest.approx(1.0)
    assert abs(cka(gram(states), gram(generator.standard_normal((80, 40))))) < 0.1


def test_a_cut_shuffle_is_left_out() -> None:
    """Where six words fit, no sentence of eight can be compared with its shuffle."""
    encoder = WordEncoder(lambda words: np.ones(words))

    def encode(texts: list[str], role: str, prompt: str | None, max_length: int | None) -> Shard:
        vectors = encoder.encode([" ".join(text.split()[:6]) for text in texts])
        return Shard(vectors, cut=np.array([len(text.split()) > 6 for text in texts]))

    with pytest.raises(UserError, match="0 of 24 sentences can be shuffled and are not cut"):
        word_order(Probed(encode), CORPUS, 24, 1)


def test_a_corpus_that_is_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="20 are the fewest"):
        position(bag_of_words(), made_corpus(texts=10), 40, 1)
