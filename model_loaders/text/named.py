"""Named recipes: ``configs/recipes/NAME.yaml``, each a design and a recipe with which a base LLM embeds without training.

python run_mteb.py --recipe prompteol --base_model mistralai/Mistral-7B-v0.1
python trainers/train.py --design model1 --recipe e5 --model_name_or_path mistralai/Mistral-7B-v0.1 …
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.build import build
from common.errors import UserError, nearest
from common.yaml_files import read_yaml
from model_loaders.designs import get_design
from model_loaders.text.recipe import Recipe

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "recipes"
ABOUT = ("design", "summary", "source")


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe and the design that it is for.

    Attributes:
        name: of its file, without the ending.
        design: row of the table of designs: attention and pooling.
        summary: one line.
        source: paper, section, code.
        recipe: all that decides a vector beside weights and design.
    """

    name: str
    design: str
    summary: str
    source: str
    recipe: Recipe


def recipe_names() -> list[str]:
    """Return the names of the recipes in ``configs/recipes``."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def named_recipe(name: str) -> NamedRecipe:
    """Read a recipe.

    >>> named_recipe("prompteol").design
    'model1'

    Args:
        name: of a file in ``configs/recipes``, or the path of such a file.

    Raises:
        UserError: there is none, or it has an unknown key or a value out of range.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        names = recipe_names()
        raise UserError(f"there is no recipe {name!r}{nearest(name, names)}; give a .yaml file or one of {', '.join(names)}")
    content = read_yaml(path, "the recipe")
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no keys; see {FOLDER / 'mean.yaml'}")
    about = {key: content.pop(key, None) for key in ABOUT}
    for key, value in about.items():
        if not isinstance(value, str):
            raise UserError(f"{path}: {key} is a text, not {value!r}")
    get_design(str(about["design"]))
    return NamedRecipe(path.stem, **about, recipe=build(Recipe, content, str(path)))  # type: ignore[arg-type]
