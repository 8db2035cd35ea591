#!/bin/sh
# Mine hard negatives with a trained model, train on them, evaluate and export: run own_data.sh first.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python} BASE=${BASE:-quickstart/base} STEPS=${STEPS:-100} OUT=${OUT:-runs/example}

"$PYTHON" -m triplets.mine "$OUT/data/triplets.jsonl" "$OUT/data/mined.jsonl" --teacher "$OUT/model1" \
    --relative_margin 0.05 --negatives 2

"$PYTHON" trainers/model1_trainer.py --model_name_or_path "$BASE" --dataset_name "$OUT/data/mined.jsonl" \
    --output_dir "$OUT/mined" --per_device_train_batch_size 32 --learning_rate 1e-3 --max_steps "$STEPS" --max_seq_length 64

"$PYTHON" run_mteb.py --adapter_path "$OUT/mined" --data_dir "$OUT/data/tasks" --output_dir "$OUT/compared" --name mined

"$PYTHON" -m model_loaders.export "$OUT/mined" "$OUT/exported-mined" --format merged
