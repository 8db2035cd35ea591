"""Score an adapter on retrieval tasks, of MTEB or in local task folders.

    python run_mteb_retrieval.py --adapter_path runs/model3 --tasks SciFact NFCorpus
    python run_mteb_retrieval.py --adapter_path runs/model3 --data_dir data/eval

Without --tasks and --data_dir: the paper's fourteen retrieval tasks. Everything is as in run_mteb.py, which also scores
retrieval if asked. Instead of flags, the lines below can be edited; flags override them.
"""

from __future__ import annotations

from evaluation.cli import main
from evaluation.paper_tasks import RETRIEVAL

# Change the loader here: `from model_loaders.model3 import EmbedModel`, and so on, for an adapter in the published
# layout. `load` takes the design from the adapter's manifest.
from model_loaders import load as EmbedModel

BASE_MODEL = None  # None: the one that the adapter's manifest names
ADAPTER_PATH = None
OUTPUT_DIR = "runs/mteb"
CACHE_DIR = None
TASKS = None  # None: all folders of DATA_DIR, or the paper's tasks
DATA_DIR = None

if __name__ == "__main__":
    constants = {
        "base_model": BASE_MODEL,
        "adapter_path": ADAPTER_PATH,
        "output_dir": OUTPUT_DIR,
        "cache_dir": CACHE_DIR,
        "tasks": TASKS,
        "data_dir": DATA_DIR,
    }
    raise SystemExit(main(__doc__, loader=EmbedModel, paper_tasks=RETRIEVAL, types=["Retrieval"], defaults=constants))
