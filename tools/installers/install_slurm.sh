#!/usr/bin/env bash
# Install Slurm for its tests.
set -euo pipefail

packages="slurmctld slurmd slurm-client munge"
usage="Usage: install_slurm.sh

Installs Debian's packages ${packages} (40 MB), with which the tests start a
Slurm of their own in a temporary folder. Needs root and apt-get; starts no service; keeps what is installed already.
It installs only where SLURM=1 or, in continuous integration, CI is set in the environment; SLURM=0 prevents it there."

die() {
    echo "install_slurm.sh: the tests that need Slurm are skipped: $1" >&2
    exit 1
}

case ${1:-} in
    "") ;;
    -h | --help)
        echo "${usage}"
        exit 0
        ;;
    *) die "unknown argument $1 (--help)" ;;
esac
PATH=${PATH}:/usr/sbin:/sbin
missing=()
for program in slurmctld slurmd sbatch srun squeue munged; do
    command -v "${program}" > /dev/null || missing+=("${program}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
wanted=${SLURM:-${CI:-0}}
case ${wanted,,} in
    0 | no | false) die "it is not installed; as root, SLURM=1 make test installs ${packages// /, }" ;;
esac
command -v apt-get > /dev/null || die "apt-get not found; install the programs ${missing[*]}"
[ "$(id -u)" -eq 0 ] || die "needs root; run once as root: apt-get install --no-install-recommends ${packages}"

policy=/usr/sbin/policy-rc.d # its exit status 101 forbids packages to start services
log=$(mktemp)
made=
trap 'rm -f "${log}" ${made}' EXIT
if [ ! -e "${policy}" ]; then
    made=${policy}
    printf '#!/bin/sh\nexit 101\n' > "${policy}"
    chmod 755 "${policy}"
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # several words
install() { timeout 600 apt-get install -y -q --no-install-recommends ${packages} > "${log}" 2>&1 < /dev/null; }
echo "install_slurm.sh: installing ${packages}"
install || { timeout 300 apt-get update -q > "${log}" 2>&1 < /dev/null && install; } ||
    die "apt-get could not install it: $(grep -m 1 '^E:' "${log}" || tail -n 1 "${log}")"
echo "install_slurm.sh: Slurm is installed"
