#!/bin/sh
# Describe the nodes of a job (docs/topology.md): the first one has the target, the others a worker
# each, as far as they are ready.
#
#     sh describe.sh $(scontrol show hostnames "$SLURM_JOB_NODELIST") >topology.yaml
#
# Figures are left out: `hsd topo --measure --yaml` on a node prints its own, to be put in here.
set -eu

# What Slurm knows of a node: `of NODE NodeAddr`.
of() {
    scontrol show node "$1" | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1
}

me=$1
shift
echo "topology: 1"
echo "name: slurm-$SLURM_JOB_ID"
echo "hosts:"
for node in "$me" "$@"; do
    memory=$(of "$node" RealMemory)
    echo "  - name: $node"
    [ "$node" != "$me" ] || echo "    here: true"
    echo "    cpus: $(of "$node" CPUTot)"
    [ "${memory:-1}" -le 1 ] || echo "    memory: $memory MiB" # 1: nobody told Slurm
done
echo "devices:"
for node in "$me" "$@"; do
    echo "  - {name: $node-cpu, type: cpu, host: $node, id: cpu}"
done
ready=
for node in "$@"; do
    [ ! -f "$HSD_FOLDER/$node.ready" ] || ready="$ready $node"
done
if [ -n "$ready" ]; then
    echo "workers:"
    for node in $ready; do
        address=$(of "$node" NodeAddr)
        echo "  - name: $node"
        echo "    device: $node-cpu"
        echo "    endpoint: \"tcp://${address:-$node}:$HSD_PORT\""
        echo "    listen: \"tcp://*:$HSD_PORT\""
        echo "    public_key: \"$HSD_FOLDER/$node.pub\""
    done
    echo "choices:"
    echo "  key: \"$HSD_SECRETS.$me/client.key\""
fi
