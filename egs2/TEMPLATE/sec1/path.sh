#!/usr/bin/env bash
# Environment of the recipe: source this file first (. ./path.sh), from any folder.
# Prepends tools/venv and utils/ to PATH and the repository to PYTHONPATH. Variables that you have set are kept:
# HF_HOME, HF_HUB_OFFLINE=1 (use local copies of hub models only), CUDA_VISIBLE_DEVICES, OMP_NUM_THREADS, ...

MAIN_ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../.." && pwd -P)
export MAIN_ROOT
if [ ! -d "${MAIN_ROOT}/espnet2_secap" ]; then
    echo "path.sh: error: ${MAIN_ROOT} is not the repository; path.sh must be in egs2/<corpus>/sec1, or a link to such a file" >&2
    return 1
fi
if [ ! -x "${MAIN_ROOT}/tools/venv/bin/python3" ]; then
    echo "path.sh: error: no Python in ${MAIN_ROOT}/tools/venv: run 'make -C ${MAIN_ROOT}/tools' first" >&2
    return 1
fi

export PATH="${MAIN_ROOT}/tools/venv/bin:${MAIN_ROOT}/utils:${PATH}"
export PYTHONPATH="${MAIN_ROOT}${PYTHONPATH:+:${PYTHONPATH}}"
export PYTHONNOUSERSITE=1
export PYTHONUNBUFFERED=1
export PYTHONUTF8=1

# UTF-8 text, sorted by byte order
case $(locale -a 2>/dev/null) in
    *C.utf8* | *C.UTF-8*) export LC_ALL=C.UTF-8 ;;
    *) export LC_ALL=C ;;
esac

# One thread per process, since jobs run in parallel; --num_threads of run.pl gives a job more.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Waiting threads sleep instead of spinning, which would cost more than it saves on a busy machine.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
export TOKENIZERS_PARALLELISM="${TOKENIZERS_PARALLELISM:-false}"

# Hub models: their folder, and whether to work without network access. Set these here permanently, or in your shell;
# Slurm jobs get them in both cases.
# HF_HOME=/somewhere/huggingface
# HF_HUB_OFFLINE=1
# TRANSFORMERS_OFFLINE=1
for name in HF_HOME HF_HUB_OFFLINE TRANSFORMERS_OFFLINE; do
    if [ -n "${!name:-}" ]; then export "${name?}"; fi
done
unset name
