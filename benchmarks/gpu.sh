#!/usr/bin/env bash
# Runs everything that needs a GPU and appends it to work_dirs/gpu.md, each row as soon as it is
# known. A part that fails, or takes longer than its share, is noted there and passed over; exit code
# 1 tells. Two calls, of at most 9 and 3 minutes; what tells most comes first.
# Usage: benchmarks/gpu.sh [first|second] [--dry-run|--toy]
#   --dry-run  prints what would run, with the minutes
#   --toy      runs all of it at sizes that take seconds, on any machine
# PYTHON=... names the interpreter, REPORT=... the page.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python}
report=${REPORT:-work_dirs/gpu.md}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

usage() {
    echo "usage: benchmarks/gpu.sh [first|second] [--dry-run|--toy], got $*" >&2
    exit 2
}

call=first mode=''
for word in "$@"; do
    case "$word" in
        first | second) call=$word ;;
        --dry-run | --toy) mode=$word ;;
        *) usage "$@" ;;
    esac
done

# Most seconds, title, command, what makes a toy of it.
# The minutes are those of a slow host, where each process takes 15 seconds to import torch and the
# kernels are compiled by 16 processes.
if [ "$call" = first ]; then
    parts=(
        "120|Compilation|python benchmarks/gpu_compile.py|--toy"
        "110|Selective scan|python benchmarks/gpu_selective_scan.py --repeats 20|--toy"
        "180|Models|python benchmarks/gpu_models.py latency throughput --seconds 0.5|--toy"
        "130|Tests|env MMVMAMBA_TUNE=0 python -m pytest -q -n 12 --tb=short -m gpu tests/gpu|--collect-only -qq"
    )
else
    parts=(
        "80|Training and resolutions|python benchmarks/gpu_models.py training resolutions --seconds 0.5|--toy"
        "35|Detectors|python benchmarks/detectors.py --real --models l1_maskrcnn_1x mambavision_t_maskrcnn_1x --device cuda --dtype bfloat16 --seconds 1|toy"
        "25|Deformable attention|python benchmarks/gpu_deform_attn.py --repeats 20|--toy"
        "20|Counters|ncu --set basic --clock-control none --kernel-name regex:selective_scan python benchmarks/gpu_tiny_scan.py|toy"
        "20|Races|compute-sanitizer --tool racecheck --print-limit 10 python benchmarks/gpu_tiny_scan.py|toy"
    )
fi

# The words of a part's command, those of the toy in --toy.
words_of() {
    local command=$1 toy=$2
    if [ "$mode" = --toy ]; then
        case "$command" in
            *detectors.py*) command='python benchmarks/detectors.py --models det_mambaout_retinanet --seconds 0' ;;
            *gpu_tiny_scan.py) command='python benchmarks/gpu_tiny_scan.py' ;;
            *) command="$command $toy" ;;
        esac
    fi
    read -ra words <<< "$command"
    for i in "${!words[@]}"; do
        [ "${words[$i]}" != python ] || words[i]=$python
    done
}

if [ "$mode" = --dry-run ]; then
    total=0
    for part in "${parts[@]}"; do
        IFS='|' read -r seconds title command toy <<< "$part"
        total=$((total + seconds))
        words_of "$command" "$toy"
        printf '%s >> %s    # %s, at most %s s\n' "${words[*]}" "$report" "$title" "$seconds"
    done
    printf 'at most %d.%d minutes in all\n' $((total / 60)) $((total % 60 / 6))
    exit 0
fi

if [ "$mode" != --toy ] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo 'not measured: torch finds no CUDA or ROCm device'
    exit 0
fi

failed=0
if [ "$call" = first ]; then
    printf '# On a GPU\n\nWritten by benchmarks/gpu.sh.\n' > "$report"
fi
for part in "${parts[@]}"; do
    IFS='|' read -r seconds title command toy <<< "$part"
    printf '\n## %s\n\n' "$title" >> "$report"
    words_of "$command" "$toy"
    if ! command -v "${words[0]}" > /dev/null; then
        printf 'not measured: %s is not installed.\n' "${words[0]}" >> "$report"
        continue
    fi
    [ "$mode" != --toy ] || seconds=600
    timeout "${seconds}s" "${words[@]}" >> "$report" && continue
    printf '\nnot measured: `%s` ended with exit code %s.\n' "$command" "$?" >> "$report"
    failed=1
done
echo "wrote $report"
exit "$failed"
