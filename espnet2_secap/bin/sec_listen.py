"""Listening tests: make the pages, take the answers, analyse them."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

from espnet2_secap.cli_types import Parser, of
from espnet2_secap.data.io import atomic_write, make_dir, write_json
from espnet2_secap.data.text_file import read_text
from espnet2_secap.errors import SecError, cli
from espnet2_secap.listen import prepare as parts
from espnet2_secap.listen.design import DATABASE, Size, balance, full_groups, make_design, read_design
from espnet2_secap.listen.page import LANGUAGES, page, page_file, texts
from espnet2_secap.values import Amount, Count, Natural, Range, Seed, Share

Port = Annotated[int, Range(least=0, most=65535)]
Correlation = Annotated[float, Range(least=-1, most=1)]
Few = Annotated[int, Range(least=1, most=1000)]
MOST = 2000  # listeners


def get_parser() -> argparse.ArgumentParser:
    """The options of sec_listen."""
    parser = Parser(
        prog="sec_listen",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Subjective evaluation as in SECap: listeners rate each caption from 1 to 5 in three steps.
  1. Does the sentence describe an emotion?   no: 1
  2. Does that emotion match the speech?      no: 2
  3. Does its intensity match?                hardly: 3, mostly: 4, fully: 5""",
        epilog="See docs/listening.md.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _prepare_options(verbs.add_parser("prepare", help="draw utterances, deal them to groups, write a page per group"))
    _serve_options(verbs.add_parser("serve", help="hand the pages to listeners by links, and store their answers"))
    _analyse_options(verbs.add_parser("analyse", help="MOS, agreement, tests, correlation of metrics with MOS"))
    return parser


def _prepare_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--data_dir", required=True, help="folder with wav.scp, and utt2emo for catch trials: data/test")
    verb.add_argument(
        "--systems",
        required=True,
        nargs="+",
        metavar="NAME=FILE",
        help="captions of each system, in any format of sec_score; of several captions the first one is rated",
    )
    verb.add_argument("--output", required=True, metavar="DIR", help="folder to write: design.json and group_N.html")
    verb.add_argument("--utterances", type=of(Count), default=50, help="utterances to draw (default: 50, the paper's)")
    verb.add_argument(
        "--per_utterance",
        type=of(Count | None),
        default=None,
        metavar="K",
        help="captions of an utterance that one listener rates, by a Latin square (default: none: all systems')",
    )
    verb.add_argument(
        "--groups",
        type=of(Few | None),
        default=None,
        metavar="G",
        help="groups of listeners (default: none: the fewest that rate every caption equally often)",
    )
    verb.add_argument("--practice", type=of(Natural), default=0, metavar="N", help="practice items first (default: 0)")
    verb.add_argument(
        "--catch",
        type=of(Natural),
        default=0,
        metavar="N",
        help="catch trials: a sentence without emotion, or the first system's caption of another emotion (default: 0)",
    )
    verb.add_argument("--lang", choices=LANGUAGES, default="zh", help="language of the pages (default: zh)")
    verb.add_argument("--instructions", metavar="FILE", help="text that stands for our instructions on the first page")
    verb.add_argument("--consent", metavar="TEXT", help="text that stands for our line of consent")
    verb.add_argument(
        "--audio_format",
        choices=parts.FORMATS,
        default="flac",
        help="of the recordings in the pages: flac is lossless, mp3 a fifth of the size (default: flac)",
    )
    verb.add_argument("--seed", type=of(Seed), default=0, help="of all draws (default: 0)")


def _serve_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--folder", required=True, metavar="DIR", help="folder of sec_listen prepare")
    verb.add_argument(
        "--listeners",
        type=of(Annotated[int, Range(least=0, most=MOST)]),
        default=0,
        metavar="N",
        help="have links for N listeners, in DIR/tokens.tsv; those there are stay (default: 0: as many as there are)",
    )
    verb.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: all (default: 127.0.0.1)")
    verb.add_argument("--port", type=of(Port), default=8000, help="port; 0: a free one (default: 8000)")
    verb.add_argument(
        "--url", help="how listeners reach it, such as https://lab.example.org (default: by host and port)"
    )
    verb.add_argument("--tokens_only", action="store_true", help="write tokens.tsv and stop")


def _analyse_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--folder", required=True, metavar="DIR", help="folder of sec_listen prepare")
    verb.add_argument(
        "--answers",
        nargs="+",
        metavar="FILE",
        help="files that listeners have saved, and databases (.sqlite) (default: DIR/answers.sqlite)",
    )
    verb.add_argument("--listeners", metavar="FILE", help="tokens.tsv; answers under other codes are left out")
    verb.add_argument(
        "--scores",
        nargs="+",
        default=[],
        metavar="SYSTEM=FILE",
        help="score.json of sec_score, for the correlation of its metrics with MOS",
    )
    verb.add_argument(
        "--min_answers",
        type=of(Share),
        default=0.5,
        metavar="SHARE",
        help="leave out listeners with fewer of their answers than this; what others have given is used (default: 0.5)",
    )
    verb.add_argument(
        "--min_correlation",
        type=of(Correlation),
        default=0.3,
        metavar="R",
        help="flag listeners whose scores correlate less with the mean of the others (default: 0.3)",
    )
    verb.add_argument(
        "--min_seconds",
        type=of(Amount),
        default=1.0,
        metavar="S",
        help="flag listeners whose median time for an item, without the recording, is below S seconds (default: 1)",
    )
    verb.add_argument(
        "--max_catch",
        type=of(Share),
        default=0.34,
        metavar="SHARE",
        help="flag listeners who fail more of the catch trials than this, with 3 or more (default: 0.34)",
    )
    verb.add_argument(
        "--output",
        metavar="FILE",
        help="Markdown file; .tex, .json, .png and .tsv beside it (default: DIR/LISTENING.md)",
    )


