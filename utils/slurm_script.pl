# The batch script of slurm.pl, which loads this with require.
use strict;
use warnings;

# What runs on the node. Its variables come before it, each as NAME='VALUE'; MARK stands in them for the task's number.
my $BODY = <<'END';
slurm_id=${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID}}${SLURM_ARRAY_TASK_ID:+_${SLURM_ARRAY_TASK_ID}}
for name in slurm_line slurm_log slurm_status; do
    printf -v "${name}" '%s' "${!name//"${slurm_mark}"/"${SLURM_ARRAY_TASK_ID:-}"}"
done
cd -- "${slurm_folder}" || exit 1
rm -f -- "${slurm_status}" || exit 1
now() { LC_ALL=C date '+%a %b %e %H:%M:%S %Z %Y'; }
field() { sed -nE "s/(^|.* )$1=([^ ]*).*/\2/p" <<< "${slurm_record}" | head -n 1; }
# finish STATUS: end the log, tell slurm.pl
finish() {
    local seconds=$(($(date +%s) - slurm_start))
    {
        echo "# Accounting: time=${seconds} threads=${slurm_threads:-1}"
        echo "# Finished at $(now) with status $1"
    } >> "${slurm_log}"
    echo "$1" > "${slurm_status}.tmp" && mv -f -- "${slurm_status}.tmp" "${slurm_status}" || exit 1
    [ "$1" -eq 0 ] || exit 1 # never 99, by which some clusters bring back even a cancelled job
    exit 0
}

if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    echo "# Started again by Slurm, time ${SLURM_RESTART_COUNT}" >> "${slurm_log}" || exit 1
else
    : > "${slurm_log}" || exit 1
fi
slurm_start=$(date +%s)
{
    echo "# ${slurm_line//$'\n'/$'\n# '}"
    echo "# Running on ${SLURMD_NODENAME:-$(uname -n)} as Slurm job ${slurm_id}"
    echo "# Started at $(now)"
    echo "#"
} >> "${slurm_log}"
export SLURM_EXPORT_ENV=ALL # else srun passes on what sbatch was told to, and nothing of path.sh
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK} # srun no longer looks at the first

# USR1 is ignored in the command: only a program with a handler of its own feels it.
trap '' USR1
(
    if [ -f ./path.sh ]; then
        trap 'echo "slurm.pl: error: ./path.sh failed, see above"; exit 1' EXIT
        . ./path.sh || exit 1
        trap - EXIT
    fi
    [ -z "${slurm_threads}" ] || export OMP_NUM_THREADS=${slurm_threads}
    exec bash -o pipefail -c "${slurm_line}"
) >> "${slurm_log}" 2>&1 < /dev/null &
slurm_pid=$!
# Slurm's warning comes to this script alone, so it is passed on to its process group. TERM comes to all processes:
# sent twice, it would kill a program that is just ending well.
warn() { slurm_signal=USR1; trap '' USR1; kill -s USR1 0; trap warn USR1; }
trap warn USR1
trap 'slurm_signal=TERM slurm_term=yes' TERM
while slurm_signal=; do # a signal ends wait, not the command
    wait "${slurm_pid}"
    slurm_code=$?
    [ -n "${slurm_signal}" ] || break
done
trap '' USR1 TERM

if [ -n "${slurm_term:-}" ] || [ "${slurm_code}" -eq 99 ]; then
    slurm_record=$(timeout 20 scontrol show job "${slurm_id}")
    restarts=$(field Restarts)
    if [ "${restarts:-0}" -gt "${SLURM_RESTART_COUNT:-0}" ]; then
        echo "# Ended at $(now) with status ${slurm_code}: Slurm runs the job again" >> "${slurm_log}"
        exit 1
    fi
    # Running, or out of time: nobody has cancelled it.
    if [ "${slurm_code}" -eq 99 ] && [[ "$(field JobState) $(field Reason)" =~ ^RUNNING|TimeLimit$ ]]; then
        echo "# Saved at $(now) with status 99: asking Slurm to run the job again" >> "${slurm_log}"
        scontrol requeue "${slurm_id}" >> "${slurm_log}" 2>&1 && exit 99
    fi
fi
finish "${slurm_code}"
END

# (hash of the variables slurm_... and their values) -> text of the script
sub batch_script {
    my (%value) = @_;
    my @lines = map { "slurm_$_=" . shell_quote($value{$_}) . "\n" } sort keys %value;
    return join '', "#!/usr/bin/env bash\n# Written by slurm.pl for one call of it.\n", @lines, $BODY;
}

1;
