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
        ({"num_candidates": 0}, "--num_candidates 0: must be between 1 and 10000"),
        ({"top_p": 0.0}, "--top_p 0.0: must be above 0 and at most 1"),
        ({"top_p": 1.5}, "at most 1"),
        ({"temperature": 0.0}, "--temperature 0.0"),
        ({"min_length": 9, "max_length": 3}, "--min_length 9: is above --max_length 3"),
        ({"top_k": -1}, "--top_k -1: must be at least 0"),
        ({"no_repeat_ngram_size": -2}, "must be at least 0"),
        ({"keep": 2}, "--keep 2: must be between 0 and --num_candidates 1"),
        ({"keep": -1}, "--keep -1: must be at least 0"),
        ({"keep": 4, "beams": 2}, "between 0 and --num_candidates 1 \\+ --beams 2"),
        ({"beams": 2}, "--keep 0: --beams chooses among candidates; give --keep 1 or more"),
        ({"candidates": "f"}, "--keep 0: --candidates"),
        ({"weights": "probability"}, "--keep 0: --weights probability"),
        ({"weights": "both", "keep": 1}, "--weights 'both': must be one of equal, probability"),
        ({"candidates": "f", "keep": 1, "sampling": True}, "--candidates: take the place of --sampling true"),
        ({"candidates": "f", "keep": 1, "beams": 4}, "--candidates: take the place of --beams 4; give no --beams"),
        ({"candidates": "f", "keep": 1, "choose_from": "all"}, "--choose_from all: needs --candidates, and --beams or"),
        ({"beams": 2, "keep": 1, "choose_from": "generated"}, "--choose_from generated: needs --candidates"),
        ({"candidates": "f", "keep": 1, "choose_from": "beams"}, "must be one of candidates, generated, all"),
        ({"posterior_prior": 9, "keep": 1}, "--posterior_prior 9: is for the captions of --candidates"),
        ({"posterior_neighbours": 0.5, "keep": 1}, "--posterior_neighbours 0.5: is for the captions of --candidates"),
        ({"posterior_neighbours": 1.5}, "posterior_neighbours"),
        (
            {"candidates": "f", "keep": 1, "similarity_model": "m"},
            "--similarity_model: is for candidates of equal weight",
        ),
        ({"best_of": 8, "candidates": "f"}, "--best_of 8: is of samples; give neither --candidates nor --beams"),
        ({"best_of": 8, "beams": 2}, "--best_of 8: is of samples"),
        ({"best_of": -1}, "--best_of -1: must be between 0 and 10000"),
        ({"judge": "m"}, "--keep 0: --judge chooses among candidates; give --keep 1 or more"),
        ({"judge": "m", "keep": 1, "candidates": "f"}, "--judge: is for candidates of equal weight"),
        ({"judge": "m", "keep": 1, "similarity_model": "s"}, "--judge: takes the place of --similarity_model"),
        ({"judge_cache": "c"}, "--judge_prompt, --judge_cache: are for --judge"),
        ({"agreement": 1}, "--keep 0: --agreement chooses among candidates"),
        ({"agreement": -1, "keep": 1}, "--agreement -1: must be between 0 and 1000"),
        ({"agreement": 1, "keep": 1, "agreement_attributes": " "}, "--agreement_attributes: is empty"),
        ({"candidates": "f", "keep": 1, "posterior_temperature": 0}, "--posterior_temperature 0: must be between"),
        ({"batch_size": 0}, "--batch_size 0: must be at least 1"),
        ({"beam_size": 0}, "--beam_size 0: must be between 1 and 1000"),
        ({"min_length": -1}, "--min_length -1: must be between 0 and 10000"),
        ({"min_length": 0, "max_length": 0}, "--max_length 0: must be between 1 and 10000"),
        ({"repetition_penalty": 0.0}, "--repetition_penalty 0.0: must be between 0.001 and 1000"),
        ({"temperature": -0.5}, "--temperature -0.5: must be between 0.0001 and 1000"),
    ],
)
def test_values_out_of_range_are_named(values, message):
    with pytest.raises(SecError, match=message):
        SetOptions(**values)


def test_the_ends_of_the_ranges_are_allowed():
    least = dict(num_candidates=1, beam_size=1, min_length=0, max_length=1, top_k=0, no_repeat_ngram_size=0, keep=0)
    SetOptions(**least, batch_size=1, top_p=1.0, temperature=0.1, repetition_penalty=0.1)
    SetOptions(num_candidates=3, beam_size=3, keep=3, min_length=5, max_length=5)
    SetOptions(num_candidates=4, beam_size=1, sampling=True)
    SetOptions(num_candidates=2, beams=3, keep=5, sampling=True)
    SetOptions(candidates="train/captions", keep=5, beams=2, choose_from="all", posterior_temperature=0.5)
    SetOptions(candidates="f", keep=1, sampling=True, num_candidates=9, choose_from="generated", posterior_prior=27)


def test_best_of_n_is_a_choice_among_samples():
    options = SetOptions(best_of=8, temperature=0.7, num_candidates=20, keep=3, sampling=True)
    assert (options.sampling, options.num_candidates, options.keep) == (True, 8, 1)
    explicit = SetOptions(sampling=True, num_candidates=8, keep=1, temperature=0.7)
    assert dataclasses.replace(options, best_of=0) == explicit
    assert SetOptions(best_of=4, judge="m", judge_cache="c").keep == 1


def test_by_default_one_caption_by_greedy_search():
    assert dataclasses.asdict(SetOptions()) == dict(
        num_candidates=1, beam_size=1, sampling=False, min_length=3, max_length=50, top_k=0, top_p=1.0, temperature=1.0,
        repetition_penalty=1.0, no_repeat_ngram_size=0, length_penalty=1.0, early_stopping=False,
        forced_end=False, batch_size=16, keep=0,
        similarity_model=None, dtype=None, prompt=None, seed=0, device="cpu", beams=0, weights="equal", candidates=None,
        choose_from="candidates", posterior_temperature=1.0, posterior_per_token=False, posterior_prior=0,
        posterior_neighbours=0.0, best_of=0, judge=None, judge_prompt=None, judge_cache=None,
        clues=None, clues_confidence=0.5, clues_neighbours=5,
        agreement=0.0, agreement_attributes="emotion emotion_quadrant", words="zh",
    )  # fmt: skip


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
