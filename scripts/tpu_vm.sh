#!/bin/bash
# A study on spot TPU VMs: create, install, train one shard on every host, fetch, delete, judge here.
#
#   BUCKET=gs://mine/pruning ZONE=us-west4-a REPOSITORY=https://... scripts/tpu_vm.sh ablations/pruning.py
#
# Hosts share only a bucket: each copies its checkpoints there every minute, and copies the bucket before it starts.
# So a preempted slice is made again and continues. Needs gcloud with a project, and the lab installed here.
set -eu
config=$1 workdir=runs/$(basename "$1" .py)
name=${NAME:-mismatch} type=${TYPE:-v5litepod-8} version=${VERSION:-v2-alpha-tpuv5-lite}

tpu() {
    local verb=$1
    shift
    gcloud compute tpus tpu-vm "$verb" "$name" --zone="$ZONE" --quiet "$@"
}

# The commands of every host. The metadata server knows its number and how many there are; the bounds make it a machine
# of its own, where a slice would wait for all hosts to run one program.
on_host="set -eu
about() { curl -sf -H Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1/instance/attributes/\$1; }
shard=\$((\$(about agent-worker-number) + 1))/\$(about worker-network-endpoints | awk -F, '{print NF}')
[ -d lab ] || git clone -q $REPOSITORY lab
cd lab
[ -d .venv ] || { python3 -m venv .venv && .venv/bin/pip install -q -e '.[tpu]'; }
push() { gcloud storage rsync -r --exclude='.*(orbax-checkpoint-tmp|[.]waste|[.]partial).*' $workdir $BUCKET; }
mkdir -p $workdir
gcloud storage rsync -r $BUCKET $workdir || true  # the bucket is empty the first time
(while sleep 60; do push; done) > push.log 2>&1 &
trap \"kill \$! 2> /dev/null\" EXIT
TPU_PROCESS_BOUNDS=1,1,1 TPU_HOST_BOUNDS=1,1,1 \\
    .venv/bin/python run.py --config=$config --workdir=$workdir --shard=\$shard
push"

there() { [ "$(tpu describe --format='value(state)' 2>/dev/null)" = READY ]; }

while true; do
    if ! there; then
        tpu delete 2>/dev/null || true # a preempted slice stays on the list
        until tpu create --accelerator-type="$type" --version="$version" --spot; do sleep 300; done
    fi
    if tpu ssh --worker=all --command="$on_host"; then break; fi
    sleep 60 # a slice is asked to end before its state shows it
    if there; then
        echo "the study failed on a slice that is still there: see above; delete it with gcloud, or run this again" >&2
        exit 1
    fi
done
tpu delete
mkdir -p "$workdir"
gcloud storage rsync -r "$BUCKET" "$workdir"
"${PYTHON:-.venv/bin/python}" run.py --config="$config" --workdir="$workdir" --only=analyze
