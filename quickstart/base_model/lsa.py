"""Latent semantic analysis (Deerwester et al. 1990): vectors that are near for tokens of the same passages.

scikit-learn's truncated SVD would give the same subspace, but other bits (another start, other normalisations between the
iterations), and the shipped base was made with these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

FloatArray = npt.NDArray[np.float32]
PASSAGE_TOKENS = 64


def count_matrix(texts: Sequence[npt.NDArray[np.uint16]], vocabulary_size: int) -> sp.csr_matrix:
    """Return token counts ``(passages, vocabulary)`` of texts cut into passages of 64 tokens."""
    passages = []
    for ids in texts:
        passages += [ids[start : start + PASSAGE_TOKENS] for start in range(0, len(ids), PASSAGE_TOKENS)]
    rows = np.repeat(np.arange(len(passages)), list(map(len, passages)))
    columns = np.concatenate(passages).astype(np.int64)
    counts = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(passages), vocabulary_size))
    counts.sum_duplicates()
    return counts


def inverse_document_frequency(counts: sp.csr_matrix) -> FloatArray:
    """Return ``log((passages + 1) / (passages with the token + 1))`` of each token ``(vocabulary,)``."""
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    return np.asarray(np.log((counts.shape[0] + 1) / (frequency + 1)), dtype=np.float32)


def token_vectors(counts: sp.csr_matrix, dimensions: int, seed: int = 0, iterations: int = 12) -> FloatArray:
    """Return the leading right singular vectors of the tf-idf matrix, one unit row a token ``(vocabulary, dimensions)``.

    Subspace iteration on the Gram matrix ``(vocabulary, vocabulary)``, which is small whatever the corpus.
    """
    idf = inverse_document_frequency(counts)
    weights = counts.copy()
    weights.data = 1 + np.log(weights.data)
    weights = weights @ sp.diags(idf)
    lengths = np.sqrt(np.asarray(weights.multiply(weights).sum(axis=1)).ravel())
    weights = sp.diags((1 / np.maximum(lengths, 1e-9)).astype(np.float32)) @ weights
    gram = (weights.T @ weights).toarray().astype(np.float32)
    basis = np.random.default_rng(seed).standard_normal((gram.shape[0], dimensions + 16)).astype(np.float32)
    for _ in range(iterations):
        basis, _ = np.linalg.qr(gram @ basis)
    values, rotation = np.linalg.eigh(basis.T @ gram @ basis)
    order = np.argsort(values)[::-1][:dimensions]
    vectors = (basis @ rotation[:, order]).astype(np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-9), dtype=np.float32)
