"""Writes a checkpoint of the pretraining as ``quickstart/base``: bf16 weights, tokenizer, model card.

Command, after ``python -m quickstart.pretrain``::

    python -m quickstart.export --work_dir DIR --output_dir quickstart/base
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from transformers import MistralForCausalLM

from common.files import read_json
from quickstart.base_model.initialise import BaseSize, make_config
from quickstart.base_model.model_card import render_card
from quickstart.base_model.perplexity import bigram_loss, unigram_loss
from quickstart.pretrain import Schedule, evenly_spaced, held_out_loss

HELD_OUT_WINDOWS = 2000


def load_checkpoint(work_dir: Path) -> tuple[MistralForCausalLM, int]:
    """Return the newest checkpoint's model and its step."""
    facts = read_json(work_dir / "prepared.json")
    ids = facts["special_ids"]
    config = make_config(BaseSize(vocabulary=facts["vocabulary"]), pad_id=ids["pad"], bos_id=ids["bos"], eos_id=ids["eos"])
    model = MistralForCausalLM(config)
    state = torch.load(work_dir / "checkpoint.pt", weights_only=True)
    model.load_state_dict(state["model"])
    return model.eval(), int(state["step"])


def export(work_dir: Path, output_dir: Path, schedule_tokens: int, notes: str = "") -> None:
    """Write the base model directory and print the perplexity on its card."""
    model, step = load_checkpoint(work_dir)
    facts = read_json(work_dir / "prepared.json")
    schedule = replace(Schedule(), tokens=schedule_tokens)
    model = model.to(torch.bfloat16)
    output_dir.mkdir(parents=True, exist_ok=True)
    for file in (work_dir / "base").iterdir():
        shutil.copy2(file, output_dir / file.name)
    model.save_pretrained(str(output_dir))
    with np.load(work_dir / "data.npz") as data:
        held_out, train = data["held_out"], np.concatenate([data["docstrings"], data["books"]])
    model = model.float()  # the shipped, rounded weights
    windows = min(HELD_OUT_WINDOWS, (len(held_out) - 1) // schedule.sequence_length)
    scored = evenly_spaced(held_out, windows, schedule.sequence_length)
    measured = {
        "model": math.exp(held_out_loss(model, held_out, windows, schedule.sequence_length)),
        "unigram": math.exp(unigram_loss(train, scored, facts["vocabulary"])),
        "bigram": math.exp(bigram_loss(train, scored, facts["vocabulary"])),
    }
    facts |= {
        "step": step,
        "trained_tokens": step * schedule.step_tokens,
        "perplexity": {name: round(value, 1) for name, value in measured.items()},
        "held_out_tokens": windows * schedule.sequence_length,
        "recipe": asdict(schedule),
        "sizes": {
            "layers": model.config.num_hidden_layers,
            "hidden": model.config.hidden_size,
            "heads": model.config.num_attention_heads,
            "key_value_heads": model.config.num_key_value_heads,
            "vocabulary": model.config.vocab_size,
        },
        "parameters": model.num_parameters(),
    }
    (output_dir / "pretraining.json").write_text(json.dumps(facts, indent=1) + "\n")
    (output_dir / "README.md").write_text(render_card(facts, notes))
    print(f"{output_dir}: step {step}, perplexity {facts['perplexity']}")


def main() -> None:
    """Parse the arguments and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work_dir", type=Path, required=True)
    parser.add_argument("--output_dir", type=Path, default=Path(__file__).parent / "base")
    parser.add_argument("--tokens", type=float, default=Schedule().tokens, help="as given to the pretraining")
    parser.add_argument("--notes", type=Path, help="Markdown file that the card takes in: what was measured with the model")
    arguments = parser.parse_args()
    notes = arguments.notes.read_text(encoding="utf-8").strip() if arguments.notes else ""
    export(arguments.work_dir, arguments.output_dir, int(arguments.tokens), notes)


if __name__ == "__main__":
    main()
