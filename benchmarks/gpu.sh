#!/usr/bin/env bash
# Runs everything that needs a GPU and writes docs/benchmarks/gpu.md.
# Usage: benchmarks/gpu.sh [--dry-run]    (PYTHON=... names the interpreter)
set -euo pipefail

cd "$(dirname "$0")/.."
python=${PYTHON:-python}
report=docs/benchmarks/gpu.md
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

tests=("$python" -m pytest -q -m gpu tests)
scan=("$python" benchmarks/gpu_selective_scan.py)
attention=("$python" benchmarks/gpu_deform_attn.py)
models=("$python" benchmarks/backbones.py --device cuda --dtype bfloat16 --batch 1 64)
detectors=("$python" benchmarks/detectors.py --real --device cuda --dtype bfloat16)

case "${1:-}" in
    --dry-run)
        printf '%s\n' "${tests[*]}" "${scan[*]} > $report" "${attention[*]} >> $report" \
            "${models[*]} >> $report" "${detectors[*]} >> $report"
        exit 0
        ;;
    '') ;;
    *)
        echo "the only option is --dry-run, got $1" >&2
        exit 2
        ;;
esac

if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo 'not measured: torch finds no CUDA or ROCm device'
    exit 0
fi

"${tests[@]}"
draft=$(mktemp)
trap 'rm -f "$draft"' EXIT
{
    printf '# On a GPU\n\nWritten by benchmarks/gpu.sh.\n\n## Selective scan\n\n'
    "${scan[@]}"
    printf '\n## Deformable attention\n\n'
    "${attention[@]}"
    printf '\n## Backbones\n\n'
    "${models[@]}"
    printf '\n## Detectors\n\n'
    "${detectors[@]}"
} > "$draft"
cat "$draft" > "$report"
echo "wrote $report"
