"""Batches of a given size instead of a given number of utterances, from stage 4's shape files."""

import logging

import pytest
import tiny_training
from tiny_training import CAPTION, SPEECH, command, make_corpus, write

from espnet2_secap.bin import sec_train


@pytest.mark.parametrize(
    "options,sampler,batches",
    [
        # utterances of 5 to 12 frames of 6 values: 6 x 12 x 4 = 288 of them with padding in the largest batch
        ({"batch_type": "numel", "batch_bins": 290}, "NumElementsBatchSampler", 2),
        # frames without padding: 5 + 6 + 7 + 8, 9 + 10 + 11, 12
        ({"batch_type": "length", "batch_bins": 30}, "LengthBatchSampler", 3),
    ],
)
def test_batches_of_so_many_values(tiny_llama, tmp_path, caplog, options, sampler, batches):
    corpus = make_corpus(tmp_path)
    conf = tiny_training.caption_conf(tiny_llama)
    del conf["batch_type"], conf["batch_size"]
    path = write(tmp_path / "conf.yaml", conf | options | {"valid_batch_type": "sorted", "max_epoch": 1})
    with caplog.at_level(logging.INFO):
        sec_train.main(command(corpus, tmp_path / "exp", path, [SPEECH, CAPTION]))
    assert (tmp_path / "exp" / "1epoch.pth").exists()
    said = next(line for line in caplog.text.splitlines() if f"[train] Batch sampler: {sampler}" in line)
    assert f"N-batch={batches}, " in said and f"batch_bins={options['batch_bins']}" in said
