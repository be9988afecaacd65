"""Kinds 12, 13, 15: what can be known from options and files is known before the first stage, all of it at once.

sec.sh itself, in a recipe that setup.sh makes, with a corpus of a few tones and a program in the place of training.
"""

import json
import os
import re
import resource
import shutil
import subprocess

import numpy as np
import pytest
import soundfile as sf
import yaml

EMOTIONS = ("angry", "calm")


@pytest.fixture(scope="module")
def made(repo, tmp_path_factory, tiny_llama):
    """The recipe after stages 2 to 4, with filterbanks."""
    top = tmp_path_factory.mktemp("start") / "corpus"
    subprocess.run([repo / "egs2/TEMPLATE/sec1/setup.sh", top], check=True, stdout=subprocess.DEVNULL)
    folder = top / "sec1"
    for name, size in (("train", 6), ("valid", 3), ("test", 3)):
        data = folder / "data" / name
        data.mkdir(parents=True)
        ids = [f"{name}{i}" for i in range(size)]
        for i, utt in enumerate(ids):
            pitch = 200 + 30 * i + 7 * len(name)
            sf.write(data / f"{utt}.wav", 0.3 * np.sin(np.arange(8000) * pitch / 2500), 16000)
        write(data / "wav.scp", {utt: f"data/{name}/{utt}.wav" for utt in ids})
        write(data / "captions", dict.fromkeys(ids, json.dumps(["an angry voice"])))
        write(data / "text", dict.fromkeys(ids, "words"))
        write(data / "utt2emo", {utt: EMOTIONS[i % 2] for i, utt in enumerate(ids)})
    for name in ("align", "caption"):
        path = folder / "conf" / f"{name}.yaml"
        path.write_text(path.read_text().replace("num_categories: 6", "num_categories: 2"))
    shutil.copytree(tiny_llama, folder / "pretrained" / "llama")
    (folder / "trainer").write_text('#!/bin/sh\necho "$@" >> trained\n')
    (folder / "trainer").chmod(0o755)
    done = run(folder, "--stage", "2", "--stop-stage", "4")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def recipe(made, tmp_path):
    """A copy of it."""
    subprocess.run(["cp", "-a", made, tmp_path / "sec1"], check=True)
    for path in (tmp_path / "sec1").iterdir():
        if path.is_symlink():
            target = path.name
            path.unlink()
            path.symlink_to((made / target).resolve())
    return tmp_path / "sec1"


def write(path, table):
    path.write_text("".join(f"{key} {value}\n" for key, value in sorted(table.items())))


def run(folder, *options):
    given = ["--upstream", "fbank", "--upstream_path", "", "--nj", "1", "--python", "./trainer"]
    return subprocess.run(["./run.sh", *given, *options], cwd=folder, capture_output=True, text=True, timeout=300)


def refused(folder, *options):
    """The problems that a run is refused with; none of its stages has begun."""
    done = run(folder, *options)
    assert done.returncode == 1 and "Stage" not in done.stdout and "Traceback" not in done.stderr, done.stderr
    problems = re.findall(r"^sec\.sh: error: (.*)$", done.stderr, re.MULTILINE)
    notes = [line for line in done.stderr.splitlines() if line.startswith(("note: ", "warning: "))]
    rest = done.stderr.splitlines()[len(notes) + len(problems) :]
    assert rest == ([f"sec.sh: {len(problems)} problems, listed above; no stage was run"] if len(problems) > 1 else [])
    return problems


