"""Pretrain the quickstart's base model as a causal language model and write ``quickstart/base``.

Command, resumable at any time (add ``--stop_tokens N`` to end earlier than planned)::

    python -m quickstart.pretrain --corpus_files openstax.jsonl.gz us_presidential.jsonl.gz --work_dir DIR
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import MistralForCausalLM

from common.files import read_json
from quickstart.base_model.initialise import LSA_DIMENSIONS, BaseSize, build_model, keep_meaning, make_config
from quickstart.base_model.lsa import count_matrix, inverse_document_frequency, token_vectors
from quickstart.base_model.pretraining_text import read_pretraining_text
from quickstart.base_model.tokenizer import BOS, EOS, PAD, save_tokenizer, train_tokenizer

TokenArray = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length, batches and rates of the pretraining; the defaults are those of the shipped base."""

    tokens: int = 8_400_000
    sequence_length: int = 128
    batch_size: int = 16
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    decay_share: float = 0.3
    book_share: float = 0.25
    weight_decay: float = 0.05
    gradient_norm: float = 1.0
    seed: int = 0

    @property
    def step_tokens(self) -> int:
        """Tokens of one optimisation step."""
        return self.batch_size * self.sequence_length

    @property
    def steps(self) -> int:
        """Optimisation steps of the whole run."""
        return self.tokens // self.step_tokens

    def rate(self, step: int) -> float:
        """Return the rate: warm-up, constant, then linear decay to a tenth over the last ``decay_share`` of the steps."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        left = (self.steps - step) / max(1.0, self.decay_share * self.steps)
        return self.learning_rate * min(warm, max(0.1, min(1.0, left)))


def prepare(work_dir: Path, corpus_files: list[Path], seed: int) -> None:
    """Read the text, train the tokenizer, encode, and fit the LSA vectors; do nothing where that was done."""
    if (work_dir / "prepared.json").is_file():
        return
    work_dir.mkdir(parents=True, exist_ok=True)
    print("reading docstrings ...", flush=True)
    text = read_pretraining_text(corpus_files)
    books = [content for _, content in text.books]
    tokenizer = train_tokenizer([*text.docstrings, *books])
    save_tokenizer(tokenizer, work_dir / "base")
    print("encoding ...", flush=True)
    encoded = {
        "docstrings": encode(tokenizer, text.docstrings),
        "held_out": encode(tokenizer, text.held_out),
        "books": encode(tokenizer, books),
    }
    size = BaseSize(vocabulary=tokenizer.get_vocab_size())
    counts = count_matrix([*encoded["docstrings"], *encoded["books"]], size.vocabulary)
    print(f"LSA of {counts.shape[0]} passages ...", flush=True)
    train = np.concatenate([*encoded["docstrings"], *encoded["books"]])
    frequency = np.bincount(train, minlength=size.vocabulary) + 0.5
    rng = np.random.default_rng(seed)
    arrays: dict[str, npt.NDArray[Any]] = {
        "lsa": token_vectors(counts, LSA_DIMENSIONS, seed),
        "idf": inverse_document_frequency(counts),
        "unigram": (frequency / frequency.sum()).astype(np.float32),
    }
    for name, texts in encoded.items():
        arrays[name] = np.concatenate([texts[i] for i in rng.permutation(len(texts))])
    np.savez(work_dir / "data.npz", allow_pickle=False, **arrays)
    facts = {
        "documents": {name: len(texts) for name, texts in encoded.items()},
        "tokens": {name: int(sum(map(len, texts))) for name, texts in encoded.items()},
        "books": dict(Counter(source.split("/")[0] for source, _ in text.books)),
        "leakage": asdict(text.leakage),
        "packages": text.packages,
        "vocabulary": size.vocabulary,
        "special_ids": {name: tokenizer.token_to_id(token) for name, token in (("pad", PAD), ("bos", BOS), ("eos", EOS))},
    }
    (work_dir / "prepared.json").write_text(json.dumps(facts, indent=1) + "\n")


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[TokenArray]:
    """Return the token ids of each text."""
    return [np.array(item.ids, dtype=np.uint16) for item in tokenizer.encode_batch(texts)]


def batch_of(step: int, data: dict[str, TokenArray], schedule: Schedule) -> torch.Tensor:
    """Return the token ids ``(batch, length + 1)`` of a step: a function of the step alone, so that resuming changes nothing.

    Each source is read epoch by epoch in windows of ``sequence_length``, in an order drawn anew for every epoch.
    """
    books = round(schedule.book_share * schedule.batch_size)
    rows = []
    for name, share in (("docstrings", schedule.batch_size - books), ("books", books)):
        tokens = data[name]
        windows = (len(tokens) - 1) // schedule.sequence_length
        for index in range(step * share, (step + 1) * share):
            epoch, position = divmod(index, windows)
            order = _epoch_order(windows, schedule.seed * 1000 + epoch)
            start = int(order[position]) * schedule.sequence_length
            rows.append(tokens[start : start + schedule.sequence_length + 1].astype(np.int64))
    return torch.from_numpy(np.stack(rows))


_orders: dict[tuple[int, int], npt.NDArray[np.int64]] = {}


def _epoch_order(windows: int, seed: int) -> npt.NDArray[np.int64]:
    if (windows, seed) not in _orders:
        _orders[windows, seed] = np.random.default_rng(seed).permutation(windows)
    return _orders[windows, seed]


def language_loss(model: MistralForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """Return the mean next-token cross-entropy in nats; matrix products in bf16, the softmax in fp32."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(batch[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden)
    return F.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())


