"""Every option of every program with drawn values: a right result, or one line and a status that is not 0.

What is read is never changed, and no program ends in a traceback, by a signal or after a minute.
"""

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import re
import shutil
import tempfile
from pathlib import Path

import pytest
import soundfile as sf
from fuzzing import VALUES, cases
from hypothesis import given
from hypothesis import strategies as st
from program_server import ProgramServer
from sounds import tone

from espnet2_secap.tasks.recipe import WORD_END

REPO = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(path.stem for path in (REPO / "espnet2_secap" / "bin").glob("sec_*.py"))
SCORED = ["bleu_1", "emotion_recall", "wrong_share", "hallucination_faithfulness"]
TEMPLATE = REPO / "egs2" / "TEMPLATE" / "sec1"
VERBS = {
    "sec_data_dir": ["subset", "combine", "copy"],
    "sec_stages": ["begin", "end"],  # `watch` waits
    "sec_folds": ["make", "pool", "table"],
    "sec_listen": ["prepare", "serve", "analyse"],
    "sec_pairs": ["make", "import", "export", "check", "report"],
}
LINES = [f"{name} {verb}".strip() for name in PROGRAMS for verb in VERBS.get(name, [""]) if name != "sec_check"]
# What waits for others by its nature: other nodes of a training, a program to run or to watch.
WAITS = {
    "sec_train": {"dist_", "num_nodes", "multiprocessing_distributed", "train_nproc", "ngpu", "dry_run", "output_dir"},
    "sec_stages": {"pid", "interval"},
    "sec_lock": {"pid", "fd", "patience"},
    "sec_follow": {"command"},
}
HEAVY = {
    "sec_train": 30,
    "sec_caption": 25,
    "sec_inference": 25,
    "sec_extract_feats": 25,
    "sec_reference": 25,
    "sec_probe": 15,
}  # cases


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_llama):
    """A small corpus, its dump and two experiments, with the command line that works for each program."""
    root = tmp_path_factory.mktemp("fuzz")
    with ProgramServer(["sec_format_audio", "sec_extract_feats"], ["torch"]) as server:
        lines = make_data(root, server) | make_folds(root) | make_listening(root) | make_preferences(root)
    lines |= make_models(root, tiny_llama)
    return root, lines


def make_data(root: Path, server: ProgramServer) -> dict[str, list[str]]:
    """data/train and what the stages make of it."""
    data = root / "data" / "train"
    data.mkdir(parents=True)
    ids = [f"u{i}" for i in range(4)]
    for i, utt in enumerate(ids):
        sf.write(root / f"{utt}.wav", tone(0.5 + i / 10, hz=200 + 50 * i), 16000)

    def write(name, value):
        (data / name).write_text("".join(f"{utt} {value(i)}\n" for i, utt in enumerate(ids)), encoding="utf-8")

    write("wav.scp", lambda i: root / f"u{i}.wav")
    write("captions", lambda i: json.dumps([f"语速较快，情绪{i}"], ensure_ascii=False))
    write("text", lambda i: "今天")
    write("utt2spk", lambda i: f"u{i}")
    write("spk2utt", lambda i: f"u{i}")
    write("utt2emo", lambda i: ("sad", "calm")[i % 2])
    raw, dump = root / "dump" / "raw" / "train", root / "dump" / "fbank"
    form = ["--data_dir", str(data), "--output_dir", str(raw), "--role", "train"]
    feats = ["--dumpdir", str(root / "dump"), "--sets", "train", "--output", str(dump), "--upstream", "fbank"]
    for program, argv in (("sec_format_audio", form), ("sec_extract_feats", feats)):
        for more in ([], ["--combine", "true"]):
            status, out, err = server.run(program, argv + more, root)
            assert status == 0, out + err
    hyp = root / "hyp"
    hyp.write_text("".join(f'{utt} ["情绪{i}"]\n' for i, utt in enumerate(ids)), encoding="utf-8")
    out = ["--output", "out/score.json"]
    return {
        "sec_format_audio": [*form[:2], "--output_dir", "out", *form[4:]],
        "sec_perturb_audio": ["--data_dir", str(raw), "--output_dir", "out", "--speed_perturb", "0.9"],
        "sec_validate_data": [str(data)],
        "sec_extract_feats": [*feats[:4], "--output", "out", *feats[6:]],
        "sec_collect_stats": ["--dir", str(dump / "train"), "--output", "out/shape"],
        "sec_score": ["--ref", f"{raw}/captions", "--hyp", str(hyp), *out, "--metrics", *SCORED],
        "sec_baseline": [
            *("--kind", "random", "--train_captions", f"{raw}/captions"),
            *("--ids", f"{raw}/captions", "--output", "out"),
        ],
        "sec_clues": ["--captions", f"{raw}/captions", "--output", "out"],
        "sec_classify": ["--captions", str(hyp), "--data_dir", str(raw), "--output", "out"],
        "sec_nearest": [
            *("--train_dir", str(dump / "train"), "--train_captions", f"{raw}/captions"),
            *("--data_dir", str(dump / "train"), "--output", "out"),
        ],
        "sec_follow": ["--log", "train.log", "--", "true"],
        "sec_lock": ["--fd", "0", "--file", "lock"],
        "sec_stages begin": ["begin", "--file", "stages.tsv", "--run", "r", "--stage", "1", "--title", "t"],
        "sec_stages end": ["end", "--file", "stages.tsv", "--run", "r", "--status", "0"],
        "sec_data_dir subset": ["subset", "--first", str(data), "2", "out"],
        "sec_data_dir combine": ["combine", "out", str(data)],
        "sec_data_dir copy": ["copy", str(data), "out"],
        "sec_caption_set": ["--folders", str(raw), "--name", "few", "--caption_fraction", "0.5"],
        "sec_compare_sets": ["--train", str(raw), "--valid", str(raw), "--output", "overlap.tsv"],
        "sec_tables": ["--systems", str(TEMPLATE / "conf" / "tables.yaml"), "--dry_run", "true"],
        "sec_import_secap": [
            *("--checkpoint", "none.ckpt", "--hubert", "none/hubert", "--llm", "none/llm"),
            *("--text_encoder", "none/bert", "--output", "out"),
        ],
        "sec_import_htsat_bart": ["--checkpoint", "none.pt", "--bart", "none/bart", "--output", "out"],
    }


