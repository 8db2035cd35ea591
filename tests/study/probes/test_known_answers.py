"""Probes on encoders of which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import UserError
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
    Probed,
    WordEncoder,
    bag_of_words,
    constant,
    encode_here,
    first_sentence,
    last_sentence,
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
    assert holds(estimate(result, "gain, mean of all places"), 1 / 17**0.5, 0.02)


def test_a_copy_of_the_last_sentence_has_full_recency() -> None:
    result = position(last_sentence(), CORPUS, 24, 1)
    assert holds(estimate(result, "recency (end − middle)"), 1.0, 0.02)
    assert holds(estimate(result, "primacy (beginning − middle)"), 0.0)


def test_a_copy_of_the_first_sentence_has_full_primacy() -> None:
    result = position(first_sentence(), CORPUS, 24, 1)
    assert holds(estimate(result, "primacy (beginning − middle)"), 1.0, 0.02)
    assert holds(estimate(result, "recency (end − middle)"), 0.0)


def test_a_mean_of_sentences_loses_half_its_margin_at_three_fillers() -> None:
    result = dilution(bag_of_words(), made_corpus(texts=60, sentences=10), 24, 1)
    half = estimate(result, "fillers at which half the margin is gone")
    assert holds(half, 3.0, 0.1) and half.value == pytest.approx(3.0, abs=0.2)
    curve = result.panels[0].curves[0]
    for sentences, margin in zip(curve.x, curve.estimates, strict=True):
        assert holds(margin, sentences**-0.5, 0.02)


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
    assert 0.8 < sensitivity.low <= sensitivity.high < 1.0  # one word in eight keeps its place


def test_unrelated_texts_of_a_bag_of_words_have_nothing_in_common() -> None:
    result = geometry(bag_of_words(), CORPUS, 60, 1)
    assert holds(estimate(result, "similarity of unrelated texts"), 0.0, 1e-3)
    assert estimate(result, "effective rank").value > 55
    for at_length in result.panels[0].curves[0].estimates:
        assert holds(at_length, 0.0, 1e-3)


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


def test_a_corpus_that_is_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="20 are the fewest"):
        position(bag_of_words(), made_corpus(texts=10), 40, 1)
