"""Train a speech emotion captioning model: `--model align` (first stage) or `--model caption` (second)."""

from espnet2_secap.errors import cli


def get_parser():
    """ESPnet's training options and this task's own; `--config FILE` reads them from YAML."""
    from espnet2_secap.tasks.sec import SECTask

    return SECTask.get_parser()


@cli
def main(cmd=None) -> None:
    """Train; `--resume true` resumes an interrupted training.

    On TERM and USR1 the program saves its state and exits with status 99; the same command resumes the training.
    """
    from espnet2_secap.train.interrupt import interrupt

    with interrupt.listening():
        from espnet2_secap.tasks.sec import SECTask

        SECTask.main(cmd=cmd)


if __name__ == "__main__":
    main()
