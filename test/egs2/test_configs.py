"""Every YAML of the recipes is read, and every model in them built, with small sizes and local parts."""

import json
import re
from argparse import Namespace
from importlib import resources

import pytest
import yaml
from tiny_clap import make_clap

from espnet2_secap.bin import sec_inference
from espnet2_secap.data.conf import read_extended
from espnet2_secap.data.io import write_captions
from espnet2_secap.data.labels import read_emotion_map
from espnet2_secap.tasks.attributes import DEFAULT_WORDS, count_attributes
from espnet2_secap.tasks.sec import SECTask
from espnet2_secap.tasks.tables import TableFile

SMALL = dict(num_queries=2, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, encoder_width=32)


def configs(repo, *kinds):
    found = [path for path in repo.glob("egs2/*/*/conf/*.yaml") if path.stem.split("_")[0] in kinds]
    assert found
    return found


def test_every_file_is_of_a_known_kind(repo):
    kinds = {path.stem.split("_")[0] for path in repo.glob("egs2/*/*/conf/*.yaml")}
    assert kinds <= {"align", "caption", "decode", "distill", "pairs", "prefer", "pretrain", "sets", "tables"}


@pytest.fixture(scope="module")
def tiny_clap(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts") / "clap"
    make_clap(folder)
    return str(folder)


@pytest.fixture(scope="module")
def training_captions(tmp_path_factory):
    """Captions that name every category of the words for Chinese."""
    words = json.loads(resources.files("espnet2_secap").joinpath("metric/words/zh.json").read_text(encoding="utf-8"))
    names = [one for attribute, found in words.items() if attribute[0] != "_" for one in found.values()]
    path = tmp_path_factory.mktemp("captions") / "captions"
    write_captions(path, {f"u{at:03}": list(some) for at, some in enumerate(names)})
    return str(path)


def build(path, tiny_llama, tiny_bert, tiny_bart, tiny_clap, training_captions, output_dir, options=()):
    """The model of a configuration with small parts, made as the task makes it."""
    conf = read_extended(path)
    assert conf["model"] == path.stem.split("_")[0], path
    args = vars(SECTask.get_parser().parse_args(["--config", str(path), "--output_dir", str(output_dir), *options]))
    assert args["num_att_plot"] == 0
    args["bridge_conf"] = {**args["bridge_conf"], **(SMALL if args["bridge"] == "qformer" else {})}
    if "init" in args["bridge_conf"]:
        args["bridge_conf"]["init"] = tiny_bert
    clap = args["encoder"] == "clap"
    args["encoder_conf"] = {**args["encoder_conf"], **({"path": tiny_clap} if clap else {"input_size": 6})}
    if conf["model"] == "align":
        folder = tiny_bert if conf["text_encoder"] == "bert" else tiny_llama
        args["text_encoder_conf"] = {**conf["text_encoder_conf"], "path": folder}
    else:
        lm = tiny_bart if args["decoder"] == "seq2seq" else tiny_llama
        args["decoder_conf"] = {**args["decoder_conf"], "path": lm}
    more = args["model_conf"]
    if more.get("attributes_weight"):  # the task takes the classes from the training captions
        words = more.get("attributes_words", DEFAULT_WORDS)
        args["attributes"] = count_attributes(training_captions, words, more.get("attributes_only", ()))
    model = SECTask.build_model(Namespace(**args))
    assert any(p.requires_grad for p in model.parameters()), path
    SECTask.build_optimizers(Namespace(**args), model)
    return model


def test_models(repo, tiny_llama, tiny_bert, tiny_bart, tiny_clap, training_captions, tmp_path):
    for path in configs(repo, "align", "caption", "distill", "prefer"):
        build(path, tiny_llama, tiny_bert, tiny_bart, tiny_clap, training_captions, tmp_path)


def test_systems_of_table_3(repo, tiny_llama, tiny_bert, tiny_bart, tiny_clap, training_captions, tmp_path):
    """Those whose options docs/htsat_bart.md gives."""
    page = (repo / "docs/htsat_bart.md").read_text(encoding="utf-8").split("## At the paper's sizes")[1]
    rows = [line for line in page.splitlines() if line.startswith("| H")]
    assert len(rows) == 4
    for row in rows:
        path = repo / "egs2/emospeech/sec1" / re.search(r"--caption_config (\S+)", row)[1]
        more = re.search(r'--caption_args "([^"]*)"', row)
        parts = (tiny_llama, tiny_bert, tiny_bart, tiny_clap)
        model = build(path, *parts, training_captions, tmp_path, more[1].split() if more else [])
        names = [type(part).__name__ for part in (model.bridge, model.decoder)]
        assert names == ["LinearBridge", "Seq2SeqDecoder" if "BART" in row else "CausalLMDecoder"]


def test_a_second_task_of_attributes(repo, tiny_llama, tiny_bert, tiny_bart, tiny_clap, training_captions, tmp_path):
    conf = yaml.safe_load((repo / "egs2/emospeech/sec1/conf/caption.yaml").read_text(encoding="utf-8"))
    weights = {"attributes_weight": 0.3, "attributes_only": ["emotion", "rate"], "attributes_prompt": True}
    conf["model_conf"] = {**(conf.get("model_conf") or {}), **weights}
    path = tmp_path / "caption_attributes.yaml"
    path.write_text(yaml.safe_dump(conf, allow_unicode=True), encoding="utf-8")
    head = build(path, tiny_llama, tiny_bert, tiny_bart, tiny_clap, training_captions, tmp_path).attributes
    assert head.attributes == ["emotion", "rate"] and min(head.sizes) > 1


def test_both_stages_have_the_same_bridge(repo):
    for align in configs(repo, "align"):
        caption = align.with_name(align.name.replace("align", "caption"))
        parts = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (align, caption)]
        bridges = [{k: v for k, v in part["bridge_conf"].items() if k != "dropout"} for part in parts]
        assert bridges[0] == bridges[1] and parts[0]["bridge"] == parts[1]["bridge"], align


