"""The model card of the base model, from the facts that the pretraining recorded."""

from __future__ import annotations

from typing import Any


def render_card(facts: dict[str, Any]) -> str:
    """Markdown of ``quickstart/base/README.md``."""
    return f"step {facts['step']}: {facts['perplexity']}\n"
