#!/usr/bin/env bash
# Test on a slurm cluster, one task per GPU:
#   GPUS=64 GPUS_PER_NODE=8 bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]
# Other variables: CPUS_PER_TASK, SRUN_ARGS (more options of srun), PYTHON. GPUS_PER_NODE=0 asks for no GPU.
set -euo pipefail
if [ $# -lt 4 ]; then sed -n 's/^# //p' "$0" >&2; exit 2; fi
ROOT=$(cd "$(dirname "$0")/.." && pwd)
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
place=(--gres="gpu:$GPUS_PER_NODE" --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE")
if [ "$GPUS_PER_NODE" = 0 ]; then place=(--ntasks="$GPUS"); fi

# shellcheck disable=SC2086  # SRUN_ARGS is several words
PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" exec srun -p "$1" --job-name="$2" "${place[@]}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$ROOT/tools/test.py" "$3" "$4" --launcher=slurm "${@:5}"
