"""Each promise of PAPERS.md has tests that fail when it is broken; this table says which."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from espnet2_secap.tasks.options import TaskOptions

REPO = Path(__file__).resolve().parent.parent
CONF = REPO / "egs2"

# Number in "Where we differ, or the paper does not say" -> tests, as pytest names them.
WHERE_WE_DIFFER = {
    1: """
        model/test_align.py::test_a_text_is_the_mean_over_its_tokens_and_speech_the_mean_over_the_queries
        test_masks.py::test_masked_mean_ignores_padding_and_survives_an_empty_row
    """,
    2: """
        loss/test_sccl.py::test_eq_5_by_hand
        loss/test_sccl.py::test_mean_is_a_third_of_the_sum
    """,
    3: """
        loss/test_sccl.py::test_centring_by_hand
        loss/test_sccl.py::test_the_defaults_are_eq_5_without_a_margin
        model/test_align.py::test_the_terms_are_of_the_captions_and_of_the_transcriptions
        model/test_align.py::test_what_the_options_are_by_default
        test_promises.py::test_mini_parts_and_the_papers_sizes
    """,
    4: """
        model/test_align.py::test_stmil_standardises_both_embeddings
        model/test_align.py::test_bound_moves_the_speech_side_only_and_fit_the_estimator_only
        model/test_align.py::test_the_bound_moves_the_text_side_only_if_told_to
        model/test_align.py::test_stmil_removes_what_the_text_tells
        model/test_align.py::test_the_estimator_has_a_group_and_a_learning_rate_of_its_own
        loss/test_estimator.py::test_shapes_and_the_range_of_the_log_variance
        test_promises.py::test_mini_parts_and_the_papers_sizes
    """,
    5: """
        model/test_caption.py::test_every_caption_token_is_trained
        decoder/test_causal_lm.py::test_log_probabilities_equal_transformers
    """,
    6: """
        text/test_preprocessor.py::test_second_stage_draws_caption_and_instruction_per_utterance
        text/test_preprocessor.py::test_a_draw_depends_on_seed_epoch_and_utterance_alone
    """,
    7: """
        encoder/test_s3prl.py::test_last_is_last_hidden_state
        bridge/test_qformer.py::test_padding_of_speech_changes_nothing
        bridge/test_qformer.py::test_padding_of_text_changes_nothing
        decoder/test_causal_lm.py::test_log_probabilities_equal_transformers
        decoder/test_causal_lm.py::test_a_batch_decodes_as_its_utterances_one_by_one
        model/test_caption.py::test_a_batch_gives_the_loss_of_its_utterances_one_by_one
    """,
    8: """
        bridge/test_qformer.py::test_random_weights_have_the_scale_that_is_asked_for
        test_promises.py::test_mini_parts_and_the_papers_sizes
    """,
    9: """
        model/test_caption.py::test_specaug_masks_features_in_training_only
        test_promises.py::test_mini_parts_and_the_papers_sizes
    """,
    10: """
        metric/test_dice.py::test_similarity_by_hand
        inference/test_consensus.py::test_what_most_agree_on_comes_first
        inference/test_decode.py::test_the_candidates_most_like_all_are_kept
        test_promises.py::test_decoding_of_the_recipes
    """,
    11: """
        decoder/test_causal_lm.py::test_the_whole_lm_is_trained_where_it_is_not_frozen
        decoder/test_causal_lm.py::test_frozen_keeps_its_dtype_and_mode
        model/test_caption.py::test_an_lm_that_is_not_frozen_is_in_the_state_whole
        test_promises.py::test_the_decoder_of_emospeech
    """,
    12: """
        feats/test_stats.py::test_global_mvn_makes_the_training_frames_standard
        bridge/test_frames.py::test_means_by_hand
        bridge/test_qformer.py::test_stride_reads_the_mean_of_every_few_frames
        augment/test_noise.py::test_the_shift_is_one_vector_per_utterance_and_the_jitter_is_not
        model/test_abs_model.py::test_noise_while_training_only_and_of_normalised_features
        test_promises.py::test_mini_parts_and_the_papers_sizes
    """,
    13: """
        metric/test_spice.py::test_chinese_by_characters
        metric/test_spice.py::test_what_is_behind_the_80th_token_does_not_count
        metric/test_spice.py::test_beginning_that_counts
        metric/test_spice.py::test_the_same_as_spice_s_own_program
    """,
    14: """
        loss/test_precision.py::test_arguments_are_float32_and_autocast_is_off_within
        loss/test_precision.py::test_a_cosine_near_one_keeps_its_digits_under_autocast
        model/test_align.py::test_under_autocast_both_losses_are_in_float32
        decoder/test_causal_lm.py::test_the_cross_entropy_is_in_float32
    """,
    15: """
        model/test_caption.py::test_the_second_task_is_added_and_reported
        model/test_caption.py::test_caption_dropout_hides_what_is_read_and_not_what_is_predicted
        model/test_caption.py::test_label_smoothing_in_training_only
        model/test_caption.py::test_mixup_by_hand
        data/test_perturb.py::test_the_copies_of_a_data_directory
        bridge/test_qformer.py::test_statistics_are_one_more_key_and_part_of_every_query
        model/test_caption.py::test_listening_is_what_the_next_utterances_speech_costs
        tasks/test_attributes.py::test_a_training_learns_reports_and_keeps_its_classes
    """,
}
OTHER_PROMISES = {
    "a set of captions is weighted by the model's exact probabilities, and no seed decides": """
        inference/test_posterior.py::test_log_probabilities_are_those_of_teacher_forcing_in_any_batching
        inference/test_posterior.py::test_what_is_kept_has_the_highest_expected_similarity
        inference/test_posterior.py::test_nothing_hangs_on_the_seed
    """,
    "the released tensors under our names": """
        publish/test_import_secap.py::test_every_tensor_of_the_released_code
        publish/test_import_secap.py::test_greedy_captions
    """,
    "sizes are read from the released tensors, heads from the text encoder": """
        publish/test_import_secap.py::test_other_sizes_are_read_from_the_checkpoint
        publish/test_import_secap.py::test_the_folder_is_an_ordinary_experiment
    """,
    "a released HTSAT-BART computes what the released code does": """
        publish/test_import_htsat_bart.py::test_every_tensor_of_the_encoder
        publish/test_import_htsat_bart.py::test_every_tensor_behind_the_encoder
        publish/test_import_htsat_bart.py::test_captions
        publish/test_import_htsat_bart.py::test_the_released_way_to_fill_batches
        publish/test_import_htsat_bart.py::test_mistakes_are_seen
        publish/test_import_htsat_bart.py::test_other_sizes_are_read_from_the_checkpoint
        encoder/test_clap.py::test_frames_are_those_of_transformers
    """,
    "the released prompt keeps its own BOS": """
        text/test_template.py::test_plain_and_released_order
        text/test_tokenizer.py::test_released_prompt_ids
    """,
    "the published decoding": """
        test_promises.py::test_decoding_of_the_recipes
        text/test_sentence.py::test_what_the_released_code_keeps
        text/test_sentence.py::test_of_equals_argsort_drops_the_earlier
    """,
    "the search is transformers'": """
        decoder/test_beam_sample.py::test_equals_transformers_when_the_likeliest_are_drawn
        decoder/test_beam_sample.py::test_draws_as_often_as_transformers
    """,
    "penalties are for the caption's own tokens": """
        decoder/test_beam_sample.py::test_penalties_by_hand
        decoder/test_causal_lm.py::test_penalties_for_repetition_reach_the_lm
    """,
    "published scores, segmentation char and the deviation of the population": """
        metric/test_score.py::test_published_scores_come_out
        metric/test_score.py::test_published_meteor_comes_out
        metric/test_score.py::test_candidates_are_scored_one_by_one
    """,
    "SIM1, BERTScore, distinct": """
        metric/test_similarity.py::test_sim_of_the_released_code
        metric/test_bertscore.py::test_values_of_bert_score
        metric/test_diversity.py::test_distinct_by_hand
    """,
    "bootstrap over utterances, paired": """
        report/test_resample.py::test_two_utterances_enumerated
        report/test_resample.py::test_same_resamples_for_all_parts_and_each_time
    """,
    "quoted results are never in bold": """
        report/test_page.py::test_tables_stand_in_the_page
        report/test_quoted.py::test_secap_table_2
    """,
    "projection only in stage 2": """
        model/test_caption.py::test_frozen_bridge_is_saved_but_not_trained
    """,
}


@pytest.mark.parametrize("promise", [*WHERE_WE_DIFFER, *OTHER_PROMISES])
def test_its_tests_are_there(promise):
    for test in {**WHERE_WE_DIFFER, **OTHER_PROMISES}[promise].split():
        file, name = test.split("::")
        tree = ast.parse((REPO / "test" / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_every_number_has_a_test():
    section = (REPO / "PAPERS.md").read_text(encoding="utf-8").split("### Where we differ")[1].split("\n### ")[0]
    numbers = re.findall(r"^(\d+)\. \*\*", section, re.MULTILINE)
    assert list(map(int, numbers)) == list(WHERE_WE_DIFFER), "a new promise: name its tests above"


def conf(recipe: str, name: str) -> dict:
    return yaml.safe_load((CONF / recipe / "sec1" / "conf" / f"{name}.yaml").read_text(encoding="utf-8"))


def test_mini_parts_and_the_papers_sizes():
    """What mini parts add to the paper's configuration, and that the paper's has none of it (3, 4, 8, 9, 12)."""
    for recipe, kind in (("mini_emospeech", "specaug"), ("TEMPLATE", "specaug"), ("emospeech", "noise")):
        align, caption = conf(recipe, "align"), conf(recipe, "caption")
        assert align["model_conf"]["sccl_center"] is True and align["model_conf"]["sccl_reduction"] == "mean"
        assert align["model_conf"]["estimator_lr"] > align["optim_conf"]["lr"]
        for one in (align, caption):
            assert one["bridge_conf"]["hidden_size"] == 192 and one["bridge_conf"]["initializer_range"] == 0.07
            assert one["specaug"] == kind and one["specaug_conf"], recipe
    for name in ("align", "caption"):
        small = conf("emospeech", name)
        assert small["specaug_conf"] == {"shift": 1.0}
        bridge = small["bridge_conf"]
        assert (bridge["stride"], bridge["num_layers"], bridge["num_queries"]) == (50, 1, 2)
        assert "stride" not in conf("mini_emospeech", name)["bridge_conf"]
        large = conf("TEMPLATE", f"{name}_large")
        assert not {"specaug", "specaug_conf"} & large.keys()
        assert not {"stride", "initializer_range"} & large["bridge_conf"].keys()
        assert large["bridge_conf"]["init"] == "bert-base-chinese"
    large = conf("TEMPLATE", "align_large")
    assert "sccl_center" not in large["model_conf"]
    assert large["model_conf"]["estimator_lr"] > large["optim_conf"]["lr"]
    run = (CONF / "emospeech" / "sec1" / "run.sh").read_text(encoding="utf-8")
    assert "--feats_normalize global_mvn" in run and '--feats_normalize ""' in run, "and not with the paper's sizes"
    assert "feats_normalize" not in (CONF / "mini_emospeech" / "sec1" / "run.sh").read_text(encoding="utf-8")


def test_decoding_of_the_recipes():
    """One of 20 samples, or of the training captions without a draw (10); as published: five of eight by a sentence
    encoder."""
    options = conf("mini_emospeech", "decode")
    assert options["sampling"] is True and options["num_candidates"] == 20 and options["keep"] == 1
    assert "similarity_model" not in options and options.get("beam_size", 1) == 1
    options = conf("emospeech", "decode")
    assert options["candidates"] == "training" and options["keep"] == 1 and "sampling" not in options
    assert all(options[name] > 0 for name in ("agreement", "posterior_prior", "posterior_neighbours"))
    published = conf("TEMPLATE", "decode_secap")
    assert published.pop("batch_size") > 1
    assert published == dict(
        sampling=True, num_candidates=8, beam_size=5, top_k=10, top_p=0.95, repetition_penalty=10.0,
        no_repeat_ngram_size=2, min_length=3, max_length=50, keep=5,
        similarity_model="shibing624/text2vec-base-chinese",
    )  # fmt: skip


def test_the_decoder_of_emospeech():
    """With mini parts it is trained in stage 6 from random weights, with one prompt (11), and reads what the second
    task predicts (15); elsewhere it is frozen."""
    second = conf("emospeech", "caption")["model_conf"]
    assert second["attributes_weight"] > 0 and second["attributes_prompt"] is True
    assert conf("emospeech", "caption")["decoder_conf"]["freeze"] is False
    assert conf("emospeech", "pretrain")["llm"]["steps"] == 0
    prompts = CONF / "emospeech" / "sec1" / conf("emospeech", "caption")["prompts"]
    assert len(prompts.read_text(encoding="utf-8").split()) == 1
    for recipe, name in (("mini_emospeech", "caption"), ("TEMPLATE", "caption"), ("TEMPLATE", "caption_large")):
        given = conf(recipe, name)
        assert given["decoder_conf"].get("freeze", True) is True and given.get("prompts", TaskOptions.prompts) == "zh"
    assert conf("mini_emospeech", "pretrain")["llm"]["steps"] > 0
