#!/usr/bin/env bash
# How jobs are run: source this file in a recipe folder. Choose the backend here or, for one run, in the
# environment: cmd_backend=slurm ./run.sh
#   local   on this machine                           (utils/run.pl)
#   slurm   as Slurm jobs, options in conf/slurm.conf  (utils/slurm.pl)
cmd_backend=${cmd_backend:-local}

# train_cmd: work on CPUs, in parallel; cuda_cmd: training; decode_cmd: decoding, on CPUs or GPUs.
# Options may be added to each, e.g. train_cmd="slurm.pl --mem 8G --time 4:00:00".
case ${cmd_backend} in
    local)
        export train_cmd="run.pl"
        export cuda_cmd="run.pl"
        export decode_cmd="run.pl"
        ;;
    slurm)
        export train_cmd="slurm.pl --config conf/slurm.conf"
        export cuda_cmd="slurm.pl --config conf/slurm.conf"
        export decode_cmd="slurm.pl --config conf/slurm.conf"
        ;;
    *)
        echo "cmd.sh: error: unknown cmd_backend '${cmd_backend}': choose local or slurm, in cmd.sh or in the environment" >&2
        return 1
        ;;
esac