def evenly_spaced(tokens: TokenArray, windows: int, length: int) -> npt.NDArray[np.int64]:
    """Return windows ``(windows, length + 1)``: the tokens that are read and, shifted by one, those that are predicted."""
    starts = np.linspace(0, len(tokens) - length - 1, windows).astype(int)
    return np.stack([tokens[start : start + length + 1].astype(np.int64) for start in starts])


@torch.no_grad()
def held_out_loss(model: MistralForCausalLM, tokens: TokenArray, windows: int, length: int) -> float:
    """Return the mean cross-entropy in nats over evenly spaced windows of held-out text."""
    rows = torch.from_numpy(evenly_spaced(tokens, windows, length))
    return float(np.mean([language_loss(model, chunk).item() for chunk in torch.split(rows, 32)]))


def train(work_dir: Path, schedule: Schedule, stop_tokens: int, save_minutes: float) -> MistralForCausalLM:
    """Train from the newest checkpoint in ``work_dir`` to ``stop_tokens``."""
    facts = read_json(work_dir / "prepared.json")
    with np.load(work_dir / "data.npz") as arrays:
        data = {name: arrays[name] for name in arrays.files}
    config = make_config(
        BaseSize(vocabulary=facts["vocabulary"]),
        pad_id=facts["special_ids"]["pad"],
        bos_id=facts["special_ids"]["bos"],
        eos_id=facts["special_ids"]["eos"],
    )
    model = build_model(config, data["lsa"], data["idf"], data["unigram"], schedule.seed)
    keep_meaning(model)
    matrices, others = [], []
    for parameter in model.parameters():
        if parameter.ndim == 2 and parameter is not model.model.embed_tokens.weight:
            matrices.append(parameter)
        else:
            others.append(parameter)
    groups = [{"params": matrices, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.95), fused=True)
    step, checkpoint = 0, work_dir / "checkpoint.pt"
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    began, first, saved = time.monotonic(), step, time.monotonic()
    last = min(schedule.steps, stop_tokens // schedule.step_tokens)
    running = math.nan
    while step < last:
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        loss = language_loss(model, batch_of(step, data, schedule))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        running = loss.item() if math.isnan(running) else 0.98 * running + 0.02 * loss.item()
        if step % 50 == 0:
            speed = (step - first) * schedule.step_tokens / (time.monotonic() - began)
            left = (last - step) * schedule.step_tokens / speed / 60
            print(f"step {step}/{last} loss {running:.3f} {speed:.0f} tokens/s {left:.0f} min left", flush=True)
        if step == last or time.monotonic() - saved > save_minutes * 60:
            held = held_out_loss(model, data["held_out"], 64, schedule.sequence_length)
            print(f"step {step} tokens {step * schedule.step_tokens} held-out {held:.3f} nats", flush=True)
            partial = checkpoint.with_suffix(".partial")
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, partial)
            partial.replace(checkpoint)
            saved = time.monotonic()
    return model


def main() -> None:
    """Prepare, train and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus_files", type=Path, nargs="+", required=True, help="gzip JSON lines: source, text")
    parser.add_argument("--work_dir", type=Path, required=True, help="data, checkpoints")
    parser.add_argument("--tokens", type=float, default=Schedule().tokens, help="length of the schedule in tokens")
    parser.add_argument("--stop_tokens", type=float, default=math.inf, help="end early at this number of tokens")
    parser.add_argument("--save_minutes", type=float, default=4)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    schedule = Schedule(tokens=int(arguments.tokens))
    prepare(arguments.work_dir, arguments.corpus_files, schedule.seed)
    train(arguments.work_dir, schedule, int(min(arguments.stop_tokens, schedule.tokens)), arguments.save_minutes)


if __name__ == "__main__":
    main()
