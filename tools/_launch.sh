# Functions of dist_*.sh and slurm_*.sh.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH

usage() { sed -n 's/^# //p' "$0" >&2; exit 2; }

# NUMBER TOOL ARGUMENTS: run a tool in NUMBER processes of this machine
launch_here() {
    local has_mmengine='import importlib.util, sys; sys.exit(importlib.util.find_spec("mmengine") is None)'
    if [ -z "${PYTHON:-}" ]; then
        if python -c "$has_mmengine" 2>/dev/null; then PYTHON=python; else PYTHON=$ROOT/.venv/bin/python; fi
    fi
    NNODES=${NNODES:-1}
    # one machine and no port asked for: torchrun takes a free one
    local rendezvous=(--standalone --local-addr=127.0.0.1)
    if [ "$NNODES" != 1 ] || [ -n "${PORT:-}" ]; then
        rendezvous=(--node-rank="${NODE_RANK:-0}" --master-addr="${MASTER_ADDR:-127.0.0.1}")
        rendezvous+=(--master-port="${PORT:-29500}")
    fi
    exec "$PYTHON" -m torch.distributed.run --nnodes="$NNODES" --nproc-per-node="$1" "${rendezvous[@]}" \
        "$ROOT/tools/$2" "${@:3}"
}

# PARTITION JOB_NAME TOOL ARGUMENTS: run a tool on a slurm cluster
launch_slurm() {
    GPUS=${GPUS:-8}
    GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
    local place=(--gres="gpu:$GPUS_PER_NODE" --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE")
    if [ "$GPUS_PER_NODE" = 0 ]; then place=(--ntasks="$GPUS"); fi

    # shellcheck disable=SC2086  # SRUN_ARGS is several words
    exec srun -p "$1" --job-name="$2" "${place[@]}" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} "${PYTHON:-python}" -u "$ROOT/tools/$3" "${@:4}"
}
