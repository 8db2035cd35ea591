"""Train masked next-token prediction (LLM2Vec): ``accelerate launch … trainers/mntp_trainer.py --help``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trainers.train import main

if __name__ == "__main__":
    sys.exit(main(objective="mntp"))