@pytest.mark.parametrize(
    "options, message",
    [
        ("--stage five --stop-stage 3", "--stage 'five': must be one stage"),
        ("--stage 2 --stop-stage 2,3", "--stop_stage '2,3': must be one stage"),
        ("--stage 2-3 --stop-stage 3", "--stage '2-3': must be one stage"),
        ("--stage EMPTY --stop-stage 3", "--stage '': must be one stage"),
        ("--stage 0", "--stage '0': must be one stage, a number from 1 to 8"),
        ("--stage 12 --stop-stage 12", "--stage 12: the last stage is 8, so nothing would be run"),
        ("--stage 5 --stop-stage 3", "the first is after the last; nothing would be run"),
        ("--stage 5 --stop-stage 5 --skip_align true", "nothing would be run, it is left out by --skip_align true"),
        ("--stage 7 --skip_eval true", "nothing would be run, it is left out by --skip_eval true"),
        ("--stage 3 --stop-stage 3 --feats_type raw", "nothing would be run, it is left out by --feats_type raw"),
        ("--stage 8 --test_sets EMPTY", "--test_sets '': names no set"),
    ],
)
def test_kind_12_a_run_that_would_do_nothing_is_refused_in_one_line(made, options, message):
    problems = refused(made, *("" if word == "EMPTY" else word for word in options.split()))
    assert len(problems) == 1 and message in problems[0], problems


def test_kind_12_a_corpus_that_was_not_made_and_an_empty_set(recipe):
    subprocess.run(["rm", "-r", "data/test"], cwd=recipe, check=True)
    (recipe / "local" / "data.sh").write_text("#!/bin/sh\nexit 0\n")
    done = run(recipe, "--stage", "1", "--stop-stage", "1")
    assert done.returncode == 1 and "data/test/wav.scp: local/data.sh ended well and did not make it" in done.stderr
    (recipe / "data" / "test").mkdir()
    (recipe / "data" / "test" / "wav.scp").touch()
    problems = refused(recipe, "--stage", "2", "--stop-stage", "2")
    assert any("data/test/wav.scp: is empty" in problem for problem in problems)


def test_sets_of_other_corpora_are_known_at_the_start(recipe, tmp_path):
    other = shutil.copytree(recipe / "data/test", tmp_path / "other/data/test")
    stages = ("--stage", "2", "--stop-stage", "3")
    for given, message in (
        (other, f"--zero_shot_sets {other}: another set is called test; give this one another name: OTHER={other}"),
        ("x=no/such", "--zero_shot_sets no/such: there is no no/such/wav.scp; make the corpus first"),
        (f"a={other} a={recipe}/data/valid", f"--zero_shot_sets {other}: another set is called a;"),
        (f"a$b={other}", "'a$b': a name may hold letters"),
    ):
        problems = refused(recipe, *stages, "--zero_shot_sets", str(given))
        assert message in problems[0], problems
    (problem,) = refused(recipe, *stages, "--zero_shot_sets", f"o={other}", "--folds", "2", "--fold_by", "recording")
    assert problem.startswith("--zero_shot_sets: are not divided into --folds; leave one of the two out")
    (other / "wav.scp").write_text((other / "wav.scp").read_text().replace("data/test", "sound"))
    (problem,) = refused(recipe, "--stage", "1", "--zero_shot_sets", f"o={other}")
    assert f"{other}/wav.scp: test0: sound/test0.wav is not there as seen from this recipe" in problem
    write(other / "wav.scp", {f"test{i}": other / f"test{i}.wav" for i in range(3)})
    (other / "captions").write_text("test0 nothing\n")
    assert any(f"{other}/captions:1" in one for one in refused(recipe, *stages, "--zero_shot_sets", f"o={other}"))


@pytest.mark.slow(8)
def test_kind_12_outputs_that_are_older_than_their_inputs_are_refused_with_the_stage_to_run(recipe):
    stage_6 = ("--stage", "6", "--stop-stage", "6", "--skip_align", "true")
    os.utime(recipe / "data/train/captions")  # the same content: nothing to say
    assert run(recipe, *stage_6).returncode == 0 and (recipe / "trained").exists()
    captions = recipe / "data/train/captions"
    captions.write_text(captions.read_text().replace("angry", "sad"))
    (problem,) = refused(recipe, *stage_6)
    assert "dump/raw/train: stage 2 did not make it from data/train/captions as it is now; run stage 2 again" in problem
    done = run(recipe, "--stage", "2", "--stop-stage", "2")
    assert done.returncode == 0
    assert run(recipe, *stage_6).returncode == 0
    table = recipe / "dump/fbank/train/utt2num_frames"
    table.write_text(table.read_text().replace(" ", " 1"))
    (problem,) = refused(recipe, *stage_6)
    assert (
        "exp/sec_stats_fbank/train: stage 4 did not make it from dump/fbank/train/utt2num_frames as it is now"
        in problem
    )
    (recipe / "exp/sec_stats_fbank/train/logs/made_from.json").unlink()  # the way out that the message names
    done = run(recipe, *stage_6)
    assert done.returncode == 0 and "speech_shape is older than" in done.stderr


