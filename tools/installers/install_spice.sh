#!/usr/bin/env bash
# Install the parser of the metrics SPICE and SPIDEr.
set -euo pipefail

usage="Usage: install_spice.sh [FOLDER]

Downloads Stanford CoreNLP 3.6.0 with its English models (380 MB) and Rhino, which runs SPICE's classes, with Maven
(mvn) into FOLDER (default: \$SEC_SPICE, or tools/spice). For any other folder than tools/spice, set SEC_SPICE=FOLDER
for sec_score. Existing files are kept; a file is either complete or absent."

artifacts="edu.stanford.nlp:stanford-corenlp:3.6.0:jar
edu.stanford.nlp:stanford-corenlp:3.6.0:jar:models
org.mozilla:rhino:1.7.15:jar"
plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1
limit=1200 # seconds per artifact

die() {
    echo "install_spice.sh: SPICE is not installed: $1" >&2
    exit 1
}

case ${1:-} in
    -h | --help)
        echo "${usage}"
        exit 0
        ;;
    -*) die "unknown option $1 (--help)" ;;
esac
[ $# -le 1 ] || die "give at most one folder (--help)"
folder=${1:-${SEC_SPICE:-$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../spice}}

missing=()
for artifact in ${artifacts}; do
    IFS=: read -r _ name version _ classifier <<< "${artifact}"
    [ -f "${folder}/${name}-${version}${classifier:+-${classifier}}.jar" ] || missing+=("${artifact}")
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
command -v java > /dev/null || die "needs Java (e.g. apt-get install default-jre-headless)"
command -v mvn > /dev/null || die "needs Maven, but there is no mvn on the PATH (e.g. apt-get install maven)"

mkdir -p "${folder}" 2> /dev/null && [ -w "${folder}" ] || die "cannot write into ${folder}; give another folder"
folder=$(cd "${folder}" && pwd -P)
for part in "${folder}"/.part.*; do # left by a killed run
    kill -0 "${part##*.}" 2> /dev/null || rm -rf "${part}"
done
part=${folder}/.part.$$
trap 'rm -rf "${part}"' EXIT
mkdir "${part}"
cd "${part}"
for artifact in "${missing[@]}"; do
    echo "install_spice.sh: downloading ${artifact} with Maven"
    timeout --foreground "${limit}" mvn -B -q -C "${plugin}:copy" -Dartifact="${artifact}" -DoutputDirectory="${part}" \
        > log 2>&1 < /dev/null ||
        die "Maven could not download ${artifact}: $(grep -m 1 ERROR log || tail -n 1 log)"
    mv -f "${part}"/*.jar "${folder}"
done
echo "install_spice.sh: SPICE's parser is in ${folder}"
