#!/usr/bin/env bash
# Trains and tests a toy classifier on two machines that are made here: network namespaces, joined
# by a cable of their own. Then one of them dies amid a training, and the run goes on.
set -euo pipefail

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: tools/misc/two_machines.sh [FOLDER]

FOLDER (default: work_dirs/two_machines) takes toy data and runs. Needs root for the namespaces;
without them, or with LOOPBACK=1, the two are processes that meet on the loopback device.
STRATEGY names a file of configs/_base_/strategies, such as fsdp (default: Runner, without one).
PROCESSES are started on each machine (default: 1). PYTHON names the interpreter (default: python).
HELP
    exit 0
fi
root=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
folder=${1:-work_dirs/two_machines}
processes=${PROCESSES:-1}
export PYTHON=${PYTHON:-python} NNODES=2 OMP_NUM_THREADS=1 PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$folder"
folder=$(readlink -f "$folder")
tag=mm$$ # the processes' number, so that two of these scripts do not meet

say() { printf '\n== %s\n' "$*"; }

remove_machines() {
    # A namespace that is removed lives on while a process is in it.
    for node in 0 1; do
        for pid in $(ip netns pids "$tag-$node" 2>/dev/null || true); do
            kill -KILL "$pid" 2>/dev/null || true
        done
        ip netns del "$tag-$node" 2>/dev/null || true
    done
}

make_machines() {
    ip netns add "$tag-0" && ip netns add "$tag-1" || return 1
    ip link add "$tag.0" type veth peer name "$tag.1" || return 1
    for node in 0 1; do
        ip link set "$tag.$node" netns "$tag-$node" || return 1
        ip -n "$tag-$node" address add "10.77.0.$((node + 1))/24" dev "$tag.$node" || return 1
        ip -n "$tag-$node" link set "$tag.$node" up && ip -n "$tag-$node" link set lo up || return 1
    done
}

trap remove_machines EXIT
if [[ -z ${LOOPBACK:-} ]] && make_machines 2>"$folder/namespaces.log"; then
    say "two network namespaces, 10.77.0.1 and 10.77.0.2"
    export MASTER_ADDR=10.77.0.1
    on() { GLOO_SOCKET_IFNAME=$tag.$1 NODE_RANK=$1 ip netns exec "$tag-$1" "${@:2}"; }
else
    reason=${LOOPBACK:+LOOPBACK is set}
    say "no network namespaces (${reason:-$(head -n 1 "$folder/namespaces.log")}): the loopback device"
    remove_machines
    export MASTER_ADDR=127.0.0.1
    on() { GLOO_SOCKET_IFNAME=lo NODE_RANK=$1 "${@:2}"; }
fi

# Runs a command on both machines, the second one's output into a file.
both() {
    export PORT=$((20000 + RANDOM % 20000))
    on 1 "$@" >"$folder/machine1.log" 2>&1 &
    second=$!
    on 0 "$@" 2>&1 | tail -n 4
    wait "$second"
}

# A process and those that it started, and so on.
family() {
    echo "$1"
    for child in $(ps -o pid= --ppid "$1"); do family "$child"; done
}

say "toy data and the config"
images=$folder/data/imagenet
if [[ ! -d $images/val.lmdb ]]; then
    "$PYTHON" "$root/tools/dataset_converters/make_toy_data.py" --only imagenet --out "$folder/data" \
        --num-train 480 --num-val 60 --overwrite >/dev/null
    # The second machine would build the second shard; both are read as one database.
    for task in "train --shard 1/2" "train --shard 2/2" val; do
        read -r -a words <<<"$task"
        "$PYTHON" "$root/tools/dataset_converters/create_lmdb_dataset.py" create \
            "$images/${words[0]}" "$images/${words[0]}.lmdb" "${words[@]:1}" --overwrite --quiet
    done
fi
strategy=${STRATEGY:+, \'$root/configs/_base_/strategies/$STRATEGY.py\'}
cat >"$folder/two_machines.py" <<CONFIG
_base_ = ['$root/configs/toy/cls_mambaout.py'$strategy]
env_cfg = dict(dist_cfg=dict(timeout=120))
default_hooks = dict(checkpoint=dict(interval=1, save_last=True, max_keep_ckpts=1))
CONFIG
data=(--cfg-options)
for split in train val test; do
    data+=("${split}_dataloader.dataset.data_root=$images")
    data+=("${split}_dataloader.num_workers=0" "${split}_dataloader.persistent_workers=False")
done
data+=("train_dataloader.dataset.data_prefix=train-*-of-00002")
train=("$root/tools/dist_train.sh" "$folder/two_machines.py" "$processes" --seed 0)

say "training on both"
rm -rf "$folder/run" "$folder/killed"
both "${train[@]}" --work-dir "$folder/run" "${data[@]}" train_cfg.max_epochs=2
say "testing on both"
both "$root/tools/dist_test.sh" "$folder/two_machines.py" "$folder/run/epoch_2.pth" "$processes" \
    --work-dir "$folder/run" "${data[@]}"

say "the second one dies amid a training"
export PORT=$((20000 + RANDOM % 20000))
command=("${train[@]}" --work-dir "$folder/killed" "${data[@]}" train_cfg.max_epochs=4)
on 1 "${command[@]}" >"$folder/machine1.log" 2>&1 &
second=$!
on 0 "${command[@]}" >"$folder/machine0.log" 2>&1 &
first=$!
until [[ -e $folder/killed/last_checkpoint ]]; do
    sleep 0.2
    kill -0 "$first" 2>/dev/null || { tail -n 5 "$folder/machine0.log"; exit 1; }
done
# torchrun gives each of its processes a session of its own.
read -r -a victims <<<"$(family "$second" | tr '\n' ' ')"
kill -KILL "${victims[@]}"
code=0
wait "$first" || code=$?
grep -a "^error:" "$folder/machine0.log" || { tail -n 20 "$folder/machine0.log"; exit 1; }
((code != 0)) || { echo "the first machine should not have ended well"; exit 1; }

say "the first one ended with code $code; both go on from $(basename "$(cat "$folder/killed/last_checkpoint")")"
both "${command[@]:0:5}" --resume "${command[@]:5}"
test -e "$folder/killed/epoch_4.pth"
say "done: trained, tested, lost a machine, went on to the end"
