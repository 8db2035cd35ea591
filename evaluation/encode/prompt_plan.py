"""Which prompt each side of each task gets, and who said so.

The first that speaks of a side decides:

1. the prompts file (`evaluation/encode/prompts_file.py`): task, type, default;
2. mteb's prompt of the task, if the plan's source is `mteb`: a string is for queries and for texts of tasks without sides, a
   mapping names its sides. It is an instruction in words, so it is put into a template: `PROMPT: TEXT` unless another one
   is given (`model_loaders.text.prompts.in_template`);
3. the adapter's own prompt, from its manifest (source `mteb` or `own`), or nothing (source `none`).

The source is what the user says, else what the manifest says (`Recipe.evaluation_prompts`): an adapter that was trained with
prompts of its own is evaluated with them. Texts of tasks without sides (STS, pairs, classification, clustering, …) get the
prompt of queries, and the maximum length of documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from common.errors import UserError, nearest
from evaluation.encode.prompts_file import Prompts, choose, normalise
from evaluation.tasks.mteb_tasks import official_prompt
from model_loaders.layouts.manifest import Recipe
from model_loaders.text.prompts import ROLES, TASK_PROMPTS, Role, in_template, template_named


class Task(Protocol):
    """What a choice depends on; mteb's `TaskMetadata` is one, and `evaluation.tasks.find.TaskSpec`."""

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
class Chosen:
    """A prompt as `model_loaders.text.prompts.render` takes it.

    Attributes:
        prompt: None for the encoder's own, where that is not known.
        source: `file: KEY`, `mteb`, `adapter` or `none`.
    """

    prompt: str | None
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

    def choose(self, task: Task, role: Role) -> Chosen:
        """Return the prompt of one side of a task."""
        found = choose(self.overrides, task.name, task.type, role)
        if found is not None:
            key, prompt = found
            return Chosen(in_template(prompt, self.template) if self.template else prompt, f"file: {key}")
        if self.source == "mteb":
            asked = task.prompt or official_prompt(task.name)
            given = asked if isinstance(asked, Mapping) else {"query": asked}
            if instruction := given.get(role):
                return Chosen(in_template(instruction, self.template), "mteb")
        if self.source == "none":
            return Chosen("", "none")
        return Chosen(self.recipe.prompt(role) if self.recipe else None, "adapter")

    @property
    def settings(self) -> dict[str, Any]:
        """What the user or the manifest said; part of the revision."""
        return {"overrides": self.overrides, "source": self.source, "template": self.template}

    def of(self, task: Task) -> dict[str, str | None]:
        """Return the prompt of each side of a task; part of the key of its result."""
        return {role: self.choose(task, role).prompt for role in ROLES}

    def unlike_training(self, tasks: Sequence[Task]) -> str:
        """Return a line that says which tasks get prompts that the adapter was not trained with; empty if none does."""
        recipe = self.recipe
        if recipe is None:
            return ""
        asked = self.source == recipe.task_prompts and self.template == template_named(recipe.prompt_template)
        if asked and not self.overrides:
            return ""
        differ = [task.name for task in tasks if self._unlike(recipe, task)]
        if not differ:
            return ""
        own = ", ".join(f"{role} {recipe.prompt(role)!r}" for role in ROLES if recipe.prompt(role))
        listed = ", ".join(differ[:3]) + (", …" if len(differ) > 3 else "")
        return (
            f"prompts: {len(differ)} of {len(tasks)} tasks get prompts that the adapter was not trained with ({listed}); "
            f"its own: {own or 'none'} (--prompts own)"
        )

    def _unlike(self, recipe: Recipe, task: Task) -> bool:
        return any(self.choose(task, role).prompt != recipe.prompt(role) for role in _sides(task))


def _sides(task: Task) -> tuple[Role, ...]:
    """Return the sides that a task has: only searching ones have documents."""
    return ROLES if "etrieval" in task.type or "eranking" in task.type else ("query",)


def make_plan(encoder: Any, prompts: Mapping[str, Any] | str | None = None, template: str | None = None) -> PromptPlan:
    """Return the plan for an encoder.

    Args:
        encoder: its `recipe`, if it has one, says what is not said here.
        prompts: one of `TASK_PROMPTS`, or a prompts file's content; None for what the manifest says.
        template: as `prompts.template_named` takes it; None for what the manifest says.

    Raises:
        UserError: no such source, or a malformed template or prompts.
    """
    recipe = getattr(encoder, "recipe", None)
    recipe = recipe if isinstance(recipe, Recipe) else None
    if isinstance(prompts, str) and prompts not in TASK_PROMPTS:
        raise UserError(f"prompts are {', '.join(TASK_PROMPTS)} or a mapping, not {prompts!r}{nearest(prompts, TASK_PROMPTS)}")
    source = prompts if isinstance(prompts, str) else recipe.evaluation_prompts if recipe else "mteb"
    if template is None:
        template = recipe.prompt_template if recipe else ""
    overrides = normalise(prompts) if isinstance(prompts, Mapping) else {}
    return PromptPlan(overrides, source, template_named(template), recipe)
