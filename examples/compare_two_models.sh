#!/bin/sh
# Score two models on your tasks and say whether one is better: adapters, exported folders or hub names of published models.
# Paths count from the repository.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python} OUT=${OUT:-runs/example}
FIRST=${1:-$OUT/model1} SECOND=${2:-$OUT/mined} TASKS=${3:-$OUT/data/tasks}

mkdir -p "$OUT"
COMPARED=$(mktemp -d "$OUT/compared-XXXXXX")  # results of another pair would be compared too

"$PYTHON" run_mteb.py --adapter_path "$FIRST" --data_dir "$TASKS" --output_dir "$COMPARED" --name first

"$PYTHON" run_mteb.py --adapter_path "$SECOND" --data_dir "$TASKS" --output_dir "$COMPARED" --name second

"$PYTHON" -m comparison "$COMPARED" --baseline first --output_dir "$COMPARED/report"
