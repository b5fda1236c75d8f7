#!/usr/bin/env bash
# Tests on several GPUs of this machine, or with several gloo processes where there is no GPU.
set -euo pipefail

if [[ $# -lt 3 || $1 == -h || $1 == --help ]]; then
    cat <<'HELP'
Usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]

Several machines: run it on each of them with NNODES, NODE_RANK, MASTER_ADDR and PORT set, e.g.
  NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 PORT=29500 tools/dist_test.sh CONFIG CHECKPOINT 8
PORT is a free one by default. PYTHON names the interpreter (default: python).
HELP
    [[ $# -ge 1 && $1 == -* ]] && exit 0 || exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3

root=$(dirname "$(dirname "$(readlink -f "$0")")")
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m mmvmamba.cli.dist_run "$gpus" "$root/tools/test.py" "$config" \
    "$checkpoint" "$@"
