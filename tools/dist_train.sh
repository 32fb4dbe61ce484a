#!/usr/bin/env bash
# Train on NUMBER GPUs of this machine, or in NUMBER processes if there is no GPU:
#   bash tools/dist_train.sh CONFIG NUMBER [options of tools/train.py]
# Several machines: run it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set. PYTHON chooses the interpreter.
. "$(dirname "$0")/_launch.sh"
if [ $# -lt 2 ]; then usage; fi
launch_here "$2" train.py "$1" --launcher pytorch "${@:3}"
