"""Texts a second of ``EmbedModel.encode``, beside the published way and sentence-transformers, on the same weights and texts.

    python benchmarks/encoding.py [--corpus runs/quickstart/corpus] [--scifact FOLDER] [--pairs 3] [--threads 1]
    python benchmarks/encoding.py --base DIRECTORY --dtype bfloat16 --corpus FOLDER --texts 300 0
    python benchmarks/encoding.py --budgets 512 1024 2048 4096 8192 16384        # ours alone, by batch_tokens

The base is the quickstart's or ``--base``, with LoRA that is not zero, for design 1 and for its mean-pooling equal. The others
are:

- the published way: batches of 64 texts in the given order, padded to the longest, rounded up to a multiple of 8, with a mask,
  LoRA as peft computes it, all hidden states kept;
- sentence-transformers: the same base with LastToken or mean pooling, once with LoRA as peft computes it, once with LoRA merged
  into the checkpoint beforehand, each with the best of some batch sizes and attention kernels. It sorts by length too, by
  characters.

All vectors are compared first. Then runs alternate, so that a busy machine slows all; ratios are medians over the rounds, once
of the time passed and once of the processor's (with one thread the fairer one on a shared machine). The floor is the operations
of real tokens' products, LoRA merged, over the rate of one large product. Last, the peak of tensors beside the weights, counted
one by one, of design 5 and of design 1, and the ratios of processor time again.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

TINY_BASE = ROOT / "quickstart" / "base"
Encode = Callable[[list[str]], np.ndarray]
PEER_BATCHES = (16, 32, 64)
TOLERANCE = {"float32": 1e-5, "bfloat16": 0.05}  # of an entry of a vector of length 1; in float32 1e-6 is seen


def make_model(design: str, base: Path = TINY_BASE, dtype: str = "float32") -> Any:
    """Make a design on a base LLM, with LoRA whose B is not zero, in one dtype as if loaded, and the quickstart's pooling."""
    from model_loaders import LoadOptions
    from model_loaders.create import create

    lora = json.loads((ROOT / "configs" / "lora.json").read_text())
    sizes = {"latents": 32, "heads": 4, "head_dim": 32}
    model = create(design, base, lora=lora, pooling_sizes=sizes, options=LoadOptions(device="cpu", dtype=dtype))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
        parameter.data = parameter.data.to(model.backbone.dtype)
    return model.eval()


