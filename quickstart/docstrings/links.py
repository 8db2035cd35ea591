"""Links between docstrings that their authors name under "See Also"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from quickstart.docstrings.cleaning import Docstring


def resolve_links(docs: Sequence[Docstring]) -> dict[int, set[int]]:
    """Return the indices into ``docs`` that each docstring links to, in both directions.

    A name is looked up in its own class, its module, then its package; where several docstrings bear it and none of
    these decides, the link is dropped.
    """
    by_name: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, doc in enumerate(docs):
        by_name[doc.package, doc.qualname.rpartition(".")[2]].append(index)
    links: dict[int, set[int]] = defaultdict(set)
    for index, doc in enumerate(docs):
        for name in doc.see_also:
            target = _resolve(docs, index, name, by_name[doc.package, name.rpartition(".")[2]])
            if target is not None and target != index:
                links[index].add(target)
                links[target].add(index)
    return dict(links)


def _resolve(docs: Sequence[Docstring], source: int, name: str, candidates: list[int]) -> int | None:
    """Return the docstring that ``name`` means when it is written in the docstring ``source``."""
    doc = docs[source]
    dotted = [part for part in name.split(".")[:-1] if part]
    if dotted:
        candidates = [index for index in candidates if _path_fits(docs[index], dotted)]
    scope = doc.qualname.rpartition(".")[0]
    same_module = [index for index in candidates if docs[index].module == doc.module]
    same_class = [index for index in same_module if docs[index].qualname.rpartition(".")[0] == scope]
    for narrowed in (same_class, same_module, candidates):
        if narrowed:
            return narrowed[0] if len(narrowed) == 1 else None
    return None


def _path_fits(doc: Docstring, dotted: list[str]) -> bool:
    """Whether every qualifier of a dotted name stands in the docstring's module path or qualified name."""
    path = {*doc.module.removesuffix(".py").split("/"), *doc.qualname.split(".")[:-1], doc.package}
    return all(part in path or f"_{part}" in path or part in {"np", "pd"} for part in dotted)
