"""Train a speech emotion captioning model: `--model align` (first stage) or `--model caption` (second)."""

import yaml

from espnet2_secap.data.scp import check_training_data
from espnet2_secap.errors import SecError, cli


def get_parser():
    """ESPnet's training options and this task's own; `--config FILE` reads them from YAML."""
    from espnet2_secap.tasks.sec import SECTask

    return SECTask.get_parser()


@cli
def main(cmd=None) -> None:
    """Train; what is already trained is resumed with `--resume true`."""
    from espnet2_secap.safe_load import tensors_only
    from espnet2_secap.tasks.sec import SECTask

    try:
        args = SECTask.get_parser().parse_args(cmd)
        check_training_data(args.train_data_path_and_name_and_type + args.valid_data_path_and_name_and_type)
        with tensors_only():
            SECTask.main(args=args)
    except yaml.YAMLError as err:
        raise SecError(f"--config: not a YAML file: {' '.join(str(err).split())}") from err


if __name__ == "__main__":
    main()
