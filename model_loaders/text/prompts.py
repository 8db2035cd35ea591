"""The one prompt renderer: training, evaluation and serving make their strings here, so that they are byte-equal."""

from __future__ import annotations

from typing import Literal

from common.errors import UserError
from model_loaders.text.template import LIMITED, PLACEHOLDER, parts

Role = Literal["query", "document"]
ROLES: tuple[Role, Role] = ("query", "document")
PROMPT = "{prompt}"
STRIPPED = "{prompt|strip}"  # the task's prompt without the white space around it, as LLM2Vec's code has it
WITH_COLON = "{prompt:}"  # stripped, with one colon at its end, as LLM2Vec's evaluation has it
INSTRUCTIONS = (PROMPT, "{instruction}", "{task}", STRIPPED, WITH_COLON)  # each stands for a task's prompt in a template
TASK_PROMPTS = ("mteb", "own", "none")  # whose prompts an evaluation gives
TEMPLATES = {"instruct": "Instruct: {prompt}\nQuery: {text}"}


def check_role(role: str) -> str:
    """Return ``role`` if there is such a role, else raise a UserError."""
    if role not in ROLES:
        raise UserError(f"the role is {' or '.join(map(repr, ROLES))}, not {role!r}")
    return role


def render(text: str, prompt: str, *, every: bool = False, pieces: bool = False) -> str:
    """Put ``prompt`` and ``text`` together.

    A prompt with ``{text}`` in it is a template; any other one is put before the text as it is, without a separator
    (as the published evaluation does). Only the first ``{text}`` is a placeholder, or ``every`` one is, and marks are taken out
    of a prompt of ``pieces`` (``template.parts``); braces in the text stay as they are.
    """
    return "".join(text if part.kind == "text" else part.words for part in parts(prompt, every=every, pieces=pieces))


def check_task_prompts(source: str) -> str:
    """Return ``source`` if it is one of ``TASK_PROMPTS`` or empty, else raise a UserError."""
    if source not in ("", *TASK_PROMPTS):
        raise UserError(f"task_prompts is {source!r}, not one of {', '.join(TASK_PROMPTS)}")
    return source


def template_named(template: str, *, several: bool = False) -> str:
    """Return the template that a name stands for (``TEMPLATES``), or ``template`` itself.

    Args:
        template: a name, or a text with one ``{prompt}`` (or ``{instruction}``, ``{task}``, ``{prompt|strip}``, ``{prompt:}``)
            and ``{text}``.
        several: whether ``{text}`` may stand in it several times.

    Raises:
        UserError: it is no name, and ``{prompt}`` does not stand in it exactly once, or ``{text}`` not once.
    """
    template = TEMPLATES.get(template, template)
    if not template:
        return template
    instructions = sum(template.count(name) for name in INSTRUCTIONS)
    texts = template.count(PLACEHOLDER)
    if instructions != 1 or texts < 1 or (texts > 1 and not several):
        names = " or ".join(map(repr, TEMPLATES))
        hint = "" if several or texts < 2 else " (several need the recipe's truncation: text)"
        raise UserError(
            f"a prompt template is {names}, or a text with one {PROMPT} and one {PLACEHOLDER}{hint}, not {template!r}"
        )
    return template


def in_template(prompt: str, template: str = "") -> str:
    """Return a task's prompt, an instruction in words, as ``render`` takes it.

    Args:
        prompt: such as ``Given a claim, find documents that refute it.`` An empty one stays empty, and one with ``{text}``
            in it is whole already.
        template: with ``{prompt}`` and ``{text}`` in it; empty for the prompt, a colon and a space before the text.

    Raises:
        UserError: the instruction holds marks of pieces, and the template does too.
    """
    if not prompt or PLACEHOLDER in prompt:
        return prompt
    if not template:
        return f"{with_colon(prompt)} "
    if any(mark in prompt for mark in LIMITED) and any(mark in template for mark in LIMITED):
        raise UserError(f"the instruction {prompt!r} holds {' or '.join(LIMITED)}, which are marks in a recipe of pieces")
    for name in INSTRUCTIONS:
        if name in template:
            stripped = prompt.strip() if name in (STRIPPED, WITH_COLON) else prompt
            return template.replace(name, with_colon(stripped) if name == WITH_COLON else stripped, 1)
    raise ValueError(f"the template {template!r} has no {PROMPT}")


def with_colon(prompt: str) -> str:
    """Return a prompt that ends with one colon, and not with a full stop.

    >>> with_colon("Find the answer.")
    'Find the answer:'
    """
    return prompt.rstrip(" .:") + ":"
