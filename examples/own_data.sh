#!/bin/sh
# Train on your own triplets, evaluate, export and search: eight commands, about ten minutes on two CPU cores.
# With your own data leave the first command out. On a real base LLM, set BASE to its name and STEPS to 1000 or more.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python} BASE=${BASE:-quickstart/base} STEPS=${STEPS:-100} OUT=${OUT:-runs/example}

"$PYTHON" examples/make_data.py "$OUT/data"

"$PYTHON" trainers/check_data.py --dataset_name "$OUT/data/triplets.jsonl" --against "$OUT/data/tasks"

"$PYTHON" trainers/model1_trainer.py --model_name_or_path "$BASE" --dataset_name "$OUT/data/triplets.jsonl" \
    --output_dir "$OUT/model1" --per_device_train_batch_size 32 --learning_rate 1e-3 --max_steps "$STEPS" --max_seq_length 64

"$PYTHON" run_mteb.py --adapter_path "$OUT/model1" --data_dir "$OUT/data/tasks" --output_dir "$OUT/model1-mteb"

"$PYTHON" -m model_loaders.export "$OUT/model1" "$OUT/exported" --format sentence-transformers --results "$OUT/model1-mteb"

"$PYTHON" -m evaluation.compression "$OUT/model1" --data_dir "$OUT/data/tasks" --output_dir "$OUT/compression" --dimensions 64

echo "split a text into words" | "$PYTHON" -m evaluation.search "$OUT/exported" --corpus "$OUT/data/corpus.jsonl" --top 3

"$PYTHON" -m model_loaders.push "$OUT/exported" me/model1 --format sentence-transformers --dry_run
