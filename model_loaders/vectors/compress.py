"""Vectors with fewer numbers and fewer bits, as sentence-transformers' ``quantize_embeddings`` makes them.

``int8`` and ``uint8`` cut the range of each number into 256 steps. ``binary`` and ``ubinary`` keep the sign of each number,
eight of them in a byte.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Literal, TypedDict, get_args

import numpy as np

from common.errors import UserError, nearest

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
STEPS = 255
FEW = 100  # vectors below which ranges that are taken from them say little


class Compression(TypedDict, total=False):
    """Options of ``EmbedModel.encode``.

    Attributes:
        precision: of ``PRECISIONS``.
        ranges: as ``compress`` takes them.
    """

    precision: Precision
    ranges: np.ndarray | None


def check_options(options: Mapping[str, object]) -> None:
    """Raise an error unless these are options of ``Compression`` with a known precision."""
    unknown = sorted(set(options) - set(Compression.__annotations__))
    if unknown:
        raise TypeError(f"encode() got an unexpected keyword argument {unknown[0]!r}")
    check_precision(str(options.get("precision", "float32")))


def check_precision(precision: str) -> None:
    """Raise a UserError unless ``precision`` is one of ``PRECISIONS``."""
    if precision not in PRECISIONS:
        hint = nearest(precision, PRECISIONS)
        raise UserError(f"there is no precision {precision!r}{hint}; choose one of: {', '.join(PRECISIONS)}")


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale the rows of a float32 array ``(texts, numbers)`` to unit length."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
    return scaled


def ranges_of(vectors: np.ndarray) -> np.ndarray:
    """Return the smallest and the largest value of each number, ``(2, numbers)``, for ``compress``."""
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)]).astype(np.float32)


def compress(vectors: np.ndarray, precision: Precision, ranges: np.ndarray | None = None) -> np.ndarray:
    """Return vectors in another precision.

    >>> compress(np.array([[0.5, -0.5, 0.1, -0.2, 0.3, 0.3, -0.1, 0.9]]), "ubinary")
    array([[173]], dtype=uint8)

    Args:
        vectors: float ``(texts, numbers)``.
        precision: ``float32``, ``int8``, ``uint8``, ``binary`` or ``ubinary``.
        ranges: of ``int8`` and ``uint8``: smallest and largest value of each number, ``(2, numbers)``, from vectors of your
            corpus (``ranges_of``). Queries and documents need the same ones. ``None`` takes those of ``vectors``.

    Returns:
        ``(texts, numbers)``; of the binary ones ``(texts, ceil(numbers / 8))``.

    Raises:
        UserError: no such precision, ranges of another width, or a single vector without ranges.
    """
    check_precision(precision)
    if precision == "float32":
        plain: np.ndarray = vectors.astype(np.float32)
        return plain
    if precision in ("binary", "ubinary"):
        packed: np.ndarray = np.packbits(vectors > 0, axis=-1)
        return packed if precision == "ubinary" else (packed.astype(np.int16) - 128).astype(np.int8)
    kind = np.int8 if precision == "int8" else np.uint8
    if len(vectors) == 0:
        return np.zeros(vectors.shape, dtype=kind)
    starts, steps = starts_and_steps(own_ranges(vectors) if ranges is None else ranges, vectors.shape[1])
    steps_up = np.clip(np.floor((vectors - starts) / steps), 0, STEPS)
    codes: np.ndarray = (steps_up - (128 if precision == "int8" else 0)).astype(kind)
    return codes


def own_ranges(vectors: np.ndarray) -> np.ndarray:
    """Return the ranges of vectors that are compressed by themselves; few of them get a line of warning."""
    if len(vectors) == 1:
        raise UserError("one vector has no range that int8 could divide: give ranges=ranges_of(vectors of your corpus)")
    if len(vectors) < FEW:
        print(
            f"note: the ranges of int8 come from {len(vectors)} vectors; give those of a corpus (ranges=ranges_of(vectors))",
            file=sys.stderr,
        )
    return ranges_of(vectors)


def starts_and_steps(ranges: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where the 256 steps of each number begin, and their size; a number that never changes has steps of 1."""
    if ranges.shape != (2, width):
        raise UserError(f"ranges are of the shape (2, {width}): smallest and largest value of each number, not {ranges.shape}")
    starts = ranges[0].astype(np.float32)
    steps = (ranges[1].astype(np.float32) - starts) / STEPS
    return starts, np.where(steps == 0, np.float32(1), steps)


def restore(codes: np.ndarray, precision: Precision, width: int, ranges: np.ndarray | None = None) -> np.ndarray:
    """Return float32 vectors ``(texts, width)`` that score as compressed ones do: the middles of steps, or 1 and -1.

    Args:
        codes: what ``compress`` gave.
        precision: as it was given there.
        width: numbers of the vectors.
        ranges: as they were given there; ``int8`` and ``uint8`` need them.
    """
    if precision == "float32":
        return codes.astype(np.float32)
    if precision in ("binary", "ubinary"):
        packed = codes if precision == "ubinary" else (codes.astype(np.int16) + 128).astype(np.uint8)
        bits = np.unpackbits(packed, axis=-1)[:, :width]
        return bits.astype(np.float32) * 2 - 1
    if ranges is None:
        raise UserError(f"{precision} vectors are restored with the ranges that they were compressed with")
    starts, steps = starts_and_steps(ranges, width)
    places = codes.astype(np.float32) + (128 if precision == "int8" else 0)
    middles: np.ndarray = starts + (places + np.float32(0.5)) * steps
    return middles


def bytes_of(width: int, precision: Precision) -> int:
    """Return the bytes of a vector.

    >>> bytes_of(1024, "float32"), bytes_of(1024, "int8"), bytes_of(1024, "binary")
    (4096, 1024, 128)
    """
    if precision == "float32":
        return 4 * width
    return width if precision in ("int8", "uint8") else (width + 7) // 8
