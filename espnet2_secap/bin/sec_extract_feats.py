"""Stage 3: compute speech features with an encoder and store them as Kaldi-style arks."""

import argparse
import os
from typing import Annotated

from espnet2_secap.cli_types import Parser, of, str2bool
from espnet2_secap.data.conf import parse_yaml
from espnet2_secap.errors import SecError, cli
from espnet2_secap.feats.extract import combine, run_job
from espnet2_secap.feats.shards import Settings, plan
from espnet2_secap.values import Count, Positive, Range

EPILOG = """\
First every job, then once --combine true, all with the same options:
  for j in 1 2; do sec_extract_feats --sets "train valid" --output dump/hubert --upstream hf_hubert_custom
      --upstream_path pretrained/hubert --nj 2 --job $j; done
  sec_extract_feats ... --nj 2 --combine true
Repeat the command to resume an interrupted job. Parts whose settings, model or audio have changed are computed
again. fbank normalises each utterance (mean and variance of every bin),
which removes how loud it is; fbank_no_cmvn does not.
"""


def get_parser() -> argparse.ArgumentParser:
    """The program's options."""
    parser = Parser(description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dumpdir", default="dump", help="reads DUMPDIR/raw/SET/{wav.scp,utt2num_samples} (default: dump)")
    add("--sets", nargs="+", required=True, metavar="SET", help='the sets, such as "train valid test"')
    add("--output", required=True, metavar="DIR", help="writes DIR/SET/{feats.scp,...}, such as dump/hubert")
    add("--encoder", default="s3prl", metavar="NAME", help="encoder of tasks/parts.py (default: s3prl)")
    add(
        "--encoder_conf",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="constructor arguments of the encoder, values in YAML; can be repeated, or one JSON object;"
        " with several names in --upstream, NAME.KEY=VALUE",
    )
    add(
        "--upstream",
        metavar="NAME[+NAME]",
        help="S3PRL's name of an upstream (default: hf_hubert_custom), or an encoder of tasks/parts.py; several "
        "side by side: acoustic+hf_hubert_custom",
    )
    add(
        "--upstream_path",
        metavar="PATH",
        help="of the upstream that is loaded from one: for hf_hubert_custom and clap a folder or a hub name",
    )
    add("--layer", help="of S3PRL's upstreams: last, a number from 0 (input of layer 1), or all, side by side")
    add(
        "--allow_pickle",
        type=str2bool,
        default=False,
        metavar="true|false",
        help="let S3PRL load checkpoints that hold Python objects, as some old .pt files do: such a file can run any "
        "code, so only where you trust its source (default: false)",
    )
    add("--dtype", default="float32", choices=["float32", "float16"], help="float16 takes half the space")
    add("--batch_seconds", type=of(Positive), default=30.0, help="audio that runs together, with padding (default: 30)")
    add("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    add(
        "--num_threads",
        type=of(Annotated[int, Range(1, 1024)]),
        default=1,
        help="CPU threads of one job (default: 1; more jobs beat more threads)",
    )
    add("--nj", type=of(Count), default=1, help="number of jobs that share the work")
    add("--job", type=of(Count), default=1, help="which of them this is, from 1")
    add("--combine", type=str2bool, default=False, metavar="true|false", help="merge what the jobs have made")
    return parser


@cli
def main(argv: list[str] | None = None) -> None:
    """Run one job, or combine them all."""
    args = get_parser().parse_args(argv)
    sets = list(dict.fromkeys(" ".join(args.sets).split()))  # one may be named as validation and as test set
    if not sets:
        raise SecError("--sets: must name one or more sets")
    settings = Settings(*encoder_of(args), args.dtype)
    shards = plan(args.dumpdir, sets, args.output, settings)
    if args.combine:
        combine(shards, args.nj)
        return
    from espnet2_secap.safe_load import pickles_allowed
    from espnet2_secap.tasks.parts import CHOICES

    def build():
        CHOICES["encoder"].check(settings.encoder, settings.conf)
        return CHOICES["encoder"].build(settings.encoder, settings.conf)

    with pickles_allowed(args.allow_pickle):
        run_job(shards, args.nj, args.job, args.batch_seconds, args.device, build, args.num_threads)


def encoder_of(args: argparse.Namespace) -> tuple[str, dict]:
    """The encoder and its configuration: --encoder, --encoder_conf, and the options that stand for keys of it."""
    from espnet2_secap.tasks import upstream

    conf = {}
    for text in args.encoder_conf:
        key, sign, value = text.partition("=")
        try:
            found = {key: parse_yaml(value)} if sign and not text.startswith("{") else parse_yaml(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise SecError(f"--encoder_conf {text}: must be KEY=VALUE, or a JSON object such as '{{\"layer\": 6}}'")
        conf |= found
    path = os.path.expanduser(args.upstream_path) if args.upstream_path else None
    if args.encoder == "s3prl":
        return upstream.encoder_of(args.upstream, path, args.layer, conf)
    given = {"upstream": args.upstream, "path": path, "layer": args.layer}
    return args.encoder, conf | {key: value for key, value in given.items() if value is not None}


if __name__ == "__main__":
    main()
