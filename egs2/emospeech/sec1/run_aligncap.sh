#!/usr/bin/env bash
# AlignCap on the public recordings. ./aligncap.sh --help prints all options.
set -euo pipefail

exec ./aligncap.sh \
    --feats_tag acoustic \
    --align_model latest.pth \
    --model latest.pth \
    "$@"
