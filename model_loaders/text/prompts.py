"""The one prompt renderer: training, evaluation and serving make their strings here, so that they are byte-equal."""

from __future__ import annotations

from typing import Literal

from common.errors import UserError

Role = Literal["query", "document"]
ROLES: tuple[Role, Role] = ("query", "document")
PLACEHOLDER = "{text}"
PROMPT = "{prompt}"
TASK_PROMPTS = ("mteb", "own", "none")  # whose prompts an evaluation gives
TEMPLATES = {"instruct": "Instruct: {prompt}\nQuery: {text}"}


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


def check_task_prompts(source: str) -> str:
    """Return ``source`` if it is one of ``TASK_PROMPTS`` or empty, else raise a UserError."""
    if source not in ("", *TASK_PROMPTS):
        raise UserError(f"task_prompts is {source!r}, not one of {', '.join(TASK_PROMPTS)}")
    return source


def template_named(template: str) -> str:
    """Return the template that a name stands for (``TEMPLATES``), or ``template`` itself.

    Raises:
        UserError: it is no name, and ``{prompt}`` or ``{text}`` does not stand in it exactly once.
    """
    template = TEMPLATES.get(template, template)
    if template and (template.count(PROMPT) != 1 or template.count(PLACEHOLDER) != 1):
        names = " or ".join(map(repr, TEMPLATES))
        raise UserError(f"a prompt template is {names}, or a text with one {PROMPT} and one {PLACEHOLDER}, not {template!r}")
    return template


def in_template(prompt: str, template: str = "") -> str:
    """Return a task's prompt, an instruction in words, as ``render`` takes it.

    Args:
        prompt: such as ``Given a claim, find documents that refute it.`` An empty one stays empty, and one with ``{text}``
            in it is whole already.
        template: with ``{prompt}`` and ``{text}`` in it; empty for the prompt, a colon and a space before the text.
    """
    if not prompt or PLACEHOLDER in prompt:
        return prompt
    if not template:
        return prompt.rstrip(" .:") + ": "
    return template.replace(PROMPT, prompt, 1)