@torch.no_grad()
def published(model: Any, texts: list[str], max_length: int) -> np.ndarray:
    """Encode texts as the published evaluation does."""
    batches = []
    for start in range(0, len(texts), 64):
        rows = model.tokenizer.ids(texts[start : start + 64], max_length)
        width = -(-max(map(len, rows)) // 8) * 8
        ids = torch.tensor([row + [model.tokenizer.tokenizer.pad_token_id] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        hidden = model.backbone(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-1]
        if model.design.tokens == "last":
            vectors = hidden[torch.arange(len(rows)), mask.sum(dim=1) - 1]
        else:
            vectors = (hidden * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        batches.append(F.normalize(vectors, dim=-1).float().numpy())
    return np.concatenate(batches)


def sentence_transformer(model: Any, max_length: int, *, merged: bool) -> Any:
    """Make sentence-transformers' model of the same weights and dtype, EOS behind each text, BOS where ours is."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules.transformer import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    from tokenizers import processors

    tokenizer = copy.deepcopy(model.tokenizer.tokenizer)
    tokenizer.chat_template = None  # or the texts would be sent through it
    ends = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (tokenizer.bos_token, tokenizer.eos_token)]
    begins = model.tokenizer.ids(["a"], max_length)[0][0] == ends[0][1]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{ends[0][0]} $A {ends[1][0]}" if begins else f"$A {ends[1][0]}", special_tokens=ends
    )
    with tempfile.TemporaryDirectory() as folder:
        copy.deepcopy(model.backbone).merge_and_unload().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder, max_seq_length=max_length, model_kwargs={"dtype": model.backbone.dtype})
    if not merged:
        transformer.model = model.backbone
    mode = "lasttoken" if model.design.tokens == "last" else "mean"
    return SentenceTransformer(modules=[transformer, Pooling(model.dim, pooling_mode=mode), Normalize()], device="cpu")


def timed(encode: Encode, texts: list[str]) -> tuple[float, float]:
    """Return the seconds that passed and those of the processor."""
    passed, used = time.perf_counter(), time.process_time()
    encode(texts)
    return time.perf_counter() - passed, time.process_time() - used


def matmul_rate(dtype: torch.dtype) -> float:
    """Return the operations a second of large products, the best of a few."""
    a, b = torch.randn(1024, 1024).to(dtype), torch.randn(1024, 1024).to(dtype)
    rates = []
    for _ in range(30):
        begin = time.process_time()
        a @ b
        rates.append(2.0 * 1024**3 * torch.get_num_threads() / (time.process_time() - begin))
    return max(rates)


def operations(model: Any, lengths: np.ndarray) -> float:
    """Return the operations of the products of real tokens: linear layers without LoRA's, and attention."""
    linear = sum(p.numel() for name, p in model.backbone.named_parameters() if name.endswith("base_layer.weight"))
    return float(2 * linear * lengths.sum() + attention_operations(model, lengths))


def attention_operations(model: Any, lengths: np.ndarray) -> float:
    """Return the operations of scores and values: of half the square and its diagonal where attention is causal."""
    config = model.backbone.config
    inner, squares = config.num_attention_heads * config.head_dim, lengths.astype(float) ** 2
    pairs = (squares + lengths) / 2 if model.design.attention == "causal" else squares
    return float(config.num_hidden_layers * 4 * inner * pairs.sum())


def with_kernel(encode: Encode, config: Any, kernel: str) -> Encode:
    """Make a function that encodes with an attention kernel."""

    def changed(texts: list[str]) -> np.ndarray:
        before = config._attn_implementation
        config._attn_implementation = kernel
        try:
            return encode(texts)
        finally:
            config._attn_implementation = before

    return changed


def quickest(peer: Any, texts: list[str]) -> tuple[str, Encode]:
    """Return the quickest setting of sentence-transformers on some texts, and its name."""
    ways: dict[str, Encode] = {}
    for kernel in ("sdpa", "eager"):
        for size in PEER_BATCHES:
            ways[f"{kernel}, batches of {size}"] = with_kernel(
                partial(peer.encode, batch_size=size), peer[0].model.config, kernel
            )
    few = texts[:: max(1, len(texts) // 256)]
    seconds = {name: timed(encode, few)[1] for name, encode in ways.items()}
    best = min(seconds, key=lambda name: seconds[name])
    return best, ways[best]


def compare(model: Any, name: str, texts: list[str], max_length: int, pairs: int) -> dict[str, float]:
    """Compare vectors, then time all ways in turn and print a line for each; return how many times faster ours is."""
    design = model.design_name
    ways: dict[str, Encode] = {
        "ours": lambda some: model.encode(some, max_length=max_length),
        "published": lambda some: published(model, some, max_length),
    }
    for merged in (False, True):
        setting, encode = quickest(sentence_transformer(model, max_length, merged=merged), texts)
        ways[f"sentence-transformers, LoRA {'merged' if merged else 'by peft'}, {setting}"] = encode
    expected, most = ways["ours"](texts), 0.0
    for way, encode in ways.items():
        apart = float(np.abs(encode(texts) - expected).max())
        assert apart <= TOLERANCE[model.dtype], f"{way} does not give our vectors: an entry differs by {apart:.1e}"
        most = max(most, apart)
    rounds = []
    for _ in range(pairs):
        rounds.append({way: timed(encode, texts) for way, encode in ways.items()})
    lengths = model.encode_counted(texts, max_length=max_length).tokens
    used = statistics.median(seconds["ours"][1] for seconds in rounds)
    floor = operations(model, lengths) / matmul_rate(model.backbone.dtype)
    print(
        f"\n{design}, {name}: {len(texts)} texts of {lengths.mean():.0f} tokens, longest {lengths.max()}; "
        f"entries of vectors differ by {most:.0e} at most"
    )
    faster = {}
    for way in ways:
        medians, ratios = [], []
        for clock in (0, 1):  # the time passed, the processor's
            medians.append(statistics.median(seconds[way][clock] for seconds in rounds))
            ratios.append(statistics.median(seconds[way][clock] / seconds["ours"][clock] for seconds in rounds))
        passed, processor = medians
        faster[way.partition(", sdpa")[0].partition(", eager")[0]] = ratios[1]
        print(
            f"  {way:60} {len(texts) / passed:7.1f} texts/s, {len(texts) / processor:7.1f} a processor second; "
            f"ours is {ratios[0]:.2f} x, {ratios[1]:.2f} x by processor time"
        )
    print(
        f"  the floor is {len(texts) / floor:.1f} texts a processor second; ours reaches {floor / used:.0%} of it", flush=True
    )
    return {way: ratio for way, ratio in faster.items() if way != "ours"}


def peak(design: str, texts: list[str], max_length: int) -> float:
    """Return the most MiB of tensors beside the weights while texts are encoded."""
    from trainers.memory.live_bytes import LiveBytes

    model = make_model(design)
    with LiveBytes([*model.parameters(), *model.buffers()]) as live:
        model.encode(texts, max_length=max_length)
    return live.peak / 2**20


def docstrings(corpus: Path | None, count: int) -> list[str]:
    """Return queries and documents of the quickstart's corpus, which is made if no folder is given."""
    from quickstart.corpus import build_corpus

    if corpus is None:
        corpus = build_corpus(Path(tempfile.gettempdir()) / "docstring_corpus", progress=True).train_file.parent
    rows = [json.loads(line) for line in (corpus / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    return list(dict.fromkeys(text for row in rows for text in (row["query"], row["positive"])))[:count]


def abstracts(folder: Path, count: int) -> list[str]:
    """Return SciFact's documents: title and text."""
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows: Iterator[dict[str, str]] = (json.loads(line) for line in lines)
        return [f"{row['title']} {row['text']}" for row, _ in zip(rows, range(count), strict=False)]


def main() -> None:
    """Run the comparison on both corpora for design 1 and its mean-pooling equal, then measure memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    flag = parser.add_argument
    flag("--corpus", type=Path, help="folder of the quickstart's corpus (default: one is made in the temporary directory)")
    flag("--scifact", type=Path, default=ROOT.parent / "shared" / "data" / "eval" / "SciFact", help="SciFact's folder")
    flag("--texts", type=int, nargs=2, default=(2000, 256), help="docstrings and abstracts (default: 2000 256)")
    flag("--max_length", type=int, default=512, help="tokens a text at most (default: 512, the recipe's)")
    flag(
        "--designs", nargs="+", default=["model1", "causal_mean"], help="rows of the table of designs that read the last layer"
    )
    flag("--pairs", type=int, default=3, help="rounds")
    flag("--threads", type=int, default=1, help="of PyTorch (default: 1, for a shared machine)")
    flag("--base", type=Path, default=TINY_BASE, help="directory of the base LLM (default: the quickstart's)")
    flag("--dtype", default="float32", choices=list(TOLERANCE), help="(default: %(default)s)")
    flag("--budgets", type=int, nargs="+", help="time ours alone with each batch_tokens, and stop")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # read at each call; one thread for all ways
    corpora = {"docstrings": docstrings(args.corpus, args.texts[0])} if args.texts[0] else {}
    if args.scifact.is_dir() and args.texts[1]:
        corpora["SciFact"] = abstracts(args.scifact, args.texts[1])
    if args.budgets:
        for name, texts in corpora.items():
            budgets(args.designs[0], name, texts, args.max_length, args.budgets, args.pairs)
        return
    cases = [(design, name) for design in args.designs for name in corpora]
    faster = {}
    for design, name in cases:
        model = make_model(design, args.base, args.dtype)
        faster[design, name] = compare(model, name, corpora[name], args.max_length, args.pairs)
    for name, texts in corpora.items() if args.base == TINY_BASE else ():
        first, fifth = peak("model1", texts, args.max_length), peak("model5", texts, args.max_length)
        print(
            f"\n{name}: peak beside the weights {first:.1f} MiB for design 1, {fifth:.1f} MiB for design 5: "
            f"{fifth / first:.2f} x"
        )
    print("\nours, in times of processor time:")
    for (design, name), ratios in faster.items():
        print(f"  {design}, {name}: " + "; ".join(f"{ratio:.2f} x {way}" for way, ratio in ratios.items()))


def budgets(design: str, name: str, texts: list[str], max_length: int, sizes: list[int], pairs: int) -> None:
    """Print texts a processor second by budget, the median of some rounds."""
    model = make_model(design)
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(pairs):
        for size in sizes:
            seconds[size].append(timed(lambda some: model.encode(some, max_length=max_length, batch_tokens=size), texts)[1])  # noqa: B023
    best = min(statistics.median(values) for values in seconds.values())
    print(f"{design}, {name}, by batch_tokens: texts a processor second, and share of the best")
    for size, values in seconds.items():
        print(f"  {size:6d} {len(texts) / statistics.median(values):8.1f} {best / statistics.median(values):6.2f}", flush=True)


if __name__ == "__main__":
    main()
