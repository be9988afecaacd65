"""README.md, PAPERS.md and docs/: commands, options, paths and tables are those of the code, and the examples run.

`python test/test_docs.py` writes the tables of docs/options.md anew.
"""

import argparse
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
PAGES = [REPO / "README.md", REPO / "PAPERS.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").glob("*.md"))]
PAGES += sorted(REPO.glob("egs2/*/sec1/README.md"))
PROGRAMS = {path.stem for path in (REPO / "espnet2_secap" / "bin").glob("sec_*.py")}
OPTIONS_PAGE = REPO / "docs" / "options.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"(?<!\S)--([a-z][\w-]*)")
# Options of sec.sh whose value is options of a program.
PASSED_ON = {
    "format_args": "sec_format_audio",
    "extract_args": "sec_extract_feats",
    "align_args": "sec_train",
    "caption_args": "sec_train",
    "inference_args": "sec_inference",
    "score_args": "sec_score",
}
# Scripts of recipes -> the one whose options they take.
SCRIPTS = {"run.sh": "sec.sh", "run_aligncap.sh": "aligncap.sh"} | {
    name: name for name in ("sec.sh", "aligncap.sh", "run_tables.sh")
}
# Where a path in a page may start, and what recipes make.
ROOTS = [
    "",
    "espnet2_secap",
    *(f"egs2/{name}/sec1" for name in ("TEMPLATE", "emospeech", "mini_emospeech", "mini_zeroshot")),
]
MADE = ("data/", "dump/", "exp/", "folds/", "tables/", "pretrained/", "egs2/mycorpus/")


def page_id(page: Path) -> str:
    return str(page.relative_to(REPO))


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of these languages."""
    return [text for language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def inline_code(page: Path) -> list[str]:
    """What stands between backticks outside code blocks, on one line each."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def commands(page: Path) -> list[list[str]]:
    """Words of every command line of a page, without assignments in front of it."""
    lines = [line for block in blocks(page, "bash") for line in _logical_lines(block)]
    lines += [code for code in inline_code(page) if " " in code]
    output = []
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # not a command: an apostrophe, for example
            continue
        while words and re.match(r"[A-Za-z_]+=", words[0]):
            words = words[1:]
        output += [words] if words else []
    return output


def _logical_lines(block: str) -> list[str]:
    lines, open_line = [], ""
    for line in block.replace("\\\n", " ").splitlines():
        open_line = f"{open_line} {line}" if open_line else line
        if len(re.findall(r'(?<!\\)"', open_line)) % 2 == 0:
            lines += [part for part in re.split(r" && | \| ", open_line) if part.strip()]
            open_line = ""
    assert not open_line, open_line
    return lines


@cache
def options_of(program: str) -> frozenset[str]:
    """Names of a program's options."""
    if program in SCRIPTS:
        return frozenset(OPTION.findall(script_help(program))) | {"help", "stop-stage"}
    parser = importlib.import_module(f"espnet2_secap.bin.{program}").get_parser()
    return frozenset(option.lstrip("-") for action in _actions(parser) for option in action.option_strings)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    found = []
    for action in parser._actions:
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):
            found += [one for sub in action.choices.values() for one in _actions(sub)]
    return found


@cache
def script_help(name: str = "sec.sh") -> str:
    """What a script of a recipe prints with --help."""
    done = subprocess.run(
        [f"./{name}", "--help"], cwd=REPO / "egs2/mini_emospeech/sec1", capture_output=True, text=True, check=True
    )
    return done.stdout


def help_block(name: str) -> str:
    """The same as a code block."""
    return "```text\n" + "\n".join(line.rstrip() for line in script_help(name).strip("\n").splitlines()) + "\n```\n"


@cache
def make_targets(folder: str) -> frozenset[str]:
    text = (REPO / folder / "Makefile").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^([a-z][\w-]*):(?!=)", text, re.MULTILINE))


def faults_of(words: list[str]) -> list[str]:
    """What is wrong with a command: unknown program, option or make target."""
    program, rest = words[0].removeprefix("./"), words[1:]
    if program == "make":
        folder = rest[rest.index("-C") + 1] if "-C" in rest else ""
        targets = [word for word in rest if re.fullmatch(r"[a-z][a-z_-]*", word) and word != folder]
        return [f"make {target}" for target in targets if target not in make_targets(folder)]
    if program in SCRIPTS:
        program = SCRIPTS[program]
    elif not program.startswith("sec_"):
        return []
    elif program not in PROGRAMS:
        return [program] if rest and not rest[0].startswith("(") else []
    wrong = []
    for place, word in enumerate(rest):
        name = word.split("=")[0].removeprefix("--")
        if not word.startswith("--") or word == "--" or " " in word:  # a quoted value holds options of another program
            continue
        if name not in options_of(program):
            wrong.append(f"{program} --{name}")
        elif program == "sec.sh" and name in PASSED_ON:
            wrong += faults_of([PASSED_ON[name], *shlex.split(rest[place + 1])])
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_have_programs_options_and_targets_that_exist(page):
    assert [fault for words in commands(page) for fault in faults_of(words)] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_programs_and_options_by_themselves_exist(page):
    every = frozenset().union(*map(options_of, PROGRAMS | set(SCRIPTS))) | tool_options()
    for code in inline_code(page):
        if re.fullmatch(r"sec_[a-z_]+", code) and not code.startswith(("sec_caption_", "sec_align_")):
            assert code in PROGRAMS or f"--{code}" in script_help() or code in {"sec_format"}, code
        if code.startswith("--"):
            for name in OPTION.findall(code):
                assert name in every, code


