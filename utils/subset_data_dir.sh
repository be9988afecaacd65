#!/usr/bin/env bash
# Some utterances of a data directory. Runs sec_data_dir subset.
# Usage: utils/subset_data_dir.sh [--first|--last|--shortest|--speakers|--per-spk] SRC NUMBER DEST
#        utils/subset_data_dir.sh --utt-list|--spk-list FILE SRC DEST
set -euo pipefail

root=$(cd "$(dirname "$0")" && cd "$(pwd -P)/.." && pwd)
PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} exec python3 -m espnet2_secap.bin.sec_data_dir subset "$@"