def prepare(args: argparse.Namespace) -> None:
    """Write design.json and a page per group."""
    systems = parts.read_systems(args.systems)
    recordings = parts.read_recordings(args.data_dir)
    seconds, notes = parts.read_seconds(recordings)
    per_utterance = args.per_utterance or len(systems)
    groups = args.groups or full_groups(len(systems), min(per_utterance, len(systems)))
    text = texts(args.lang, read_text(args.instructions).strip() if args.instructions else None, args.consent)
    size = Size(args.utterances, groups, per_utterance, args.practice, args.catch)
    emotions = parts.read_emotions(args.data_dir)
    design = make_design(systems, seconds, size, args.lang, args.seed, emotions)
    audio = parts.encode([recordings[utt] for utt in design.seconds], args.audio_format)
    folder = Path(args.output)
    if (folder / DATABASE).exists() and design.id != _known_id(folder):
        raise SecError(f"{folder / DATABASE}: holds answers to other pages; choose another --output")
    make_dir(folder)
    design.write(folder / "design.json")
    os.chmod(folder / "design.json", 0o600)
    for group in range(1, groups + 1):
        with atomic_write(page_file(folder, group)) as stream:
            stream.write(page(design, group, audio, text))
    print("\n".join([*notes, *balance(design)]))
    size = sum(page_file(folder, group).stat().st_size for group in range(1, groups + 1)) / groups
    print(f"Pages: {page_file(folder, 1)}" + (f" to {page_file(folder, groups).name}" if groups > 1 else ""), end=", ")
    print(f"{size / 1e6:.1f} MB each\nKey, not for listeners: {folder / 'design.json'}")


def _known_id(folder: Path) -> str | None:
    try:
        return read_design(folder).id
    except SecError:
        return None


def serve(args: argparse.Namespace) -> None:
    """Serve until it is stopped."""
    try:
        from espnet2_secap.listen import server
    except ModuleNotFoundError as err:
        raise SecError(f"{err.name} is not installed; run pip install 'espnet2_secap[listen]'") from None
    folder = Path(args.folder)
    service = server.Service(folder)
    listeners = service.store.add_listeners(args.listeners)
    if not listeners:
        raise SecError("--listeners 0: nobody has a link yet; give the number of listeners")
    sock = None if args.tokens_only else server.bind(args.host, args.port)
    port = sock.getsockname()[1] if sock else args.port
    host = f"[{args.host}]" if ":" in args.host else args.host
    url = (args.url or f"http://{host}:{port}").rstrip("/")
    tokens = folder / "tokens.tsv"
    with atomic_write(tokens) as stream:
        os.chmod(stream.fileno(), 0o600)
        stream.write("listener\tgroup\tlink\n")
        stream.writelines(f"{name}\t{group}\t{url}/t/{token}\n" for name, group, token in listeners)
    print(f"Links of {len(listeners)} listeners: {tokens}", flush=True)
    if sock:
        print(f"Serving at {url}; answers: {folder / DATABASE}; stop with Ctrl-C", flush=True)
        server.run(service, sock)


def analyse(args: argparse.Namespace, argv: list[str]) -> None:
    """Write and print what the answers say."""
    from espnet2_secap.listen.analyse import Limits, analysed, read_all, read_known
    from espnet2_secap.listen.results import plot, write_ratings

    design = read_design(args.folder)
    output = Path(args.output or Path(args.folder) / "LISTENING.md")
    if output.suffix in (".tex", ".json", ".png", ".tsv"):
        raise SecError(f"--output {output}: must be the Markdown file (.md); the others are written next to it")

    def note(line: str) -> None:
        print(f"sec_listen: warning: {line}", file=sys.stderr)

    known = read_known(args.listeners) if args.listeners else None
    files = args.answers or [str(Path(args.folder) / DATABASE)]
    sheets = read_all(files, design, args.min_answers, known, note)
    limits = Limits(args.min_correlation, args.min_seconds, args.max_catch)
    results = analysed(design, sheets, limits, args.scores)
    make_dir(output.parent)
    picture = output.with_suffix(".png")
    plot(results, picture)
    command = shlex.join(["sec_listen", *argv])
    for path, text in {
        output: results.markdown(command, picture.name),
        output.with_suffix(".tex"): results.latex(),
    }.items():
        with atomic_write(path) as stream:
            stream.write(text)
    write_json(output.with_suffix(".json"), results.numbers())
    write_ratings(results, output.with_suffix(".tsv"))
    print(results.text())
    print(f"Report: {output}\nFor papers: {output.with_suffix('.tex')}\nNumbers: {output.with_suffix('.json')}")
    print(f"Plot: {picture}\nRatings: {output.with_suffix('.tsv')}")


@cli
def main(argv: list[str] | None = None) -> None:
    """Do one of the verbs."""
    argv = sys.argv[1:] if argv is None else argv
    args = get_parser().parse_args(argv)
    if args.verb == "prepare":
        prepare(args)
    elif args.verb == "serve":
        serve(args)
    else:
        analyse(args, argv)


if __name__ == "__main__":
    main()
