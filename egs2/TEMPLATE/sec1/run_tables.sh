#!/usr/bin/env bash
# The tables of a paper by one command: the plan, then all experiments that are missing, then exp/TABLES.md, .tex and .html.
#   ./run_tables.sh --dry_run true                       the plan with its time, nothing else
#   ./run_tables.sh --tables "2 3 4" --seeds "0 1 2"     repeat the command to resume
set -euo pipefail

systems=conf/tables.yaml # systems, tables and claims; your own file may have the line "extends: conf/tables.yaml"
tables=                  # ids of tables of that file, in one argument; empty: all
seeds="0"                # seeds of training and decoding
jobs=0                   # experiments at the same time; 0: one per core
folds=0                  # cross-validation in so many folds; 0: the recipe's own sets
folder=tables            # where the experiments run: a recipe folder with its own data, dump and exp
output=exp/TABLES.md     # .tex, .html and .json are written next to it
options=                 # further options of run.sh, for all experiments, in one argument
dry_run=false            # print the plan and stop

help_message=$(sed -nE '2,/^set/s/^# //p; /^help_message/q; s/^([a-z_]+)=(.*)$/  --\1 \2/p' "$0")
[ -f ./path.sh ] || { echo "run_tables.sh: error: run it from a recipe's folder, such as egs2/mini_emospeech/sec1" >&2; exit 1; }
{ # bash reads all of this before it runs any of it
. ./path.sh
. utils/parse_options.sh
[ $# -eq 0 ] || { echo "run_tables.sh: error: unexpected argument '$1'; options are --name value" >&2; exit 1; }
set -f
if ! "${dry_run}"; then
    mkdir -p "${folder}"
    exec {lock_fd}<>"${folder}/.tables.lock"
    SEC_RUN=$(sec_lock --fd "${lock_fd}" --file "${folder}/.tables.lock" --pid $$) || exit 1
    export SEC_RUN
fi
# shellcheck disable=SC2086 # lists of names and numbers
exec python3 -m espnet2_secap.bin.sec_tables --systems "${systems}" ${tables:+--tables ${tables}} --seeds ${seeds} \
    --jobs "${jobs}" --folds "${folds}" --folder "${folder}" --output "${output}" --dry_run "${dry_run}" --options=" ${options}"
}
