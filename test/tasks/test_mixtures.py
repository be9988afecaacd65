"""Every encoder x bridge x decoder of the registry builds and trains a step (SECap, Table 3).

A new part joins by a line in ENCODERS, BRIDGES or DECODERS.
"""

from types import SimpleNamespace

import pytest
import torch
from tiny_clap import make_clap

from espnet2_secap.tasks.parts import CHOICES
from espnet2_secap.tasks.sec import SECTask

FBANK = {"upstream": "fbank_no_cmvn"}
ENCODERS = {
    "acoustic": {},
    "clap": {"path": "CLAP"},
    "joined": {"encoders": {"acoustic": {}, "fbank": {"encoder": "s3prl", **FBANK}}},
    "opensmile": {},
    "s3prl": FBANK,
    "stored": {"input_size": 6},
}
BRIDGES = {
    "linear": {"stride": 8},  # the tiny BART reads 64 positions
    "qformer": dict(num_queries=2, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, encoder_width=16),
}
DECODERS = {"causal_lm": "tiny_llama", "seq2seq": "tiny_bart"}  # fixtures
NEEDS = {"opensmile": [pytest.mark.needs("opensmile")]}
WORDS = {
    "caption": "语速较快，声音高亢",
    "instruction": "请描述情感",
    "transcript": "今天下午三点",
    "text_queries": "今天",
}


def names(kind):
    return [pytest.param(name, marks=NEEDS.get(name, ())) for name in CHOICES[kind].choices() if name]


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clap")
    make_clap(folder)
    return str(folder)


def build(request, tmp_path, encoder, bridge, decoder, *condition):
    args = vars(SECTask.get_parser().parse_args(["--output_dir", str(tmp_path), "--num_att_plot", "0"]))
    encoder_conf = ENCODERS[encoder]
    if encoder_conf.get("path"):
        encoder_conf = encoder_conf | {"path": request.getfixturevalue("clap")}
    args |= dict(model="caption", model_conf={"condition": list(condition)}, encoder=encoder, encoder_conf=encoder_conf)
    args |= dict(bridge=bridge, bridge_conf=BRIDGES[bridge], decoder=decoder, text_encoder="embedding")
    args |= dict(decoder_conf={"path": request.getfixturevalue(DECODERS[decoder])})
    args |= dict(text_encoder_conf={"path": request.getfixturevalue("tiny_llama"), "embedding_size": 16})
    args = SimpleNamespace(**args)
    torch.manual_seed(0)
    return SECTask.build_model(args).train(), SECTask.text_functions(args)


def batch_of(model, functions, condition, rows=2):
    """Two utterances; the first has one word less of each text."""
    batch = {}
    for name in ("caption", "instruction", *condition):
        if name != "queries":
            ids = [functions[name](WORDS[name])[1 - row :] for row in range(rows)]
            batch[name] = torch.nn.utils.rnn.pad_sequence([torch.tensor(one) for one in ids], True, -1)
            batch[f"{name}_lengths"] = torch.tensor([len(one) for one in ids])
    generator = torch.Generator().manual_seed(0)
    rate = model.encoder.sampling_rate
    shape = (rows, 30, 6) if rate is None else (rows, rate)
    lengths = torch.tensor([shape[1] * 3 // 4, shape[1]])
    return batch | {"speech": 0.1 * torch.randn(shape, generator=generator), "speech_lengths": lengths}


@pytest.mark.parametrize("decoder", names("decoder"))
@pytest.mark.parametrize("bridge", names("bridge"))
@pytest.mark.parametrize("encoder", names("encoder"))
def test_every_mixture_trains_a_step(request, tmp_path, encoder, bridge, decoder):
    conditions = [("queries",), ("transcript", "queries")]
    conditions += [("text_queries", "queries")] if CHOICES["bridge"].get_class(bridge).has_text_branch else []
    for condition in conditions:
        model, functions = build(request, tmp_path, encoder, bridge, decoder, *condition)
        batch = batch_of(model, functions, condition)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        loss, stats, tokens = model(**batch)
        loss.backward()
        optimizer.step()
        moved = {
            name.split(".")[0] for name, p in model.named_parameters() if name in before and (p != before[name]).any()
        }
        projections = {"projection", "text_projection"} if "text_queries" in condition else {"projection"}
        assert loss.isfinite() and tokens == batch["caption_lengths"].sum() and {"bridge", *projections} <= moved
        assert not moved & {"decoder"} and model(**batch)[0].isfinite()


@pytest.mark.parametrize("decoder", names("decoder"))
@pytest.mark.parametrize("condition", [("transcript",), ("text_queries",), ("text_queries", "transcript", "queries")])
def test_a_batch_gives_the_loss_of_its_utterances_one_by_one_by_every_decoder(request, tmp_path, decoder, condition):
    """The second utterance has no words."""
    model, functions = build(request, tmp_path, "stored", "qformer", decoder, *condition)
    encoder, model = "encoder" if model.encoder is not None else None, model.eval()
    if encoder is None:
        model.encoder = SimpleNamespace(sampling_rate=None)
    batch = batch_of(model, functions, condition)
    if "transcript" in condition:
        batch["transcript_lengths"][1] = 0
    whole, _, tokens = model(**batch)
    total = 0.0
    for row in range(2):
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        for name in [name for name in alone if not name.endswith("_lengths")]:
            alone[name] = alone[name][:, : alone[f"{name}_lengths"]]
        loss, _, count = model(**alone)
        total += loss.item() * count.item()
    assert whole.item() == pytest.approx(total / tokens.item(), rel=1e-4)
