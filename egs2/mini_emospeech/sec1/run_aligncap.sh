#!/usr/bin/env bash
# AlignCap on mini_emospeech, from SECap's first stage (./run.sh). ./aligncap.sh --help prints all options.
#   ./run_aligncap.sh                                                          all captions known
#   ./run_aligncap.sh --caption_fraction 0.1 --taught 3 --expdir exp/aligncap_few      a tenth of them
#   ./run_aligncap.sh --options '--zero_shot_sets "../../mini_zeroshot/sec1/data/male"'
set -euo pipefail

exec ./aligncap.sh \
    --feats_tag hubert \
    --model valid.loss.ave.pth \
    "$@"
