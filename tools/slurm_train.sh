#!/usr/bin/env bash
# Trains as a Slurm job.
set -euo pipefail

if [[ $# -lt 3 || $1 == -h || $1 == --help ]]; then
    cat <<'HELP'
Usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]

The environment sets GPUS (all of the job, default 8), GPUS_PER_NODE (8), CPUS_PER_TASK (5) and
SRUN_ARGS (more arguments for srun, such as "--time=24:00:00 --signal=USR1@300").
SIGTERM and SIGUSR1 end the run after the step, with a checkpoint and exit code 143; the same command
with --resume goes on. --signal has Slurm send SIGUSR1 that many seconds before the time limit; it
sends SIGTERM when it preempts, and by itself only KillWait (30 s) before it kills.
Example: GPUS=16 tools/slurm_train.sh gpu l1 configs/det/l1_maskrcnn_1x.py --work-dir work_dirs/l1
HELP
    [[ $# -ge 1 && $1 == -* ]] && exit 0 || exit 2
fi
partition=$1 job=$2 config=$3
shift 3

gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
((per_node > gpus)) && per_node=$gpus
root=$(dirname "$(dirname "$(readlink -f "$0")")")
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
# SRUN_ARGS is a list of words.
# shellcheck disable=SC2086
exec srun --partition="$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" \
    --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} "${PYTHON:-python}" -u "$root/tools/train.py" "$config" --launcher=slurm "$@"
