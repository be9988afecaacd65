#!/usr/bin/env bash
# Copy a data directory, with other ids or speakers where prefixes or suffixes are given. Runs sec_data_dir copy.
# Usage: utils/copy_data_dir.sh [--utt-prefix P] [--utt-suffix S] [--spk-prefix P] [--spk-suffix S] SRC DEST
set -euo pipefail

root=$(cd "$(dirname "$0")" && cd "$(pwd -P)/.." && pwd)
PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} exec python3 -m espnet2_secap.bin.sec_data_dir copy "$@"
