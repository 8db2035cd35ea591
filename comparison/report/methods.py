"""The methods of a comparison as a paragraph for a paper, with its numbers, and the works that it cites as BibTeX."""

from __future__ import annotations

from comparison.claims.outcome import FEWEST_FAMILIES, Category, Comparison
from comparison.reading.families import read_families
from comparison.report.words.names import called, listed
from comparison.report.words.whose import runs_with_scores
from comparison.report.words.wording import count, families, margin_text, when
from comparison.stats.exact import DRAWN, ENUMERATED

BIBTEX = r"""@book{westfall1993resampling,
  author = {Westfall, Peter H. and Young, S. Stanley},
  title = {Resampling-Based Multiple Testing: Examples and Methods for p-Value Adjustment},
  publisher = {Wiley}, year = {1993}
}
@article{romano2005exact,
  author = {Romano, Joseph P. and Wolf, Michael},
  title = {Exact and Approximate Stepdown Methods for Multiple Hypothesis Testing},
  journal = {Journal of the American Statistical Association}, volume = {100}, number = {469}, pages = {94--108}, year = {2005}
}
@article{tarone1990modified,
  author = {Tarone, R. E.},
  title = {A Modified {B}onferroni Method for Discrete Data},
  journal = {Biometrics}, volume = {46}, number = {2}, pages = {515--522}, year = {1990}
}
@article{holm1979simple,
  author = {Holm, Sture},
  title = {A Simple Sequentially Rejective Multiple Test Procedure},
  journal = {Scandinavian Journal of Statistics}, volume = {6}, number = {2}, pages = {65--70}, year = {1979}
}
@article{clark1973language,
  author = {Clark, Herbert H.},
  title = {The Language-as-Fixed-Effect Fallacy: A Critique of Language Statistics in Psychological Research},
  journal = {Journal of Verbal Learning and Verbal Behavior}, volume = {12}, number = {4}, pages = {335--359}, year = {1973}
}
@article{schuirmann1987comparison,
  author = {Schuirmann, Donald J.},
  title = {A Comparison of the Two One-Sided Tests Procedure and the Power Approach for Assessing the Equivalence of Average
    Bioavailability},
  journal = {Journal of Pharmacokinetics and Biopharmaceutics}, volume = {15}, number = {6}, pages = {657--680}, year = {1987}
}
@inproceedings{muennighoff2023mteb,
  author = {Muennighoff, Niklas and Tazi, Nouamane and Magne, Lo{\"\i}c and Reimers, Nils},
  title = {{MTEB}: Massive Text Embedding Benchmark},
  booktitle = {Proceedings of the 17th Conference of the European Chapter of the Association for Computational Linguistics},
  pages = {2014--2037}, year = {2023}
}"""


def methods(comparison: Comparison) -> list[str]:
    """Return the sentences of the paragraph; empty where nothing was compared."""
    tested = [category for category in comparison.categories if _decidable(category)]
    if not comparison.categories:
        return []
    sentences = [_compared(comparison)]
    if tested:
        sentences += _other_tasks(comparison, tested)
    untested = [category.name for category in comparison.categories if category not in tested]
    if untested:
        sentences.append(
            f"For {listed(untested)} nothing is claimed of other tasks: a two-sided p of .05 needs {FEWEST_FAMILIES} families "
            "whose relations are known."
        )
    sentences += [*_runs(comparison), *_items(comparison)]
    if tested:
        sentences.append(
            "Systems are called equivalent where two one-sided tests over families, by t and by a bootstrap-t, reject a "
            f"difference of {margin_text(comparison.margin)} or more [schuirmann1987comparison], Holm-corrected."
        )
    return sentences


def _decidable(category: Category) -> bool:
    return any(contrast.other_tasks.decidable for contrast in category.contrasts)


def _compared(comparison: Comparison) -> str:
    who = f"{len(comparison.systems)} systems, all pairs of them"
    if comparison.baseline is not None:
        who = f"{count(len(comparison.systems) - 1, 'system', 'systems')} with {called(comparison.baseline)}"
    sizes = []
    tasks = 0
    for category in comparison.categories:
        tasks += len(category.tasks)
        sizes.append(f"{called(category.name)} {len(category.tasks)} in {families(len(category.families))}")
    return (
        f"We compared {who}, on {count(tasks, 'task', 'tasks')}{_of_mteb(comparison, tasks)}, with related tasks as one family "
        f"({', '.join(sizes)})."
    )


def _of_mteb(comparison: Comparison, tasks: int) -> str:
    """Return how many of the tasks are of mteb, with its reference; empty where none is."""
    families = read_families()
    known = 0
    for category in comparison.categories:
        known += sum(map(families.knows, category.tasks))
    if not known:
        return ""
    part = when(known < tasks, f" {known}")
    return f",{part} of MTEB [muennighoff2023mteb]" if part else " of MTEB [muennighoff2023mteb]"


def _other_tasks(comparison: Comparison, tested: list[Category]) -> list[str]:
    numbers = sorted({category.tests or len(category.contrasts) for category in tested})
    most = max(len(category.families) for category in tested)
    drawn = when(most > ENUMERATED, f" (above {ENUMERATED} families {DRAWN:,} random patterns of signs)")
    kinds = listed([category.name for category in tested])
    corrected = f"{numbers[0]} comparisons"
    if len(numbers) > 1:
        corrected = f"{numbers[0]} to {numbers[-1]} comparisons"
    sentences = [
        f"For {kinds} the mean difference over families was tested by exact sign flips of families{drawn}, with p-values "
        f"adjusted over the {corrected} of the kind by step-down max-T [westfall1993resampling, romano2005exact]; intervals "
        "invert the single-step test and hold for all comparisons of a kind together (95 %)."
    ]
    if comparison.counted > 1:
        sentences.append(
            f"A claim over the whole table (**) multiplies p by {comparison.counted}, the number of kinds that a correction "
            "must count, since no more could reach .05 by it [tarone1990modified]."
        )
    return sentences


def _runs(comparison: Comparison) -> list[str]:
    runs_of = runs_with_scores(comparison)
    trained = [system for system in runs_of if system not in comparison.as_they_are]
    repeated = [system for system in trained if runs_of[system] > 1]
    single = [system for system in trained if runs_of[system] == 1]
    if not repeated:
        what = "Each system is"
        if comparison.as_they_are:
            what = "Each system that was trained is"
        return [f"{what} one training run, so claims are of checkpoints, not of designs."]
    numbers = sorted({runs_of[system] for system in repeated})
    runs = f"{numbers[0]} runs" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]} runs"
    sentence = (
        f"With {runs} of each design, a claim also needs a test of families crossed with training runs [clark1973language], "
        "each design with the variance of its own runs, Holm-corrected [holm1979simple]."
    )
    if single:
        sentence += f" {count(len(single), 'system has', 'systems have')} one run; claims on these are of checkpoints."
    return [sentence]


def _items(comparison: Comparison) -> list[str]:
    tasks = set[str]()
    for category in comparison.categories:
        for contrast in category.contrasts:
            if contrast.these_tasks is not None:
                tasks |= set(contrast.these_tasks.tasks)
    if not tasks:
        return []
    return [
        f"Claims on these tasks alone (o) rest on scores item by item of {count(len(tasks), 'task', 'tasks')}, resampled "
        "within tasks, Holm-corrected [holm1979simple]."
    ]
