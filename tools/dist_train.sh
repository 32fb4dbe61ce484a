#!/usr/bin/env bash
# Train on NUMBER GPUs of this machine, or in NUMBER processes if there is no GPU:
#   bash tools/dist_train.sh CONFIG NUMBER [options of tools/train.py]
# Several machines: run it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set. PYTHON chooses the interpreter.
set -euo pipefail
if [ $# -lt 2 ]; then sed -n 's/^# //p' "$0" >&2; exit 2; fi
CONFIG=$1
NUMBER=$2
ROOT=$(cd "$(dirname "$0")/.." && pwd)

has_mmengine='import importlib.util, sys; sys.exit(importlib.util.find_spec("mmengine") is None)'
if [ -z "${PYTHON:-}" ]; then
    if python -c "$has_mmengine" 2>/dev/null; then PYTHON=python; else PYTHON=$ROOT/.venv/bin/python; fi
fi
NNODES=${NNODES:-1}
# one machine and no port asked for: torchrun takes a free one
rendezvous=(--standalone --local-addr=127.0.0.1)
if [ "$NNODES" != 1 ] || [ -n "${PORT:-}" ]; then
    rendezvous=(--node-rank="${NODE_RANK:-0}" --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}")
fi
PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" exec "$PYTHON" -m torch.distributed.run \
    --nnodes="$NNODES" --nproc-per-node="$NUMBER" "${rendezvous[@]}" \
    "$ROOT/tools/train.py" "$CONFIG" --launcher pytorch "${@:3}"
