#!/usr/bin/env bash
# Speed, memory and correctness on one GPU, in at most 8 minutes: tools/gpu_check.sh --work WORK --output gpu_check.json
# Needs no network. Python is tools/venv's, or PYTHON, or the python3 on PATH with what `make -C tools wheels` collected
# on its PYTHONPATH. All options: tools/gpu_check.sh --help
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ ! -x "${root}/tools/venv/bin/python3" ] || PYTHON=${root}/tools/venv/bin/python3
fi
export PYTHONPATH="${root}${PYTHONPATH:+:${PYTHONPATH}}"
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TOKENIZERS_PARALLELISM=false
export PYTHONUTF8=1 PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
exec "${PYTHON}" "${root}/tools/gpu_check.py" "$@"
