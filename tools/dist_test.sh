#!/usr/bin/env bash
# Test on NUMBER GPUs of this machine, or in NUMBER processes if there is no GPU:
#   bash tools/dist_test.sh CONFIG CHECKPOINT NUMBER [options of tools/test.py]
# Several machines: run it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set. PYTHON chooses the interpreter.
. "$(dirname "$0")/_launch.sh"
if [ $# -lt 3 ]; then usage; fi
launch_here "$3" test.py "$1" "$2" --launcher pytorch "${@:4}"
