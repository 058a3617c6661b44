#!/bin/sh
# A draft worker on one node of a job; srun starts it, hsd.sbatch sets the environment. A worker that
# dies is started again, with the same keys.
set -eu
umask 077
node=$SLURMD_NODENAME
own=$HSD_SECRETS.$node
rm -rf "$own"
mkdir -p "$own"
worker=
finish() {
    [ -z "$worker" ] || kill "$worker" 2>/dev/null || true
    rm -rf "$own"
    exit 0
}
trap finish TERM INT

"$HSD" keygen "$own/$node" >/dev/null
cp "$own/$node.pub" "$HSD_FOLDER/$node.pub"

while :; do
    # shellcheck disable=SC2086 # a list
    "$HSD" worker --listen "tcp://*:$HSD_PORT" --key "$own/$node.key" --clients "$HSD_FOLDER/clients" \
        --ready-fd 3 ${HSD_WORKER_ARGS:-} 3>"$HSD_FOLDER/$node.ready.new" &
    worker=$!
    # The file that says so is there when the worker is.
    until [ -s "$HSD_FOLDER/$node.ready.new" ] || ! kill -0 "$worker" 2>/dev/null; do
        sleep 0.1
    done
    [ ! -s "$HSD_FOLDER/$node.ready.new" ] || mv "$HSD_FOLDER/$node.ready.new" "$HSD_FOLDER/$node.ready"
    wait "$worker" && break
    echo "worker of $node ended; another one is started" >&2
    sleep 1
done
rm -rf "$own"
