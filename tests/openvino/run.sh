#!/bin/sh
# Run a test with a Python that has OpenVINO: $HSD_OPENVINO_PYTHON, where a missing package is a
# failure, else python3, where it is a skip.
set -u
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
"${HSD_OPENVINO_PYTHON:-python3}" "$@"
code=$?
if [ "$code" -eq 77 ] && [ -n "${HSD_OPENVINO_PYTHON:-}" ]; then
    exit 1
fi
exit "$code"
