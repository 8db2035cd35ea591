"""Train design 1: ``accelerate launch --config_file accelerate_config.yaml trainers/model1_trainer.py --help``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trainers.train import main

if __name__ == "__main__":
    sys.exit(main(design="model1"))