def make_listening(root: Path) -> dict[str, list[str]]:
    """A listening test with the answers of a listener."""
    import listening

    design = listening.prepare(root / "listening")
    folder = root / "listening" / "test"
    sheet = listening.simulate(design, 0, dict.fromkeys(design.systems, 3.0))
    answers = str(listening.save(sheet, design, folder / "answers.json"))
    captions = [f"{name}={root}/listening/{name}.captions" for name in design.systems]
    data = ["--data_dir", str(root / "listening/data/test"), "--utterances", "6"]
    return {
        "sec_listen prepare": ["prepare", *data, "--systems", *captions, "--output", "out"],
        "sec_listen serve": ["serve", "--folder", str(folder), "--listeners", "2", "--tokens_only"],
        "sec_listen analyse": ["analyse", "--folder", str(folder), "--answers", answers, "--output", "out.md"],
    }


def make_preferences(root: Path) -> dict[str, list[str]]:
    """Candidates of data/train, and pairs in our format and in trl's."""
    data, ids = root / "data" / "train", [f"u{i}" for i in range(4)]
    texts = [{"text": text, "score": -0.5} for text in ("情绪悲伤", "情绪平静，语速较快")]
    rows = [{"id": utt, "prompt": "描述情感。", "candidates": texts} for utt in ids]
    pairs = [
        {"id": utt, "prompt": "描述情感。", "chosen": "情绪悲伤", "rejected": "情绪平静", "type": "factuality"}
        | {"source": "file", "margin": 0.5}
        for utt in ids
    ]
    for name, lines in {"candidates": rows, "pairs": pairs, "trl": pairs}.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (root / f"{name}.jsonl").write_text(text, encoding="utf-8")
    given = ["--pairs", str(root / "pairs.jsonl")]
    return {
        "sec_pairs make": [
            *("make", "--candidates", str(root / "candidates.jsonl"), "--data_dir", str(data)),
            *("--output_dir", "out", "--rules", "all"),
        ],
        "sec_pairs import": ["import", "--input", str(root / "trl.jsonl"), "--output", "out.jsonl"],
        "sec_pairs export": ["export", *given, "--output", "out.jsonl"],
        "sec_pairs check": ["check", *given, "--data_dir", str(data)],
        "sec_pairs report": ["report", *given, "--output", "out.md"],
    }


