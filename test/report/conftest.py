import json

import pytest


def value(mean, std=0.0, n=1):
    return {"mean": mean, "std": std, "n": n, "values": [mean] * n}


def add(exp, system, metrics, dset="test", **meta):
    folder = exp / system / dset
    folder.mkdir(parents=True)
    (folder / "score.json").write_text(json.dumps(metrics))
    if meta:
        (folder / "score_meta.json").write_text(json.dumps(meta, ensure_ascii=False), encoding="utf-8")
    return folder


@pytest.fixture
def exp(tmp_path):
    """A small experiment folder: a system on two sets, its shuffled audio, and two rows that do not listen."""
    exp = tmp_path / "exp"
    (tmp_path / "ref").write_text('u1 ["很高兴", "开心"]\nu2 ["悲伤|难过"]\nu3 ["平静"]\n', encoding="utf-8")
    meta = {"segment": "char", "ref": str(tmp_path / "ref"), "hyp": "captions", "utterances": 3}
    own = add(
        exp,
        "sec_x/decode_y",
        {"cider": value(50.0, 1.25, 5), "bleu_1": value(30.0, 0.5, 5), "emotion_recall": value(90.0, 0, 5)},
        command="sec_score --hyp mine",
        note="2 of 3 utterances have more than 5 candidates",
        **meta,
    )
    (own / "captions").write_text('u1 ["开心"]\nu2 ["*难受*", "x"]\nu3 [""]\n', encoding="utf-8")
    add(exp, "sec_x/decode_y", {"cider": value(40.0)}, dset="dev")
    add(exp, "sec_x/decode_y_shuffled_audio", {"cider": value(20.0), "emotion_recall": value(30.0)}, **meta)
    add(exp, "frequent_caption", {"cider": value(5.0), "meteor": {"mean": None, "reason": "no java"}}, **meta)
    add(
        exp,
        "random_caption",
        {"cider": value(10.0), "bleu_1": value(30.001)},
        command="sec_score --hyp r",
        **meta,
    )
    (exp / "sec_align").mkdir()
    (exp / "sec_align" / "probe.json").write_text(
        json.dumps(
            {
                "system": "sec_align",
                "set": "valid+test",
                "emotion": {"accuracy": 0.921, "chance": 0.25, "n": 40},
                "sentence": {"accuracy": None, "chance": None, "n": 0, "reason": "no text"},
            }
        )
    )
    (exp / "sec_align" / "curves.tsv").write_text(
        "epoch\tsplit\tkey\tvalue\n1\ttrain\tsccl\t2.5\n1\ttrain\tloss\t3\n1\tvalid\tloss\tnan\n2\ttrain\tloss\t1\n"
        "1\ttrain\tforward_time\t9\n1\ttrain\toptim0_lr0\t9\n1\ttrain\tgpu_max_cached_mem_GB\t9\n"
    )
    return exp


@pytest.fixture(scope="session")
def chinese_words():
    """Read once: it takes as long as all that `scored` does with it."""
    from espnet2_secap.metric.words import load_words

    return load_words("zh")


@pytest.fixture
def scored(tmp_path, chinese_words):
    """A function that scores captions as sec_score does: system, its captions by id, ... -> Score."""
    from espnet2_secap.data.io import write_captions, write_kaldi
    from espnet2_secap.metric.abs_metric import Context
    from espnet2_secap.metric.hallucination import listed
    from espnet2_secap.metric.score import read_pairs, score_metrics, write_scores
    from espnet2_secap.metric.segment import SEGMENTERS
    from espnet2_secap.report.collect import find_scores

    def make(system, captions, references, metrics=("bleu_1", "rouge_l"), dset="test", **meta):
        ref = tmp_path / f"dump/{dset}/captions"
        folder = tmp_path / "exp" / system / dset
        ref.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True)
        write_captions(ref, references)
        lines = {utt: json.dumps(sentences) for utt, sentences in captions.items()}
        write_kaldi(folder / "captions", lines)
        pairs = read_pairs(ref, folder / "captions")
        context = Context(SEGMENTERS["char"], chinese_words)
        results, tables = score_metrics(pairs, list(metrics), context)
        about = {"segment": "char", "words": "zh", "ref": str(ref), "hyp": "captions", "utterances": len(references)}
        about["candidates"] = len(pairs.candidates)
        asked = any(name.startswith("hallucination") for name in metrics)
        found = listed(context, pairs.references, pairs.candidates) if asked else None
        write_scores(folder / "score.json", results, tables, pairs, about | meta, found)
        return next(one for one in find_scores(tmp_path / "exp") if (one.system, one.dset) == (system, dset))

    return make


@pytest.fixture
def with_clues(exp):
    """The same with two systems that read clues: of the references, and predicted ones."""
    bound = {"cider": value(99.0), "bleu_1": value(99.0), "emotion_recall": value(100.0)}
    meta = {"segment": "char", "ref": str(exp.parent / "ref"), "hyp": "captions", "utterances": 3}
    folder = add(exp, "sec_x/decode_oracle", bound, clues="oracle", **meta)
    (folder / "captions").write_text('u1 ["开心"]\nu2 ["难过"]\nu3 ["平静"]\n', encoding="utf-8")
    add(exp, "sec_x/decode_predicted", bound | {"cider": value(1.0)}, clues="predicted", **meta)
    return exp
