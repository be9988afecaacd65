"""Check the recordings of a data directory and format them (stage 2)."""

import argparse

from espnet2_secap.cli_types import str2bool
from espnet2_secap.data.format import FormatOptions, check_options, combine, format_job
from espnet2_secap.errors import SecError, cli


def get_parser() -> argparse.ArgumentParser:
    """Options of sec_format_audio."""
    parser = argparse.ArgumentParser(
        description="Check the recordings of data/<set> and write them as mono audio of one sampling rate into"
        " dump/raw/<set>. First run every job (--job 1 to --nj, in parallel if you like), then once with"
        " --combine true, which writes wav.scp, utt2num_samples and bad_utts.tsv and copies the other files."
        " A run that was interrupted is simply started again. Broken recordings (missing, empty, cut short, not"
        " audio, silent, NaN, too short or long) are left out of train and valid sets, counted, and listed with the"
        " reason in bad_utts.tsv; in a test set they are an error.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data_dir", required=True, help="folder to read, such as data/train")
    parser.add_argument("--output_dir", required=True, help="folder to write, such as dump/raw/train")
    parser.add_argument(
        "--role",
        choices=["train", "valid", "test"],
        required=True,
        help="what the set is for; the duration limits do not apply to test sets",
    )
    parser.add_argument("--fs", type=int, default=16000, help="sampling rate to write, in Hz")
    parser.add_argument("--audio_format", choices=["wav", "flac"], default="wav", help="both hold 16 bits")
    parser.add_argument("--min_wav_duration", type=float, default=0.1, help="shortest utterance kept, in seconds")
    parser.add_argument("--max_wav_duration", type=float, default=30.0, help="longest utterance kept, in seconds")
    parser.add_argument("--nj", type=int, default=1, help="number of jobs")
    parser.add_argument("--job", type=int, default=1, help="which of them this is, from 1 on")
    parser.add_argument("--combine", type=str2bool, default=False, help="join the results of all jobs")
    parser.add_argument(
        "--skip_bad_test",
        type=str2bool,
        default=False,
        help="leave broken test utterances out, with a warning",
    )
    parser.add_argument(
        "--allow_pipes",
        type=str2bool,
        default=False,
        help="run the commands that stand in wav.scp in place of files (`sox x.mp3 -t wav - |`): they can do anything,"
        " so only where you trust the data directory",
    )
    parser.add_argument("--pipe_seconds", type=float, default=300.0, help="how long each of them may take")
    return parser


@cli
def main(argv=None) -> None:
    """Entry point."""
    args = vars(get_parser().parse_args(argv))
    job, join = args.pop("job"), args.pop("combine")
    options = FormatOptions(**args)
    check_options(options)
    if join:
        print(combine(options))
    elif not 1 <= job <= options.nj:
        raise SecError(f"--job {job}: wants 1 to {options.nj} (--nj)")
    else:
        format_job(options, job)


if __name__ == "__main__":
    main()