def make_folds(root: Path) -> dict[str, list[str]]:
    """Three folds of lists, decoded and scored."""
    import tiny_folds

    from espnet2_secap.bin import sec_folds, sec_score

    recipe = tiny_folds.make_recipe(root / "crossed")
    options = tiny_folds.options(dumpdir=str(recipe / "dump"), feats_dir=str(recipe / "dump/raw"))
    done = ["--folder", str(recipe / "folds")]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(recipe)
        sec_folds.main(["make", *done, *options])
        tiny_folds.decode(recipe / "folds", 3)
        sec_folds.main(["pool", *done, *options])
        captions = recipe / "folds/exp" / tiny_folds.SYSTEM / "test/captions"
        files = ["--hyp", str(captions), "--output", str(captions.with_name("score.json"))]
        sec_score.main(["--ref", str(recipe / "folds/test/captions"), *files, "--metrics", "rouge_l"])
        sec_folds.main(["table", *done])
    return {
        "sec_folds make": ["make", "--folder", "out", *options],
        "sec_folds pool": ["pool", *done, *options],
        "sec_folds table": ["table", *done],
    }


def make_models(root: Path, llama: str) -> dict[str, list[str]]:
    """Untrained models of both stages, a score and what the programs of models and reports take."""
    import tiny_experiment
    import tiny_pairs
    import tiny_training

    experiment = tiny_experiment.make_experiment(root / "exp" / "sec_caption_tiny", llama)
    corpus = root / "tiny"
    corpus.mkdir()
    tiny_training.make_corpus(corpus)
    pairs = tiny_pairs.make_pairs(root / "pairs.jsonl", ["u0", "u1"])
    caption = tiny_training.write(root / "caption.yaml", tiny_training.caption_conf(llama))
    names = [tiny_training.SPEECH, tiny_training.CAPTION]
    raw = root / "dump" / "raw" / "train"
    shutil.copytree(raw, root / "other")
    score = root / "exp" / "sec_caption_tiny" / "decode" / "train"
    score.mkdir(parents=True)
    shutil.copy(raw / "captions", score / "captions")
    values = {"bleu_1": {"mean": 50.0, "std": 0.0, "n": 1, "values": [50.0]}}
    (score / "score.json").write_text(json.dumps(values))
    model = str(experiment / "valid.loss.best.pth")
    short = ["--max_length", "4"]
    return {
        "sec_train": [*tiny_training.command(corpus, "out", caption, names), "--dry_run", "true", "--model", "caption"],
        "sec_params": ["--config", caption],
        "sec_caption": [str(root / "u0.wav"), "--model", str(experiment), *short],
        "sec_inference": ["--sec_model_file", model, "--data_dir", str(raw), "--output_dir", "out", *short],
        "sec_reference": [
            *("--pairs", pairs, "--data_dir", str(raw), "--sec_model_file", model, "--output_dir", "out"),
        ],
        "sec_probe": [
            *("--model_files", model, "--train_dir", str(raw), "--test_dirs", str(root / "other")),
            *("--label_dirs", str(raw), str(root / "other"), "--output_name", "../probe.json"),
        ],
        "sec_report": ["--expdir", str(root / "exp"), "--output", "out.md"],
    }


