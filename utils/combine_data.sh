#!/usr/bin/env bash
# Join data directories. Runs sec_data_dir combine.
# Usage: utils/combine_data.sh DEST SRC SRC ...
set -euo pipefail

root=$(cd "$(dirname "$0")" && cd "$(pwd -P)/.." && pwd)
PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} exec python3 -m espnet2_secap.bin.sec_data_dir combine "$@"