def test_decoding(repo):
    for path in configs(repo, "decode"):
        args = sec_inference.parse(["--config", str(path), "--data_dir", "d", "--output_dir", "o"])
        assert args.max_length > 0


@pytest.mark.parametrize("corpus", ["emospeech", "mini_emospeech"])
def test_goals_are_readable(repo, corpus):
    from espnet2_secap.report.goals import read_goals

    assert read_goals(repo / "egs2" / corpus / "sec1" / "conf" / "goals.json")


def test_the_classes_of_emotions_are_the_groups_of_the_words(repo):
    """conf/quadrant.map, for --emotion_classes."""
    groups = json.loads((repo / "espnet2_secap/metric/words/zh.json").read_text(encoding="utf-8"))["_groups"]["emotion"]
    expected = {emotion: group for group, emotions in groups["quadrant"].items() for emotion in emotions}
    assert read_emotion_map(repo / "egs2/emospeech/sec1/conf/quadrant.map") == expected


def test_tables_are_readable_and_name_configurations_that_are_there(repo):
    for path in configs(repo, "tables"):
        file = TableFile(path, repo / "egs2/TEMPLATE/sec1/sec.sh")
        for step in [*file.feats.values(), *file.aligns.values(), *file.systems.values()]:
            named = [value for key, value in step.options.items() if key.endswith("_config")]
            assert all((path.parent.parent / name).is_file() for name in named), (path, named)
        assert all(file.rows(name) for name in file.tables), path


def test_sizes_of_mini_parts(repo, local):
    """Every pretrain.yaml is accepted by the programs that read it; llm: steps: 0 leaves the weights random."""
    common = local("pretrain_common")
    parts = {"hubert": local("pretrain_hubert").HubertConfig, "llm": local("pretrain_llm").LLMConfig}
    for path in configs(repo, "pretrain"):
        conf = yaml.safe_load(path.read_text(encoding="utf-8"))
        for section, config in parts.items():
            read = common.read_config(path, section, config())
            assert all(getattr(read, name) == value for name, value in (conf.get(section) or {}).items()), path
