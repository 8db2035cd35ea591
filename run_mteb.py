"""Score an adapter on MTEB tasks or on local task folders.

    python run_mteb.py --adapter_path runs/model3 --tasks STSBenchmark Banking77Classification
    python run_mteb.py --adapter_path runs/model3 --data_dir data/eval
    python run_mteb.py --loader model3 --base_model mistralai/Mistral-7B-v0.1 --adapter_path downloads/model3

Without --tasks and --data_dir: the paper's tasks but for retrieval (run_mteb_retrieval.py has those). Instead of
flags, the lines below can be edited; flags override them.
"""

from __future__ import annotations

from evaluation.cli import main
from evaluation.paper_tasks import NOT_RETRIEVAL

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
    raise SystemExit(main(__doc__, loader=EmbedModel, paper_tasks=NOT_RETRIEVAL, defaults=constants))