@cache
def tool_options() -> frozenset[str]:
    """Options of the scripts outside of the package that the pages name."""
    names = ["utils/slurm.pl", "tools/gpu_check.py", "tools/benchmark.py", "tools/wheels.py"]
    names += ["utils/validate_data_dir.sh", "egs2/mini_emospeech/sec1/local/data.sh"]
    text = "".join((REPO / name).read_text(encoding="utf-8") for name in names)
    return frozenset(re.findall(r"--([a-z][\w-]*)", text))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_paths_exist(page):
    for code in inline_code(page):
        path = code.removeprefix("./").split(":")[0]
        if not re.fullmatch(r"[\w./*{},-]*/[\w./*{},-]*", path) or path.startswith(("/", *MADE)) or "//" in path:
            continue
        if not re.search(r"\.(py|sh|pl|md|yaml|json|txt|conf|lock|in)$|/$", path):
            continue
        assert any(list(REPO.glob(f"{root}/{path}".strip("/"))) for root in ROOTS), path


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


# ---- docs/options.md


def tables() -> dict[str, str]:
    """The generated parts of docs/options.md by name."""
    from espnet2_secap.data.format import FormatOptions
    from espnet2_secap.decoder.options import AgreementOptions, DecodingOptions, SetOptions
    from espnet2_secap.inference.pairs import PairOptions
    from espnet2_secap.tasks.options import TaskOptions

    shared = set(DecodingOptions.__dataclass_fields__)
    return {
        "sec.sh": help_block("sec.sh"),
        "aligncap.sh": help_block("aligncap.sh"),
        "format": table_of(FormatOptions),
        "task": table_of(TaskOptions),
        "decoding": table_of(DecodingOptions),
        "set": table_of(SetOptions, skip=shared | set(AgreementOptions.names())),
        "agreement": table_of(AgreementOptions),
        "pairs": table_of(PairOptions),
        "parts": table_of_parts(),
    }


def table_of_parts() -> str:
    """A Markdown table of the registry."""
    from espnet2_secap.tasks.parts import KINDS, PARTS

    rows = ["| option | default | value | file |", "|---|---|---|---|"]
    for kind, name, target in PARTS:
        module = target.split(":")[0].replace(".", "/")
        file = f"`{module}.py`" if module.startswith("espnet2_secap/") else "ESPnet's"
        rows.append(f"| `--{kind}` | {KINDS[kind].default or 'none'} | `{name}` | {file} |")
    return "\n".join(rows) + "\n"


def table_of(cls: type, skip=frozenset()) -> str:
    """A Markdown table of a dataclass's options."""
    from dataclasses import MISSING, fields

    rows = ["| option | default | meaning |", "|---|---|---|"]
    for field in fields(cls):
        if field.name in skip:
            continue
        value = field.default
        shown = {MISSING: "required", None: "none", True: "true", False: "false"}.get(value, value)
        shown = value if isinstance(value, (int, float)) and not isinstance(value, bool) else shown
        choices = field.metadata.get("choices")
        choice = f" ({', '.join(choices)})" if choices else ""
        rows.append(f"| `--{field.name}` | {shown} | {field.metadata['help'].replace('|', chr(92) + '|')}{choice} |")
    return "\n".join(rows) + "\n"


def with_tables(text: str) -> str:
    """docs/options.md with its generated parts as the code has them today."""
    for name, table in tables().items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        assert text.count(begin) == text.count(end) == 1, name
        before, rest = text.split(begin)
        text = before + begin + table + end + rest.split(end)[1]
    return text


def test_options_page_is_that_of_the_code():
    text = OPTIONS_PAGE.read_text(encoding="utf-8")
    assert text == with_tables(text), "run: tools/venv/bin/python test/test_docs.py"


def test_every_metric_segmentation_role_and_template_is_named():
    from espnet2_secap.metric.registry import METRICS, ORDER
    from espnet2_secap.metric.segment import SEGMENTERS
    from espnet2_secap.text.template import NAMES, ROLES

    for page, names in (("metrics.md", {*METRICS, *ORDER, *SEGMENTERS}), ("extending.md", {*ROLES, *NAMES})):
        text = (REPO / "docs" / page).read_text(encoding="utf-8")
        assert [name for name in sorted(names) if f"`{name}`" not in text] == [], page


