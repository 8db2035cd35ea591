"""The prompt of each side of each task, and who gave it.

The first that has a prompt for a side decides:

1. the prompts file (`evaluation/encode/prompts_file.py`): task, type, default;
2. if the plan's source is `mteb`: the recipe's instruction for the task or its type (`Recipe.task_instructions`), where an
   empty one says that there is none; then mteb's prompt of the task, or of its type. It is known by the task's name: a folder
   that is named as none of mteb's tasks has none. A string is for queries and for texts of tasks without
   sides, a mapping names its sides. It is an instruction in words, so it is put into a template: `PROMPT: TEXT` unless
   another one is given (`model_loaders.text.prompts.in_template`);
3. the adapter's own prompt, from its manifest (source `mteb` or `own`), or nothing (source `none`).

The user names the source, else the manifest does (`Recipe.evaluation_prompts`): an adapter that was trained with prompts of
its own is evaluated with them. Texts of tasks without sides (STS, pairs, classification, clustering, …) get the prompt of
queries, and the maximum length of documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from common.errors import UserError, nearest
from evaluation.encode.prompts_file import Prompts, choose, normalise
from evaluation.tasks.mteb_tasks import official_prompt, official_type
from model_loaders.text.prompts import ROLES, TASK_PROMPTS, Role, in_template, template_named
from model_loaders.text.recipe import Recipe

if TYPE_CHECKING:
    from evaluation.encode.sharded_encoder import TextEncoder

LISTED = 3  # tasks named in the line on prompts unlike those of the training


class PromptedTask(Protocol):
    """The facts of a task that decide its prompts; mteb's `TaskMetadata` has them, and `evaluation.tasks.find.TaskSpec`."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def type(self) -> str:
        """Mteb's name of its type."""

    @property
    def prompt(self) -> Any:
        """Mteb's prompt: a string, a mapping from side to string, or None."""


@dataclass(frozen=True)
class SidePrompt:
    """The prompt of a side, as `model_loaders.text.prompts.render` takes it.

    Attributes:
        text: None for the encoder's own, where that is not known.
        source: `file: KEY`, `mteb`, `adapter` or `none`.
    """

    text: str | None
    source: str


