"""Checks of files that were just written: they read back, and the weights in them are those in memory, bit for bit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.trainer_pt_utils import safe_globals

from common.errors import UserError
from common.files import first_line, read_json
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.manifest import read_manifest
from model_loaders.layouts.tensors import check_tensors, read_tensors, trained_tensors
from trainers.checkpoints.run_files import STATE_FILE


def read_back(directory: Path, expected: dict[str, dict[str, Tensor]], *, step: int, ranks: int) -> None:
    """Read a checkpoint that was just written, and compare its weights with those in memory.

    Args:
        directory: the checkpoint.
        expected: `trained_tensors`.
        step: number of steps that led to it.
        ranks: how many processes have written their random state.

    The bytes mostly come from the operating system's cache: this finds bytes that were not written, or written wrongly. The
    seal finds those that the medium loses later.

    Raises:
        UserError: naming the file.
    """
    read_manifest(directory)
    saved = read_json(directory / STATE_FILE).get("global_step")
    if saved != step:
        raise UserError(f"{STATE_FILE} does not read back: it says step {saved}, not {step}")
    check_weights(directory, expected)
    for rank in range(ranks):
        name = "rng_state.pth" if ranks == 1 else f"rng_state_{rank}.pth"
        if not (directory / name).is_file():
            raise UserError(f"{name} is not there: --output_dir must be on a file system that all machines share")
    for path in sorted([*directory.glob("*.pt"), *directory.glob("*.pth"), *directory.glob("*.bin")]):
        try:
            load_state(path)
        except Exception as error:  # a damaged file makes torch raise errors of many types
            raise UserError(f"{path.name} does not read back ({first_line(error)})") from error


def check_weights(directory: Path, expected: dict[str, dict[str, Tensor]]) -> None:
    """Compare the weights in a directory bit for bit with those in memory (`trained_tensors`)."""
    for name, tensors in expected.items():
        written = read_tensors(directory / name)
        check_tensors(written, tensors, directory / name)
        for key, tensor in tensors.items():
            if not same_bits(written[key], tensor):
                raise UserError(f"{name} does not read back: {key} differs from the tensor in memory")


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors have the same dtype, shape and bytes (unlike ``==``, to which 0.0 is -0.0)."""
    return first.dtype == second.dtype and first.shape == second.shape and torch.equal(bytes_of(first), bytes_of(second))


def bytes_of(tensor: Tensor) -> Tensor:
    """Return a tensor's bytes, uint8 ``(bytes,)``."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def load_state(path: Path) -> Any:
    """Read an optimizer's, a scheduler's or the random generators' state, as data only."""
    with safe_globals():
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def weights_digest(model: EmbedModel) -> str:
    """Return a hash of the weights that training changes: their names and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for file, tensors in sorted(trained_tensors(model.backbone, model.pooling).items()):
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{file} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            content: Any = bytes_of(tensor).numpy()
            digest.update(content)
    return digest.hexdigest()
