"""A store of vectors on disk, in shards that are whole or not there: a killed run goes on from them.

Three files make the way of a text to its vector:

1. `sharded_encoder.py` cuts the texts of a call into shards, and asks the store for each;
2. `vector_store.py` (this file) keeps shards as files and finds them again;
3. `unfinished.py` notes which shard is being encoded, so that texts that a kill made vain are counted.

A shard is the vectors of up to `SHARD_TEXTS` texts, in `<store>/<space>/<key>.npz`. The space is a hash of everything that
decides a vector beside the text (weights, maximum length, versions). The key is a hash of the space and of the texts as the
model reads them: the same texts in the same order are found again in any task and any run.

A file is written under another name, flushed to the disk and renamed, so several runs may share a store. It costs
texts × dim × 4 bytes: 16 GB for a million texts and vectors of 4096. A disk that is full or cannot be written costs a
warning and the chance to go on after a kill, nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from common.hashes import digest

logger = logging.getLogger(__name__)

SHARD_TEXTS = 4096
FORMAT = 1  # increment when the files change, or the vectors of a text (then the evaluation version, too)
FREE_PART, FREE_BYTES = 0.05, 5 << 30  # of a disk are left free: 5 %, but not more than 5 GB
DAY = 24 * 3600


@dataclass(frozen=True)
class Shard:
    """Vectors of some texts, and how much of each text was read.

    Attributes:
        vectors: `(texts, dim)` float32.
        tokens: `(texts,)` tokens of each text as encoded, or None where the encoder does not say.
        cut: `(texts,)` whether a text was longer than the maximum length, or None where the encoder does not say.
    """

    vectors: np.ndarray
    tokens: np.ndarray | None = None
    cut: np.ndarray | None = None


def check(shard: Shard, texts: int) -> Shard:
    """Return `shard` if it has a finite vector for each of `texts` texts.

    Raises:
        ValueError: the number of vectors is another, or a value is not finite.
    """
    vectors = shard.vectors
    if vectors.ndim != 2 or len(vectors) != texts or not np.isfinite(vectors).all():
        raise ValueError(f"the encoder gave {vectors.shape} values for {texts} texts, or some are not finite")
    return shard


def space_of(facts: Mapping[str, Any]) -> str:
    """Return the name of a space; `facts` is everything that decides a vector beside the text."""
    return digest({**facts, "format": FORMAT}, digits=32)


def key_of(space: str, texts: Iterable[str]) -> str:
    """Return the key of a shard; texts are hashed with their lengths, so that no two lists of texts look the same."""
    sha256 = hashlib.sha256(space.encode())
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        sha256.update(len(data).to_bytes(8, "little"))
        sha256.update(data)
    return sha256.hexdigest()[:40]


def checksum(key: str, shard: Shard) -> str:
    """Hash a shard with its key: the sums of a zip do not cover the names and the number of its arrays."""
    sha256 = hashlib.sha256(key.encode())
    for name, array in vars(shard).items():
        if array is not None:
            sha256.update(f"{name} {array.dtype.str} {array.shape}".encode())
            sha256.update(np.ascontiguousarray(array).data)
    return sha256.hexdigest()


class ShardStore:
    """Shards in a folder.

    Attributes:
        folder: made when the first shard is saved.
        off: the disk could not be written, and nothing is saved any more.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.off = False
        self._swept: set[str] = set()

    def path(self, space: str, key: str) -> Path:
        """Return the file of a shard."""
        return self.folder / space / f"{key}.npz"

    def load(self, space: str, key: str, texts: int) -> Shard | None:
        """Return a shard of `texts` texts; None if it is not there, or, with a warning, if the file is damaged."""
        path = self.path(space, key)
        try:
            with np.load(path, allow_pickle=False) as file:
                shard = Shard(file["vectors"], file.get("tokens"), file.get("cut"))
                if str(file["checksum"]) != checksum(key, shard):
                    raise ValueError("its checksum is another")
            return check(shard, texts)
        except FileNotFoundError:
            return None
        except Exception as error:  # a damaged file may raise anything
            logger.warning("the stored vectors in %s are damaged and made again: %s: %s", path, type(error).__name__, error)
            return None

    def save(self, space: str, key: str, shard: Shard) -> bool:
        """Save a shard, or warn once that nothing is saved from now on; return whether it is on the disk."""
        if self.off:
            return False
        path = self.path(space, key)
        part = path.with_name(f"{key}.{uuid4().hex}.part")  # of this writer alone, on whatever machine
        arrays = {name: array for name, array in vars(shard).items() if array is not None}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sweep(space)
            _check_room(path.parent, shard.vectors.nbytes)
            with part.open("wb") as file:
                np.savez(file, checksum=np.array(checksum(key, shard)), **arrays)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            self.off = True
            logger.warning(
                "vectors cannot be kept in %s (%s): the evaluation goes on without, but if it is killed, the texts of the "
                "task that it is at are encoded again",
                self.folder,
                error.strerror or error,
            )
            return False
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        return True

    def _sweep(self, space: str) -> None:
        """Remove files that killed writers have left, once a run; those of living writers are minutes old at most."""
        if space in self._swept:
            return
        self._swept.add(space)
        for part in (self.folder / space).glob("*.part"):
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > DAY:
                    part.unlink()


def _check_room(folder: Path, needed: int) -> None:
    """Raise an OSError if `needed` bytes would fill the disk: results and other people's jobs need the rest."""
    disk = shutil.disk_usage(folder)
    if disk.free - needed < min(FREE_PART * disk.total, FREE_BYTES):
        raise OSError(f"only {disk.free / 1e9:.2f} GB of the disk are free")
