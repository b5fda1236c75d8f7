#!/usr/bin/env bash
# Runs everything that needs a GPU and writes docs/benchmarks/gpu.md, each part as soon as it ends. A
# part that fails, or takes longer than its share, is noted there and passed over; exit code 1 tells.
# Usage: benchmarks/gpu.sh [--dry-run]    (PYTHON=... names the interpreter, REPORT=... the page)
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python}
report=${REPORT:-docs/benchmarks/gpu.md}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

# Most minutes, title, command: what tells most comes first.
parts=(
    "2|Tests of the scan|-m pytest -q -m gpu tests/gpu"
    "3|Selective scan|benchmarks/gpu_selective_scan.py"
    "4|Backbones|benchmarks/backbones.py --device cuda --dtype bfloat16 --batch 1 64"
    "1|Deformable attention|benchmarks/gpu_deform_attn.py"
    "2|Detectors|benchmarks/detectors.py --real --device cuda --dtype bfloat16"
)

case "${1:-}" in
    --dry-run)
        total=0
        for part in "${parts[@]}"; do
            IFS='|' read -r minutes title command <<< "$part"
            total=$((total + minutes))
            printf '%s %s >> %s    # %s, at most %s min\n' "$python" "$command" "$report" "$title" "$minutes"
        done
        echo "at most $total minutes in all"
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

failed=0
printf '# On a GPU\n\nWritten by benchmarks/gpu.sh.\n' > "$report"
for part in "${parts[@]}"; do
    IFS='|' read -r minutes title command <<< "$part"
    printf '\n## %s\n\n' "$title" >> "$report"
    read -ra words <<< "$command"
    timeout "${minutes}m" "$python" "${words[@]}" >> "$report" && continue
    printf '\nnot measured: `python %s` ended with exit code %s.\n' "$command" "$?" >> "$report"
    failed=1
done
echo "wrote $report"
exit "$failed"
