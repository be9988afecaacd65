#!/usr/bin/env bash
# Where things are: source this file first (. ./path.sh), in a recipe folder or from anywhere.
# Puts tools/venv and utils/ first on PATH, and the repository on PYTHONPATH. What you have set yourself stays:
# HF_HOME, HF_HUB_OFFLINE=1 (use local copies of hub models only), CUDA_VISIBLE_DEVICES, OMP_NUM_THREADS, ...

MAIN_ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../.." && pwd -P)
export MAIN_ROOT
if [ ! -d "${MAIN_ROOT}/espnet2_secap" ]; then
    echo "path.sh: error: ${MAIN_ROOT} is not the repository; path.sh must lie in, or link to, egs2/<corpus>/sec1" >&2
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

# UTF-8 text, in byte order
case $(locale -a 2>/dev/null) in
    *C.utf8* | *C.UTF-8*) export LC_ALL=C.UTF-8 ;;
    *) export LC_ALL=C ;;
esac

# One thread a process, for jobs run in parallel; --num_threads of run.pl gives one job more.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Threads that wait sleep instead of spinning: on a busy machine spinning costs more than it saves.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
export TOKENIZERS_PARALLELISM="${TOKENIZERS_PARALLELISM:-false}"

# Hub models: where they are, and whether to work without a network. Set these for good here, or in your shell;
# Slurm's jobs get them either way.
# HF_HOME=/somewhere/huggingface
# HF_HUB_OFFLINE=1
# TRANSFORMERS_OFFLINE=1
for name in HF_HOME HF_HUB_OFFLINE TRANSFORMERS_OFFLINE; do
    if [ -n "${!name:-}" ]; then export "${name?}"; fi
done
unset name
