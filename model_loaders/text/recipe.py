"""The recipe of a model: everything that decides a text's vector beside the weights and the design.

Training, evaluation and serving read it in one place, ``model_loaders.text.render``. The manifest of an adapter holds it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from common.errors import UserError, nearest
from model_loaders.text.edits import EDITS
from model_loaders.text.prompts import Role, check_role, check_task_prompts, in_template, template_named

Pooled = Literal["all", "text", "text_and_end", "after_prompt"]
Truncation = Literal["right", "text"]
EOS, NONE, TOKENIZER = "eos", "none", "tokenizer"
# Later fields: a manifest and a version hash hold them only where they differ from their default, so that older adapters keep
# their bytes and their hash.
LATER = (
    "instruct_documents",
    "end_token",
    "bos_token",
    "pooled",
    "truncation",
    "text_max_length",
    "pieces",
    "text_edits",
    "dimensions",
    "task_instructions",
)
# Values that say the same as the default, which a manifest and a version hash hold no more than the default.
UNSAID = {"truncation": ("right",)}
# Words for a field that says nothing; "none" for the others.
UNSET = {"query_max_length": "max_length", "prompt_template": "'PROMPT: TEXT'", "dimensions": "all"}
# With the defaults of these the tokens of a text are those of its rendered string, cut on the right.
OF_THE_TOKENS = ("end_token", "bos_token", "pooled", "truncation", "text_max_length", "pieces", "text_edits")


@dataclass(frozen=True)
class Recipe:
    """How texts become vectors, beside the weights.

    Attributes:
        query_prompt: prompt of queries (see ``prompts.render``).
        document_prompt: prompt of documents.
        max_length: tokens a text at most, special tokens and prompt included.
        query_max_length: the same for queries, ``None`` for ``max_length``.
        unpooled_token_ids: token ids that attention sees and the pooling leaves out. Adapters that the published code
            trained for design 5 need their pad token's id here: its mean skipped that id, also where it stands in a text
            as ``<unk>``.
        task_prompts: which prompts an evaluation gives, one of ``prompts.TASK_PROMPTS``: mteb's of each task before the two
            above, these two alone, or none. Empty: these two alone if there are any, else mteb's.
        prompt_template: how a task's prompt, an instruction in words, and a text are put together
            (``prompts.template_named``).
        instruct_documents: whether an evaluation gives a task's instruction for documents, where it has one.
        end_token: which token ends every text: ``eos``, ``none``, ``tokenizer`` (the one that the tokenizer itself appends,
            once; EOS where it appends none) or a token. With ``none`` or a token, what the tokenizer appends is left out.
        bos_token: which token begins every text: ``tokenizer`` (what the tokenizer puts there, if anything), ``none`` or a
            token.
        pooled: which tokens the pooling reads. ``all``; ``text``: those with a character of the text proper, of its last copy;
            ``text_and_end``: these and the end token; ``after_prompt``: all from the text's last copy on, with what stands
            behind it. BOS goes with the prompt: of a text without prompt ``after_prompt`` leaves out nothing. A text of which
            nothing would be pooled, such as an empty one, has all its tokens pooled.
        truncation: what is cut of a text that is too long: the rendered string on the ``right``, before the end token; or
            the ``text`` alone, and the prompt behind it stays. They differ where something stands behind the text. ``None``:
            ``right`` with the defaults of all ``OF_THE_TOKENS``, else ``text``, which alone goes with other values of them.
        text_max_length: tokens of the text proper at most, counted alone and cut before it is put into the prompt; ``None``
            for no such limit.
        pieces: whether the parts of the prompt and the text are tokenised one by one and not as one string.
        text_edits: names of ``edits.EDITS``, done in this order before a text is put into the prompt, and after it was cut to
            ``text_max_length`` (but for ``pieces``).
        dimensions: the vector's first so many numbers, made unit again (Matryoshka, arXiv 2205.13147); ``None`` for all.
        task_instructions: instructions of an evaluation, before mteb's own: name or mteb's type of a task, side, instruction.
    """

    query_prompt: str = ""
    document_prompt: str = ""
    max_length: int = 512
    query_max_length: int | None = None
    unpooled_token_ids: tuple[int, ...] = ()
    task_prompts: str = ""
    prompt_template: str = ""
    instruct_documents: bool = True
    end_token: str = EOS
    bos_token: str = TOKENIZER
    pooled: Pooled = "all"
    truncation: Truncation | None = None
    text_max_length: int | None = None
    pieces: bool = False
    text_edits: tuple[str, ...] = ()
    dimensions: int | None = None
    task_instructions: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        check_task_prompts(self.task_prompts)
        template_named(self.prompt_template, several=not self.is_plain)
        for name in ("max_length", "query_max_length"):
            length = getattr(self, name)
            if length is not None and length < 2:
                raise UserError(f"{name} is {length}: at least 2 tokens are needed, one of the text and the end token")
        for name in ("text_max_length", "dimensions"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}: it must be at least 1")
        check_choice("pooled", self.pooled, get_args(Pooled))
        if self.truncation is not None:
            check_choice("truncation", self.truncation, get_args(Truncation))
        for edit in self.text_edits:
            check_choice("text_edits", edit, tuple(EDITS))
        for name in ("end_token", "bos_token"):
            if not getattr(self, name):
                raise UserError(f"{name} is empty; write {NONE} for no token")
        if self.bos_token == EOS:
            raise UserError(f"bos_token is {TOKENIZER}, {NONE} or a token, not {EOS}")
        if self.pieces and self.truncation != "text":
            raise UserError("pieces are cut piece by piece: give truncation: text")
        if self.truncation == "right" and not self.is_plain:
            defaults = default_values()
            others = (name for name in OF_THE_TOKENS if name != "truncation")
            unlike = [name for name in others if getattr(self, name) != defaults[name]]
            raise UserError(
                f"truncation: right goes with the defaults of {', '.join(OF_THE_TOKENS)} alone, and {', '.join(unlike)} "
                "differs: the text alone is cut then. Leave truncation out, or give truncation: text."
            )

    @property
    def is_plain(self) -> bool:
        """Whether the tokens are those of the rendered string with EOS, all of them pooled, as the five designs have it."""
        defaults = default_values()
        values = {name: getattr(self, name) for name in OF_THE_TOKENS if name != "truncation"}
        return self.truncation != "text" and all(value == defaults[name] for name, value in values.items())

    @property
    def cuts(self) -> Truncation:
        """What of a text that is too long is cut: ``truncation``, or what it is by default."""
        return "right" if self.is_plain else "text"

    def prompt(self, role: Role) -> str:
        """Return the prompt of ``role``."""
        return self.query_prompt if check_role(role) == "query" else self.document_prompt

    def instructed(self, instruction: str, role: Role) -> str:
        """Return the prompt of a task's ``instruction`` for ``role``: documents keep theirs unless they are instructed too."""
        if not instruction or (check_role(role) == "document" and not self.instruct_documents):
            return self.prompt(role)
        return in_template(instruction, template_named(self.prompt_template, several=not self.is_plain))

    @property
    def evaluation_prompts(self) -> str:
        """Which of ``prompts.TASK_PROMPTS`` an evaluation gives unless it is told otherwise."""
        return self.task_prompts or ("own" if self.query_prompt or self.document_prompt else "mteb")

    def facts(self) -> dict[str, Any]:
        """Return the fields for a hash: later ones only where they say something, so that older adapters keep theirs."""
        later = ("task_prompts", "prompt_template")
        return {name: value for name, value in self.to_dict().items() if value or name not in later}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for a file: those in ``LATER`` only where they differ from their default."""
        defaults = default_values()
        content = {}
        for name, value in asdict(self).items():
            if name not in LATER or value not in (defaults[name], *UNSAID.get(name, ())):
                content[name] = value
        return content

    def unlike_default(self) -> str:
        """Return the later fields that differ from their defaults, as a text: which tokens are read, pooled and cut."""
        values = self.to_dict()
        return ", ".join(f"{name} {values[name]!r}" for name in LATER if name in values)

    def length(self, role: Role) -> int:
        """Return how many tokens a text of ``role`` may have."""
        return (self.query_max_length or self.max_length) if check_role(role) == "query" else self.max_length


def default_values() -> dict[str, Any]:
    """Return the default of each field of a recipe."""
    return {field.name: field.default for field in fields(Recipe)}


def described(recipe: Recipe) -> list[str]:
    """Return every field of a recipe on a line of its own, defaults too, as they act.

    >>> described(Recipe())[8:10]
    ['end_token: eos', 'bos_token: tokenizer']
    """
    acting = {"truncation": recipe.cuts, "task_prompts": recipe.evaluation_prompts}
    lines = []
    for name in default_values():
        value = acting.get(name, getattr(recipe, name))
        if name == "task_instructions" and value:
            shown = f"{len(value)} by task"
        elif value in ("", None, ()):
            shown = UNSET.get(name, "none")
        elif isinstance(value, tuple):
            shown = ", ".join(map(str, value))
        else:
            shown = value if isinstance(value, str) and value.isidentifier() else repr(value)
        lines.append(f"{name}: {shown}")
    return lines


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise a UserError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise UserError(f"{name}: there is no {value!r}{nearest(str(value), choices)}; choose from {', '.join(choices)}")
