"""Plain text of raw docstrings: a summary sentence, body paragraphs, and the names under "See Also"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from quickstart.docstrings.sources import RawDocstring

MASK = "_"
"""The mark in place of the function's own name; a single character, so that word tokenisers drop it."""

DROPPED_SECTIONS = frozenset({"see also", "references", "examples", "example", "doctest", "usage", "todo"})
_UNDERLINE = re.compile(r"^\s*([-=~^*#])\1{2,}\s*$")
_REFERENCE_HEADING = re.compile(r"^\s*(?:References|Examples?|See Also):?\s*$", re.IGNORECASE)
_DIRECTIVE = re.compile(r"^\s*\.\. +(?P<name>[\w-]+)::(?P<rest>.*)$")
_ROLE = re.compile(r":[\w:+-]+:`~?\.?([^`<]*?)(?: *<[^`>]*>)?`")
_MARKUP = re.compile(r"``?|\*\*|\|(?=\w)|(?<=\w)\|_?|%\(\w+\)[sd]|\{\w*\}|\[\d+\]_|`_+|\\[a-zA-Z]+\b|[{}$]")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!vs\.)\s+(?=[A-Z`\"'(\[])")
_WORD_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SEE_ALSO_ROLE = re.compile(r":(?:func|class|meth|obj|py:\w+|attr):`~?\.?([\w.]+)`")
_SEE_ALSO_NAME = re.compile(r"^[\w.]+$")


@dataclass(frozen=True, slots=True)
class Docstring:
    """A cleaned docstring.

    Attributes:
        package: top-level package.
        module: path of the source file relative to site-packages or the standard library.
        qualname: dotted name inside the module.
        summary: first sentence, one line.
        paragraphs: what follows, one line a paragraph, without examples, references and links.
        see_also: the names its authors link to, as written.
    """

    package: str
    module: str
    qualname: str
    summary: str
    paragraphs: tuple[str, ...]
    see_also: tuple[str, ...]

    @property
    def body(self) -> str:
        """All paragraphs in one line."""
        return " ".join(self.paragraphs)


def clean(raw: RawDocstring) -> Docstring | None:
    """Return a docstring as plain text; None when no sentence of three words is left."""
    paragraphs, see_also = _split_sections(raw.text)
    texts = [text for text in map(_plain, paragraphs) if len(text) > 2]
    if not texts:
        return None
    sentences = _SENTENCE_END.split(texts[0], maxsplit=1)
    summary = sentences[0]
    if len(summary.split()) < 3:
        return None
    rest = [*sentences[1:], *texts[1:]]
    return Docstring(raw.package, raw.module, raw.qualname, summary, tuple(rest), tuple(see_also))


def clean_all(raw: Iterable[RawDocstring]) -> list[Docstring]:
    """Clean docstrings; those without a sentence are left out."""
    return [doc for doc in map(clean, raw) if doc is not None]


def _split_sections(text: str) -> tuple[list[str], list[str]]:
    """Return the paragraphs outside the dropped sections, and the names under "See Also"."""
    lines = text.expandtabs().splitlines()
    paragraphs: list[str] = []
    current: list[str] = []
    see_also: list[str] = []
    section, in_code = "", False

    def flush() -> None:
        if current:
            paragraphs.append(" ".join(current))
            current.clear()

    for number, line in enumerate(lines):
        stripped = line.strip()
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if stripped and _UNDERLINE.match(following):
            flush()
            section = stripped.lower().rstrip(":")
            continue
        if _UNDERLINE.match(line):
            continue
        if _REFERENCE_HEADING.match(line):
            flush()
            section = stripped.lower().rstrip(":")
            continue
        directive = _DIRECTIVE.match(line)
        if directive:
            flush()
            in_code = directive["name"] in {"math", "plot", "code-block", "code", "image", "figure", "ipython"}
            if directive["name"] == "seealso":
                section = "see also"
                see_also += _SEE_ALSO_ROLE.findall(directive["rest"])
            continue
        if not stripped:
            flush()
            continue
        if in_code and line.startswith(" "):
            continue
        in_code = False
        if section == "see also":
            see_also += _linked_names(line)
            if line.startswith(" ") or number == len(lines) - 1 or _linked_names(line):
                continue
            section = "" if ".. seealso::" in text else section
        if section in DROPPED_SECTIONS or stripped.startswith((">>>", "...", ".. ", "In [", "Out[")):
            continue
        current.append(stripped)
    flush()
    return paragraphs, see_also


def _linked_names(line: str) -> list[str]:
    """Return the names that a line of a "See Also" section links to: ``name1, name2 : description`` or roles."""
    roles = _SEE_ALSO_ROLE.findall(line)
    if roles:
        return list(filter(None, roles))
    if line.startswith("    "):
        return []  # a description below its name
    names = [name.strip("` ~.") for name in line.split(" : ")[0].split(":")[0].split(",")]
    return list(filter(_SEE_ALSO_NAME.match, names))


def _plain(paragraph: str) -> str:
    """Return a paragraph on one line, without reStructuredText markup."""
    text = _ROLE.sub(r"\1", paragraph)
    text = _MARKUP.sub(" ", text)
    return " ".join(text.split())


def name_pattern(qualname: str) -> re.Pattern[str]:
    """Return a pattern of every component of a dotted name, as written or in words, and of its plural, in any case.

    ``SomeReader.read_table`` masks "SomeReader", "some reader", "read_table", "read table", "read-table", "read_tables".
    The single words of a compound name stay: they are what the text is about, and the name itself is never shown.
    """
    names: set[str] = set()
    for component in qualname.split("."):
        stripped = component.strip("_")
        if len(stripped) > 1:
            words = _WORD_PARTS.findall(stripped)
            names.update((component, stripped, " ".join(words), "-".join(words), "_".join(words)))
    if not names:
        return re.compile(r"(?!)")
    longest_first = "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))
    return re.compile(rf"(?<![^\W_])_*(?:{longest_first})(?:e?s)?(?![^\W_])", re.IGNORECASE)


def mask_name(text: str, qualname: str) -> str:
    """Return ``text`` without the name that it documents, which would give the answer away.

    >>> mask_name("A TableReader reads tables; use the table reader.", "TableReader")
    'A _ reads tables; use the _.'
    """
    return " ".join(name_pattern(qualname).sub(MASK, text).split())