def test_readme_is_short():
    assert len((REPO / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


# ---- docs/extending.md


def examples() -> dict[str, str]:
    """The named code blocks of docs/extending.md: file -> text; lines for one registry are joined."""
    found: dict[str, str] = {}
    for block in blocks(REPO / "docs" / "extending.md", "python", "yaml"):
        first, _, rest = block.partition("\n")
        if first.startswith("# ") and "/" in first:
            found[first[2:]] = found.get(first[2:], "") + rest
    return found


SCRIPT = """
import json, sys
from pathlib import Path

import numpy, soundfile, yaml
sys.path.insert(0, "test/encoder")

from espnet2_secap.bin import sec_collect_stats, sec_extract_feats, sec_score, sec_train
import espnet2_secap
assert espnet2_secap.__file__.startswith(str(Path.cwd())), espnet2_secap.__file__

import test_log_mel
test_log_mel.test_features_do_not_depend_on_the_batch()

raw = Path("dump/raw/train")
raw.mkdir(parents=True)
names = ("wav.scp", "utt2num_samples", "captions", "utt2emo")
files = {name: open(raw / name, "w", encoding="utf-8") for name in names}
for i, utt in enumerate(("u1", "u2")):
    samples = 6000 + 1000 * i
    noise = numpy.random.default_rng(i).standard_normal(samples) * 0.1
    soundfile.write(raw / f"{utt}.wav", noise, 16000)
    values = (raw / f"{utt}.wav", samples, json.dumps(["语速较快", "声音高亢"], ensure_ascii=False), ("sad", "calm")[i])
    for file, value in zip(files.values(), values):
        print(utt, value, file=file)
for file in files.values():
    file.close()

extract = "--sets train --output dump/log_mel --encoder log_mel --encoder_conf num_mels=64".split()
sec_extract_feats.main(extract)
sec_extract_feats.main([*extract, "--combine", "true"])
assert json.loads(Path("dump/log_mel/train/config.json").read_text())["dim"] == 64
sec_collect_stats.main(["--dir", "dump/log_mel/train", "--output", "exp/stats"])

conf = yaml.safe_load(Path("conf/caption_emotion.yaml").read_text())
conf |= dict(optim="adamw", optim_conf={"lr": 1e-3}, batch_type="sorted", batch_size=2, valid_batch_size=2, max_epoch=1)
conf |= dict(num_att_plot=0, use_matplotlib=False, use_tensorboard=False, num_workers=0, keep_nbest_models=1)
conf |= dict(best_model_criterion=[["valid", "loss", "min"]])
Path("conf.yaml").write_text(yaml.safe_dump(conf))
train = ["--config", "conf.yaml", "--output_dir", "exp/sec_caption_log_mel"]
for split in ("train", "valid"):
    train += [f"--{split}_shape_file", "exp/stats"]
    feats, texts = "log_mel/train/feats.scp,speech,kaldi_ark", "raw/train/captions,caption,text"
    for data in (feats, texts, "raw/train/utt2emo,emotion,text"):
        train += [f"--{split}_data_path_and_name_and_type", f"dump/{data}"]
sec_train.main(train)
curves = Path("exp/sec_caption_log_mel/curves.tsv").read_text()
assert "emotion_loss" in curves, curves

from espnet2_secap.inference.speech2caption import Speech2Caption
speech2caption = Speech2Caption.from_pretrained("exp/sec_caption_log_mel")
assert speech2caption.model.classifier.out_features == 6 and speech2caption.fs == 16000
(caption, score), = speech2caption("dump/raw/train/u1.wav")
stored = speech2caption.caption_inputs([__import__("kaldiio").load_scp("dump/log_mel/train/feats.scp")["u1"]])
assert [(caption, score)] == stored[0], (caption, score, stored)

Path("refs.json").write_text(json.dumps({"u1": ["abcd"], "u2": ["ab"]}))
Path("captions").write_text('u1 ["ab"]\\nu2 ["cd"]\\n')
sec_score.main("--ref refs.json --hyp captions --metrics length_ratio --output score.json".split())
assert json.loads(Path("score.json").read_text())["length_ratio"]["mean"] == 75.0
print("all of the examples have run")
"""


@pytest.mark.slow(16)
def test_examples_of_extending_run(tmp_path, tiny_llama):
    """In a copy of the package: the files as the page has them, its lines added to the registries, and nothing else."""
    shutil.copytree(REPO / "espnet2_secap", tmp_path / "espnet2_secap", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained" / "llama").symlink_to(tiny_llama)
    for name, text in examples().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "espnet2_secap/tasks/parts.py":
            parts = path.read_text(encoding="utf-8")
            assert text.count("\n") == 3 and parts.count("\nPARTS = (") == 1
            head, tail = parts.split("\nPARTS = (")
            first, rest = tail.split("\n", 1)
            text = f"{head}\nPARTS = ({first}\n{text}{rest}"
        else:
            assert not path.exists(), f"{name}: the example would replace a file"
        path.write_text(text, encoding="utf-8")
    registry = tmp_path / "espnet2_secap/metric/registry.py"
    text = registry.read_text(encoding="utf-8")
    mark = "MODULES = (\n"
    assert text.count(mark) == 1
    registry.write_text(text.replace(mark, f'{mark}    "length_ratio",\n'), encoding="utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "all of the examples have run" in done.stdout, done.stderr[-3000:]


if __name__ == "__main__":
    OPTIONS_PAGE.write_text(with_tables(OPTIONS_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
