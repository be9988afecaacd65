import dataclasses

import pytest
import yaml

from espnet2_secap.bin import sec_inference
from espnet2_secap.decoder.options import DecodingOptions, SetOptions
from espnet2_secap.errors import SecError


@pytest.mark.parametrize(
    "values, message",
    [
        ({"num_candidates": 4, "beam_size": 2}, "4 candidates of beam_size 2"),
        ({"num_candidates": 0}, "--num_candidates 0: must be at least 1"),
        ({"top_p": 0.0}, "--top_p 0.0: must be above 0"),
        ({"top_p": 1.5}, "at most 1"),
        ({"temperature": 0.0}, "--temperature 0.0"),
        ({"min_length": 9, "max_length": 3}, "--min_length 9: is above --max_length 3"),
        ({"top_k": -1}, "--top_k -1: must be 0 or more"),
        ({"no_repeat_ngram_size": -2}, "must be 0 or more"),
        ({"keep": 2}, "--keep 2: must be between 0 and --num_candidates 1"),
        ({"batch_size": 0}, "--batch_size 0: must be at least 1"),
    ],
)
def test_values_out_of_range_are_named(values, message):
    with pytest.raises(SecError, match=message):
        SetOptions(**values)


def test_program_and_python_have_the_same_options_and_defaults():
    args = sec_inference.get_parser().parse_args(["--data_dir", "d", "--output_dir", "o"])
    for field in dataclasses.fields(SetOptions):
        assert getattr(args, field.name) == field.default, field.name
    assert {f.name for f in dataclasses.fields(DecodingOptions)} < {f.name for f in dataclasses.fields(SetOptions)}


def test_every_key_of_the_recipes_decoding_is_an_option(repo):
    known = {field.name for field in dataclasses.fields(SetOptions)}
    files = list((repo / "egs2").glob("*/sec1/conf/decode*.yaml"))
    assert len(files) >= 3
    for path in files:
        conf = yaml.safe_load(path.read_text())
        assert set(conf) <= known, path
        SetOptions(**conf)
