#!/usr/bin/env bash
# Tests as a Slurm job.
set -euo pipefail

if [[ $# -lt 4 || $1 == -h || $1 == --help ]]; then
    cat <<'HELP'
Usage: tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]

The environment sets GPUS (all of the job, default 8), GPUS_PER_NODE (8), CPUS_PER_TASK (5) and
SRUN_ARGS (more arguments for srun, such as "--time=24:00:00").
Example: GPUS=8 tools/slurm_test.sh gpu l1 configs/det/l1_maskrcnn_1x.py l1.pth --eval bbox
HELP
    [[ $# -ge 1 && $1 == -* ]] && exit 0 || exit 2
fi
partition=$1 job=$2 config=$3 checkpoint=$4
shift 4

gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
((per_node > gpus)) && per_node=$gpus
root=$(dirname "$(dirname "$(readlink -f "$0")")")
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
# SRUN_ARGS is a list of words.
# shellcheck disable=SC2086
exec srun --partition="$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" \
    --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} "${PYTHON:-python}" -u "$root/tools/test.py" "$config" "$checkpoint" \
    --launcher=slurm "$@"