def options_of(program: str, *verb: str) -> list[argparse.Action]:
    """The options that a program, or a verb of one, has, but for those that wait."""
    parser = importlib.import_module(f"espnet2_secap.bin.{program}").get_parser()
    found = list(parser._actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += action.choices[verb[0]]._actions
    skipped = tuple(WAITS.get(program, ())) + ("help", "print_config")
    return [one for one in found if one.option_strings and not one.dest.startswith(skipped)]


def content(root: Path) -> dict[str, str]:
    """Every file below a folder with its checksum."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def server():
    names = ["bridge.qformer", "decoder.causal_lm", "encoder.s3prl", "inference.decode", "inference.probe"]
    names += ["model.align", "model.caption", "model.prefer", "tasks.sec"]
    preload = [f"espnet2_secap.{name}" for name in names]  # programs import these late, at some 2 s in every fork
    preload += ["transformers.models.llama.modeling_llama", "sklearn.linear_model"]
    with ProgramServer(PROGRAMS, preload) as server:
        yield server


@pytest.mark.needs("espnet")
@pytest.mark.slow(20)
@pytest.mark.parametrize("line", LINES)
def test_every_option_of(line, place, server):
    root, lines = place
    if line not in lines:
        pytest.fail(f"{line}: give the command line that works to test/fuzz/test_options.py")
    program = line.split()[0]
    actions = options_of(*line.split())
    before = content(root)

    def run(argv: list[str]) -> tuple[int, str, str]:
        with tempfile.TemporaryDirectory() as folder:
            return server.run(program, argv, folder)

    status, out, err = run(lines[line])
    # no weights, no open lock, no recipe
    works = program not in ("sec_import_secap", "sec_import_htsat_bart", "sec_lock", "sec_tables")
    assert (status == 0) == works, out + err

    @cases(HEAVY.get(program, 40))
    @given(st.lists(st.tuples(st.sampled_from(actions), VALUES, VALUES, st.integers(0, 9)), min_size=1, max_size=2))
    def try_out(drawn):
        argv = list(lines[line])
        for action, value, other, how in drawn:
            words = [value, other] if action.nargs in ("+", "*", 2) and how < 3 else [value]
            argv += [action.option_strings[-1], *words] if how < 9 else [action.option_strings[-1]]
        status, out, err = run(argv)
        told = f"{program} {argv}\nstatus {status}\n{out[-1000:]}\n{err[-3000:]}"
        assert "Traceback" not in err + out, told
        assert status in (0, 1, 2), told
        errors = [line for line in err.splitlines() if "error: " in line]
        assert len(errors) == (status != 0), told

    if actions:
        try_out()
    after = content(root)
    made = {name for name in after if name not in before}
    assert {name: after.get(name) for name in before} == before
    made = {name for name in made if not (program == "sec_probe" and name.startswith("exp/sec_caption_tiny/"))}
    made = {name for name in made if not (program == "sec_caption_set" and name.startswith("dump/raw/"))}
    made -= {
        f"listening/test/{name}" for name in ("tokens.tsv", *(f"answers.sqlite{end}" for end in ("", "-wal", "-shm")))
    }
    assert made <= {"exp/results.json", "exp/probe.json", "exp/images/training_curves.png"}, made


def options_of_sec_sh() -> dict[str, str]:
    """The options of sec.sh with their defaults, and what sec.sh derives from them for sec_check."""
    text = (TEMPLATE / "sec.sh").read_text().split("# General", 1)[1].split("help_message=", 1)[0]
    found = dict(re.findall(r"^([a-z_]+)=(\S*)", text, re.MULTILINE))
    found |= {name: value.strip('"') for name, value in found.items()}
    exps = {"align_exp": "exp/align", "sec_exp": "exp/sec_caption_tiny", "sec_stats_dir": "exp/stats"}
    made = {"feats_dir": "dump/fbank", "feats_scp": "feats.scp", "decode_dir": "exp/sec_caption_tiny/decode"}
    given = {"upstream": "fbank", "valid_set": "train", "test_sets": "train", "lm_prompts": "zh"}
    return found | exps | made | given


@pytest.mark.needs("espnet")
@pytest.mark.slow(20)
def test_every_option_of_sec_sh_at_its_start(place, server):
    """Problems one per line, as sec.sh's; no check is given up."""
    root, _ = place
    (root / "conf").symlink_to(TEMPLATE / "conf")
    options = options_of_sec_sh()
    before = content(root)
    programs = {
        "format_args": options_of("sec_format_audio"),
        "extract_args": options_of("sec_extract_feats"),
        "align_args": options_of("sec_train"),
        "caption_args": options_of("sec_train"),
        "inference_args": options_of("sec_inference"),
        "score_args": options_of("sec_score"),
    }
    value = VALUES.filter(lambda text: "\n" not in text)

    @cases(80)
    @given(
        st.sampled_from("2345678"), st.lists(st.tuples(st.sampled_from(sorted(options)), value), max_size=2), st.data()
    )
    def try_out(stage, drawn, data):
        given = {"stage": stage}
        for name, text in drawn:
            if name in programs:
                option = data.draw(st.sampled_from(programs[name])).option_strings[-1]
                text = f"{option}{WORD_END}{text}"
            given[name] = text
        argv = [f"{name}={text}" for name, text in (options | given).items()]
        status, out, err = server.run("sec_check", argv, root)
        told = f"{given}\nstatus {status}\n{out[-1000:]}\n{err[-3000:]}"
        lines = err.splitlines()
        problems = [line for line in lines if line.startswith("sec.sh: error: ")]
        rest = [line for line in lines if not line.startswith(("sec.sh: error: ", "note: ", "warning: "))]
        assert (status, out) == (int(bool(problems)), ""), told
        assert len(rest) == (len(problems) > 1) and "sec_check: check_" not in err, told

    try_out()
    status, _, err = server.run("sec_check", ["stage=2"], root)
    assert status == 1 and err == "sec_check: error: stop_stage=VALUE is missing; give all options of sec.sh\n"
    assert content(root) == before
