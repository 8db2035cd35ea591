"""The model card of the base model, from the facts that the pretraining recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BOOKS = "Biology, Sociology, Psychology, US History, Economics (Principles of) and College Physics"

TEMPLATE = Path(__file__).parent / "model_card_template.md"


def render_card(facts: dict[str, Any], notes: str = "") -> str:
    """Return the Markdown of ``quickstart/base/README.md``.

    Args:
        facts: the content of ``pretraining.json``.
        notes: Markdown about measurements made with the exported model, may be empty.
    """
    recipe, tokens, documents, books = facts["recipe"], facts["tokens"], facts["documents"], facts["books"]
    presidential = books.get("inaugural", 0) + books.get("state_union", 0)
    packages = facts["packages"]
    return TEMPLATE.read_text(encoding="utf-8").format(
        **recipe,
        **facts["perplexity"],
        **facts["sizes"],
        parameters_millions=facts["parameters"] / 1e6,
        step=facts["step"],
        trained_tokens=f"{facts['trained_tokens']:,}",
        schedule_tokens=facts["recipe"]["tokens"],
        docstring_passes=(1 - recipe["book_share"]) * facts["trained_tokens"] / tokens["docstrings"],
        book_passes=recipe["book_share"] * facts["trained_tokens"] / tokens["books"],
        held_out_tokens=f"{facts['held_out_tokens']:,}",
        package_count=len(packages) - 1,
        docstrings=f"{documents['docstrings']:,}",
        docstring_tokens=f"{tokens['docstrings']:,}",
        held_out_documents=f"{documents['held_out']:,}",
        openstax=f"{documents['books'] - presidential:,}",
        presidential=presidential,
        book_tokens=f"{tokens['books']:,}",
        textbooks=BOOKS,
        overlap=facts["leakage"]["ngram_overlap"],
        verbatim=facts["leakage"]["verbatim_summaries"],
        passages_of=64,
        packages="; ".join(f"{name} {version} ({licence})" for name, (version, licence) in packages.items()),
        notes=notes,
    )
