#!/usr/bin/env bash
# Train on a slurm cluster, one task per GPU:
#   GPUS=64 GPUS_PER_NODE=8 bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
# Other variables: CPUS_PER_TASK, SRUN_ARGS (more options of srun), PYTHON. GPUS_PER_NODE=0 asks for no GPU.
. "$(dirname "$0")/_launch.sh"
if [ $# -lt 4 ]; then usage; fi
launch_slurm "$1" "$2" train.py "$3" --work-dir="$4" --launcher=slurm "${@:5}"
