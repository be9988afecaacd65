"""The options; the import itself: test/publish."""

import pytest

from espnet2_secap.bin.sec_import_htsat_bart import get_parser, main


def test_options(capsys):
    args = get_parser().parse_args(["--checkpoint", "c", "--bart", "b", "--output", "o"])
    assert (args.checkpoint, args.bart, args.output) == ("c", "b", "o")
    with pytest.raises(SystemExit):
        get_parser().parse_args(["--checkpoint", "c", "--output", "o"])
    assert "--bart" in capsys.readouterr().err


def test_no_such_checkpoint(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--checkpoint", f"{tmp_path}/none.pt", "--bart", "b", "--output", f"{tmp_path}/out"])
    assert end.value.code == 1 and f"{tmp_path}/none.pt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
