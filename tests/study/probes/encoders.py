"""Encoders of which it is known what they notice, and corpora."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import numpy as np

from evaluation.encode.sharded_encoder import encode_here
from study.probes.encoder import Probed
from study.probes.texts import Corpus, make_corpus

DIM = 2048  # random directions are nearly at right angles


def direction(word: str) -> np.ndarray:
    """A random direction that the word alone decides; of length 1."""
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(DIM)
    return vector / np.linalg.norm(vector)


class WordEncoder:
    """Words have directions; ``weigh`` says how much the words of a text count."""

    def __init__(self, weigh: Callable[[int], np.ndarray]) -> None:
        self.weigh = weigh
        self.known: dict[str, np.ndarray] = {}

    def encode(self, texts: list[str], role: str = "document", **options: object) -> np.ndarray:
        vectors = np.zeros((len(texts), DIM), dtype=np.float64)
        for row, text in enumerate(texts):
            words = text.lower().split()
            for word, weight in zip(words, self.weigh(len(words)), strict=True):
                if word not in self.known:
                    self.known[word] = direction(word)
                vectors[row] += weight * self.known[word]
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def last_words(count: int) -> Callable[[int], np.ndarray]:
    """Only so many words at the end count."""
    return lambda words: (np.arange(words) >= words - count).astype(float)


def bag_of_words() -> Probed:
    """Every word counts the same, wherever it stands."""
    return Probed(encode_here(WordEncoder(lambda words: np.ones(words))))


def last_sentence() -> Probed:
    """Only the last sentence of `made_corpus` counts: as a model that copies what its last token saw last."""
    return Probed(encode_here(WordEncoder(last_words(WORDS))))


def first_sentence() -> Probed:
    """Only the first sentence of `made_corpus` counts."""
    return Probed(encode_here(WordEncoder(lambda words: (np.arange(words) < WORDS).astype(float))))


def constant() -> Probed:
    """All texts have one vector."""

    class Constant:
        def encode(self, texts: list[str], role: str = "document", **options: object) -> np.ndarray:
            return np.tile(np.eye(1, 64, dtype=np.float32), (len(texts), 1))

    return Probed(encode_here(Constant()))


WORDS = 8  # of each sentence of the made corpus


def made_corpus(texts: int = 60, sentences: int = 8, *, topic: bool = False) -> Corpus:
    """Sentences of eight words that no other sentence has; with ``topic`` each text repeats two words of its own."""
    draw = random.Random(0)
    made = []
    for text in range(texts):
        lines = []
        for sentence in range(sentences):
            words = [f"w{text}x{sentence}x{word}" for word in range(WORDS)]
            if topic:
                words[:2] = [f"topic{text}a", f"topic{text}b"]
            draw.shuffle(words)
            lines.append(" ".join(words) + " .")
        made.append("\n".join(line.removesuffix(" .") for line in lines))
    return make_corpus(made)