def test_kind_13_a_download_that_is_not_whole_is_known_at_the_start(recipe):
    (recipe / "pretrained/llama/model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    shutil.copytree(recipe / "pretrained/llama", recipe / "pretrained/hubert")
    (recipe / "pretrained/hubert/model.safetensors").unlink()
    told = refused(recipe, "--stage", "3", "--upstream", "hf_hubert_custom", "--upstream_path", "pretrained/hubert")
    assert any("stage 3: --upstream_path: pretrained/hubert: has no weights" in problem for problem in told), told
    assert any("stage 6, conf/caption.yaml: decoder_conf: path: pretrained/llama" in problem for problem in told), told
    assert len(told) == 2, told


def test_kind_12_a_stage_that_did_not_end_is_told(recipe):
    logs = recipe / "exp/sec_stats_fbank/train/logs"
    (logs / "made_from.json").rename(logs / "begun.json")
    done = run(recipe, "--stage", "6", "--stop-stage", "6", "--skip_align", "true")
    assert done.returncode == 0 and "stage 4 has begun and not ended; run stage 4 again" in done.stderr


def test_kind_13_everything_that_is_wrong_is_listed_at_once(recipe):
    (recipe / "data/valid/utt2emo").write_text("valid0 angry\nvalid1 bored\nvalid2 calm\n")
    (recipe / "data/train/captions").write_text("".join(f"train{i} an angry voice\n" for i in range(6)))
    for name in ("wav.scp", "captions", "text", "utt2emo"):
        lines = (recipe / "data/test" / name).read_text().splitlines()
        (recipe / "data/test" / name).write_text(lines[0] + "\n")
    goals = {"bleu_44": [">=", 3], "cider": [">", "shufled_audio + 2"]}
    (recipe / "goals.json").write_text(json.dumps({"sec*": {"test": goals}}))
    options = {
        "stage": "2", "nj": "0", "num_nodes": "x", "fs": "7k", "lang": "english", "segment": "sentence",
        "words": "no.json", "goals": "goals.json", "quote": "nobody", "feats_dtype": "float8", "batch_seconds": "-3",
        "score_args": "--metrics bleu_9", "inference_args": "--beam_sizes 3", "format_args": "--pipe_second x",
        "extract_args": "--encoder_conf layers=1", "align_args": "--bridge_conf num_querys=3",
        "caption_args": "--optim adamx", "upstream": "fbanks", "min_wav_duration": "40",
    }  # fmt: skip
    told = "\n".join(refused(recipe, *(word for name, value in options.items() for word in (f"--{name}", value))))
    for part in (
        "--nj '0': must be a whole number of 1 or more", "--num_nodes 'x'", "argument --lang", "'sentence'",
        "data/train/captions:1: train0: is not JSON", "valid/utt2emo: category 'bored' (",
        "data/test/wav.scp: has one utterance", "--shuffled_audio false", "bleu_44", "--quote nobody: expected secap",
        "cider: > shufled_audio + 2: there is no row",
        "'float8'", "--beam_sizes", "--pipe_second", "num_querys", "adamx", "--lang 'english': must be a code",
    ):  # fmt: skip
        assert part in told or part == "argument --lang", (part, told)


CHOSEN = "--sampling false --num_candidates 1 --keep 1 --candidates"


@pytest.mark.parametrize(
    "stage, options",
    [
        (2, {
            "fs 7k": "7000",
            "feats_type mfcc": "--feats_type mfcc: expected extracted or raw",
            "inference_config conf/none.yaml": "conf/none.yaml: no such configuration",
            "words none.json": "none.json: no such words file",
            "goals none.json": "none.json: no such goals file",
            "python no_such_python": "--python no_such_python: no such program",
            "dumpdir run.sh/x": "--dumpdir run.sh/x: cannot be written",
            "expdir ": "--expdir '': names no folder",
            "emotion_map none": "none: does not exist",
            "align_args  --no_such_key 1": "no_such_key",
            "caption_args --decoder_conf path=no/such/lm": "decoder_conf: path: no/such/lm: no such folder",
        }),
        (2, {
            "fs fast": "--fs: 'fast'",
            "upstream hf_hubert_custom": "needs --upstream_path",
            "feats_normalize minmax": "--feats_normalize minmax: expected global_mvn or utterance_mvn",
            "align_config conf/none.yaml": "--align_config conf/none.yaml: no such configuration",
            "prompts none.txt": "none.txt: does not exist",
            "score_args  --help": "holds --help",
        }),
        (3, {
            "extract_args --encoder_conf layers=1": "unknown key 'layers'",
            "upstream fbanks": "--upstream fbanks: S3PRL has no such upstream; did you mean",
            "caption_args --decoder_conf path=pretrained/none": "path: pretrained/none: no such folder",
        }),
        (3, {"upstream acoustic+fbanks": "--upstream fbanks: S3PRL has no such upstream; did you mean"}),
        (1, {"upstream acoustic+acoustic": "--upstream acoustic+acoustic: must be different names"}),
        (3, {"extract_args --encoder_conf level=frame": "must say whose it is", "upstream acoustic+fbank": ""}),
        (3, {"extract_args --encoder_conf acoustic.level=x": "acoustic: level 'x'", "upstream acoustic+fbank": ""}),
        (3, {"upstream_path x": "fbank and mfcc would share it", "upstream fbank+mfcc": "give --encoder_conf fbank."}),
        (3, {
            "upstream_layer -1": "--layer -1: must be a number from 0, last, all or weighted_sum",
            "align_args --sampler_conf num_categories=9": "num_categories=9, but utt2emo has only 2",
            "score_args --metrics cidre": "no metric 'cidre'",
        }),
        (3, {
            "align_args --encoder s3prl --no": "--no",
            "feats_normalize global_mvn": "--feats_normalize global_mvn needs stored features",
            "feats_type raw": "encoder: stored reads features, and --feats_type raw gives audio",
        }),
        (5, {
            "align_args --optim_conf lrr=3 --scheduler_conf warmup_step=3": "stage 5, conf/align.yaml: optim_conf of",
            "caption_args --optim adam --optim_conf betas=[1]": "optim: adam: betas [1]: must be a list of 2",
            "align_model x.pth": "scheduler_conf of scheduler: warmuplr: unknown key 'warmup_step'",
        }),
        (6, {"skip_align true": "", "caption_args --best_model_criterion valid,los,min": "there is no such value"}),
        (6, {"align_model x.pth": "exp/sec_align_fbank/x.pth is missing: run stage 5 first"}),
        (6, {"pretrained_model exp/none.pth:bridge": "exp/none.pth is missing: run stage 5 first"}),
        (7, {
            "inference_model x.pth": "exp/sec_caption_fbank/x.pth is missing: run stage 6 first",
            "inference_args --agreement 1 --agreement_attributes mood": "--words zh has no such attribute; it has: ",
        }),
        (7, {f"inference_args {CHOSEN} no_file": "candidates: no_file: no such captions file; check the path"}),
        (7, {f"inference_args {CHOSEN} training --posterior_prior 999": "posterior_prior: 999 of"}),
    ],
)  # fmt: skip
def test_kind_13_each_fault_has_its_line(made, stage, options):
    words = [word for option in options for word in (f"--{option.split()[0]}", option.split(" ", 1)[1])]
    told = refused(made, "--stage", str(stage), *words)
    assert not [message for message in options.values() if not any(message in problem for problem in told)], told


def test_kind_13_a_path_that_no_upstream_takes_is_told(made):
    done = run(
        made, "--stage", "3", "--upstream", "acoustic", "--upstream_path", "pretrained/x", "--words", "none.json"
    )
    assert "note: --upstream_path pretrained/x: is not used by --upstream acoustic" in done.stderr, done.stderr


@pytest.mark.slow(8)
def test_kind_15_lang_gives_sec_train_its_instructions_and_a_configuration_may_have_its_own(recipe):
    stage_6 = ("--stage", "6", "--stop-stage", "6", "--skip_align", "true")

    def prompts(*options):
        (recipe / "trained").unlink(missing_ok=True)
        done = run(recipe, *stage_6, *options)
        assert done.returncode == 0, done.stderr
        return re.findall(r"--prompts (\S+)", (recipe / "trained").read_text()), done.stderr

    assert prompts() == (["zh"], "") and prompts("--lang", "en")[0] == ["en"] and prompts("--lang", "ja")[0] == ["ja"]
    found, told = prompts("--lang", "ko")
    assert found == ["en"] and "no instructions in this language, so those in en are taken" in told
    assert prompts("--lang", "ko", "--prompts", "conf/../run.sh") == (["conf/../run.sh"], "")
    config = recipe / "conf/caption.yaml"
    config.write_text(config.read_text() + "prompts: zh\n")
    found, told = prompts("--lang", "en")
    assert found == [] and "prompts: zh, while --lang is en; remove that line, or give --prompts en" in told


def test_kind_13_it_takes_less_than_two_seconds(made):
    """Of CPU time, with the shell and the lock around it: a busy machine counts more seconds than a quiet one."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    refused(made, "--stage", "2", "--nj", "0")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_kind_15_what_a_language_lacks_is_said_at_the_start(made):
    done = run(made, "--stage", "7", "--lang", "fr")
    assert "rows of recall are left out" in done.stderr and "--words FILE" in done.stderr
    done = run(made, "--stage", "7", "--lang", "fr", "--words", "en")
    assert "recall" not in done.stderr and "METEOR and SPICE" in done.stderr


def test_kind_13_what_stage_2_leaves_of_a_set_is_checked_before_stage_3(recipe):
    """The only calm training utterances cannot be used: the validation set's cannot be learnt then."""
    for utt in ("train1", "train3", "train5"):
        (recipe / f"data/train/{utt}.wav").write_bytes(b"")
    done = run(recipe, "--stage", "2", "--stop-stage", "5")
    assert done.returncode == 1 and "Stage 2" in done.stdout and "Stage 3" not in done.stdout
    assert "dump/raw/valid/utt2emo: category 'calm' (" in done.stderr, done.stderr


def test_transcriptions_are_looked_at_where_the_decoder_reads_them(recipe):
    """Kind: text. A condition that reads them, and utterances without; files of a recogniser that are not there."""
    lines = (recipe / "dump/raw/valid/text").read_text().splitlines()
    (recipe / "dump/raw/valid/text").write_text("\n".join([lines[0].split()[0], *lines[1:]]) + "\n")
    (recipe / "asr").write_text("test0 words\ntest1 more\n")
    common = ("--stage", "6", "--stop-stage", "7", "--skip_align", "true")
    reads = ("--caption_args", "--model_conf condition=[text_queries,queries]")
    valid, test = refused(recipe, *common, *reads, "--text_file", "asr")
    assert "dump/raw/valid/text: has no words for 1 (valid0) of 3 utterances of the set valid" in valid
    assert "asr: has no line for 1 (test2) of 3 utterances of the set test" in test
    assert "--missing_text empty" in valid and "--missing_text empty" in test
    (problem,) = refused(recipe, *common, *reads, "--text_file", "asc")
    assert "--text_file asc: no such file" in problem
    (problem,) = refused(recipe, *common, "--caption_args", "--model_conf condition=[speech]")
    assert "'speech' is unknown; expected one or more of queries" in problem
    for options in (("--text_file", "asr", "--missing_text", "empty", *reads), ()):  # and a model that reads none
        done = run(recipe, *common, *options, "--stop-stage", "6")
        assert done.returncode == 0, done.stderr
        given = (recipe / "trained").read_text().splitlines()[-1]
        assert ("--missing_text empty" in given, "condition=[text_queries,queries]" in given) == (bool(options),) * 2


def test_the_first_stage_is_left_out_where_no_bridge_is_trained(recipe):
    condition = ("--caption_args", "--model_conf condition=[transcript]")
    done = run(recipe, "--stage", "5", "--stop-stage", "6", *condition)
    assert done.returncode == 0, done.stderr
    assert "Stage 5 is left out: the decoder reads the transcript alone" in done.stdout
    trained = (recipe / "trained").read_text()
    assert "--config conf/caption.yaml" in trained and "--model align" not in trained and "--init_model" not in trained
    (problem,) = refused(recipe, "--stage", "5", "--stop-stage", "6", "--caption_config", "conf/align.yaml")
    assert "stage 6, conf/align.yaml: model: align is of the first stage" in problem
    (problem,) = refused(recipe, "--stage", "5", "--stop-stage", "5", *condition)
    assert "nothing would be run, it is left out by model_conf condition [transcript]" in problem


@pytest.mark.slow(60)
def test_speech_and_t_embedding_then_the_transcript_alone(recipe):
    bridge = dict(num_queries=2, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, encoder_width=16)
    for name in ("align", "caption"):
        path = recipe / "conf" / f"{name}.yaml"
        conf = yaml.safe_load(path.read_text())
        conf["text_encoder_conf"]["embedding_size"] = 8
        more = {"sampler_conf": {"num_categories": 2, "per_category": 2}} if name == "align" else {}
        path.write_text(yaml.safe_dump(conf | {"bridge_conf": bridge, "max_epoch": 1} | more))
    decode = {"batch_size": 2, "max_length": 5, "candidates": "training", "keep": 1}
    (recipe / "conf/decode.yaml").unlink()
    (recipe / "conf/decode.yaml").write_text(yaml.safe_dump(decode))
    asr = recipe / "asr"
    asr.write_text("".join(f"{name}{i} said {i}\n" for name in ("train", "valid", "test") for i in range(6)))
    done = run_all(recipe, "both", "[text_queries,queries]", "--text_file", "asr", "--stage", "5")
    state, folder = recipe / "exp/both", recipe / "exp/both"
    order = yaml.safe_load((folder / "config.yaml").read_text())["template_conf"]["order"]
    assert [one for one in order if isinstance(one, str)] == ["text_queries", "queries", "instruction"]
    log = (state / "train.log").read_text()
    assert "bridge, text_encoder start from exp/sec_align_fbank" in log.replace(
        "text_encoder, bridge", "bridge, text_encoder"
    )
    shuffled = rows(folder / "decode_shuffled_audio/test")
    assert all(row["audio"] != row["id"] for row in shuffled) and len(shuffled) == 3
    assert "shuffled" not in rows(folder / "decode/test")[0]
    # The text alone, by a frozen LM: no first stage, no step, no row of shuffled audio.
    done = run_all(recipe, "text", "[transcript]", "--stage", "5")
    assert "Stage 5 is left out" in done.stdout and "trains nothing" in done.stdout + done.stderr
    assert len(rows(recipe / "exp/text/decode/test")) == 3
    assert not (recipe / "exp/text/decode_shuffled_audio/test/captions").exists()
    report = (recipe / "exp/RESULTS.md").read_text()
    assert "text/decode" in report and "text/decode_shuffled_audio" not in report


def run_all(folder, name, condition, *options):
    given = ["--python", "python3", "--sec_exp", f"exp/{name}", "--caption_args", f"--model_conf condition={condition}"]
    done = run(folder, *given, "--probe", "false", "--score_args", "--metrics bleu_1", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def rows(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]
