#!/usr/bin/env bash
# List every bad line of a data directory; exit status 1 if there is any. Runs sec_validate_data.
# Usage: utils/validate_data_dir.sh data/train [--require captions utt2emo text] [--allow_pipes true]
set -euo pipefail

root=$(cd "$(dirname "$0")" && cd "$(pwd -P)/.." && pwd)
PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} exec python3 -m espnet2_secap.bin.sec_validate_data "$@"