@dataclass(frozen=True)
class PromptPlan:
    """Chooses prompts.

    Attributes:
        overrides: a prompts file's content.
        source: one of `TASK_PROMPTS`.
        template: with `{prompt}` and `{text}` in it, or empty.
        recipe: the adapter's, None where the encoder has none.
    """

    overrides: Prompts = field(default_factory=dict)
    source: str = "mteb"
    template: str = ""
    recipe: Recipe | None = None

    def choose(self, task: PromptedTask, role: Role) -> SidePrompt:
        """Return the prompt of one side of a task."""
        override = choose(self.overrides, task.name, task.type, role)
        if override is not None:
            key, text = override
            if self.template:
                text = in_template(text, self.template)
            return SidePrompt(text, f"file: {key}")
        if self.source == "mteb" and (role == "query" or self.recipe is None or self.recipe.instruct_documents):
            instruction, source = self._instruction(task, role)
            if instruction:
                return SidePrompt(in_template(instruction, self.template), source)
        if self.source == "none":
            return SidePrompt("", "none")
        return SidePrompt(self.recipe.prompt(role) if self.recipe else None, "adapter")

    def _instruction(self, task: PromptedTask, role: Role) -> tuple[str | None, str]:
        """Return the instruction of one side of a task, and who gives it."""
        entries = self.recipe.task_instructions if self.recipe else ()
        own: dict[str, dict[str, str]] = {}
        for name, side, instruction in entries:
            own.setdefault(name, {})[side] = instruction
        chosen = choose(normalise(own), task.name, task.type, role)
        if chosen is not None:
            key, instruction = chosen
            return instruction, f"recipe: {key}"
        return _instruction(task, role), "mteb"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the user or the manifest; part of the revision."""
        return {"overrides": self.overrides, "source": self.source, "template": self.template}

    def prompts_of(self, task: PromptedTask) -> dict[str, str | None]:
        """Return the prompt of each side of a task; part of the key of its result."""
        return {role: self.choose(task, role).text for role in ROLES}

    def unlike_training(self, tasks: Sequence[PromptedTask]) -> str:
        """Return a line on the tasks that get prompts the adapter was not trained with; empty if none does."""
        recipe = self.recipe
        if recipe is None:
            return ""
        as_the_manifest = self.source == recipe.task_prompts and self.template == template_named(
            recipe.prompt_template, several=True
        )
        if as_the_manifest and not self.overrides:
            return ""
        names = [task.name for task in tasks if self._unlike(recipe, task)]
        if not names:
            return ""
        own_prompts = [f"{role} {recipe.prompt(role)!r}" for role in ROLES if recipe.prompt(role)]
        examples = names[:LISTED]
        if len(names) > LISTED:
            examples.append("…")
        return (
            f"prompts: {len(names)} of {len(tasks)} tasks get prompts that the adapter was not trained with "
            f"({', '.join(examples)}); its own: {', '.join(own_prompts) or 'none'} (--prompts own)"
        )

    def without_mtebs(self, tasks: Sequence[PromptedTask]) -> str:
        """Return a line on the tasks that mteb has no prompt for, since it has no task of their name; empty if all have one."""
        names = []
        for task in tasks:
            if official_type(task.name) is None and self.choose(task, "query").source in ("adapter", "none"):
                names.append(task.name)
        if self.source != "mteb" or not names:
            return ""
        shown = [*names[:LISTED], "…"] if len(names) > LISTED else names
        return (
            f"prompts: mteb has none for {len(names)} of {len(tasks)} tasks, which are none of its own ({', '.join(shown)}): "
            "they get the adapter's own, or none. --prompts FILE gives them one, by name or type"
        )

    def _unlike(self, recipe: Recipe, task: PromptedTask) -> bool:
        return any(self.choose(task, role).text != recipe.prompt(role) for role in _sides(task))


def _instruction(task: PromptedTask, role: Role) -> str | None:
    """Return mteb's prompt of one side of a task, None where it has none."""
    prompt = task.prompt or official_prompt(task.name)
    if isinstance(prompt, Mapping):
        return prompt.get(role)
    return prompt if role == "query" else None


def _sides(task: PromptedTask) -> tuple[Role, ...]:
    """Return the sides that a task has: only searching ones have documents."""
    return ROLES if "etrieval" in task.type or "eranking" in task.type else ("query",)


def make_plan(encoder: TextEncoder, prompts: Mapping[str, Any] | str | None = None, template: str | None = None) -> PromptPlan:
    """Return the plan for an encoder.

    Args:
        encoder: its `recipe`, if it has one, decides what the other arguments leave open.
        prompts: one of `TASK_PROMPTS`, or a prompts file's content; None for the manifest's.
        template: as `prompts.template_named` takes it; None for the manifest's.

    Raises:
        UserError: no such source, or a malformed template or prompts.
    """
    recipe = getattr(encoder, "recipe", None)
    if not isinstance(recipe, Recipe):
        recipe = None
    source, manifest_template = "mteb", ""
    if recipe is not None:
        source, manifest_template = recipe.evaluation_prompts, recipe.prompt_template
    overrides: Prompts = {}
    if isinstance(prompts, Mapping):
        overrides = normalise(prompts)
    elif prompts is not None:
        if prompts not in TASK_PROMPTS:
            names = ", ".join(TASK_PROMPTS)
            raise UserError(f"prompts are {names} or a mapping, not {prompts!r}{nearest(prompts, TASK_PROMPTS)}")
        source = prompts
    if template is None:
        template = manifest_template
    several = recipe is not None and not recipe.is_plain
    return PromptPlan(overrides, source, template_named(template, several=several), recipe)
