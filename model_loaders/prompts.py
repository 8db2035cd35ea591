"""The one prompt renderer: training, evaluation and serving make their strings here, so that they are byte-equal."""

from __future__ import annotations

from typing import Literal

from model_loaders.errors import UserError

Role = Literal["query", "document"]
ROLES: tuple[Role, Role] = ("query", "document")
PLACEHOLDER = "{text}"


def check_role(role: str) -> str:
    """Return ``role`` if there is such a role, else raise a UserError."""
    if role not in ROLES:
        raise UserError(f"the role is {' or '.join(map(repr, ROLES))}, not {role!r}")
    return role


def render(text: str, prompt: str) -> str:
    """Put ``prompt`` and ``text`` together.

    A prompt with ``{text}`` in it is a template; any other one is put before the text as it is, without a separator
    (as the published evaluation does). Only the first ``{text}`` is a placeholder; braces in the text stay as they are.
    """
    if PLACEHOLDER in prompt:
        before, after = prompt.split(PLACEHOLDER, 1)
        return before + text + after
    return prompt + text
