#!/bin/bash
# A study as a Slurm array: every task trains one shard into one work directory, which all nodes must see.
#
#   job=$(sbatch --parsable --array=1-8 scripts/slurm_array.sh ablations/pruning.py runs/pruning)
#   sbatch --dependency="afterok:$job" --wrap=".venv/bin/python run.py \
#       --config=ablations/pruning.py --workdir=runs/pruning --only=analyze"
#
# A shard that is preempted, or out of time, saves what it has and is queued again. Any may be run again, such as shards
# 3 and 7 of 8: SHARDS=8 sbatch --array=3,7 scripts/slurm_array.sh ...
#SBATCH --job-name=mismatch
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --output=slurm-%A_%a.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@180
# Add what your cluster asks for: --partition, --account, --gpus-per-task=1. The signal comes three minutes before the
# time is up; one call of training must fit in them.
set -u
config=$1 workdir=$2
shard=$SLURM_ARRAY_TASK_ID/${SHARDS:-$SLURM_ARRAY_TASK_COUNT}

"${PYTHON:-.venv/bin/python}" run.py --config="$config" --workdir="$workdir" --shard="$shard" &
training=$! asked=
trap 'asked=yes; kill -TERM $training' TERM # Slurm signals this script only
wait $training
status=$?
if [ $asked ]; then # the signal ended that wait, not the training
    wait $training
    status=$?
fi
if [ $status -eq 75 ]; then # saved, and not done yet
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit $status
