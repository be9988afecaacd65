import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.report.curves import find_curves, plot_curves, read_curves


def test_values_without_bookkeeping_loss_first(exp):
    curves = find_curves(exp)["sec_align"]
    assert list(curves) == ["loss", "sccl"]
    assert curves["loss"]["train"] == [(1, 3.0), (2, 1.0)] and list(curves["loss"]) == ["train", "valid"]


def test_picture_shows_the_lines(exp, tmp_path):
    from matplotlib.image import imread

    output = tmp_path / "images" / "curves.png"
    plot_curves(find_curves(exp), output)
    small = imread(output)
    assert small.shape[0] > 200 and small.shape[1] > 1000
    blue = (abs(small[..., :3] - [0x1F / 255, 0x77 / 255, 0xB4 / 255]) < 0.02).all(-1)
    assert blue.sum() > 100  # the line of the training loss
    many = {f"key{at}": {"train": [(1, 1.0), (2, 2.0)]} for at in range(5)}
    plot_curves(find_curves(exp) | {"sec_b": many}, output)
    assert imread(output).shape[0] > 2 * small.shape[0]  # five panels need two rows


def test_dollars_in_names_are_no_formulas(tmp_path):
    """`$x_$` as a formula would be an error."""
    plot_curves({"sec_$x_$": {"a$_$": {"split_$_$": [(1, 1.0)]}}}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "line", ["1\ttrain\tloss", "x\ttrain\tloss\t1", "1\ttrain\tloss\thigh", "", "1\ttrain\t\udcff\t1"]
)
def test_bad_lines_are_named(tmp_path, line):
    file = tmp_path / "curves.tsv"
    file.write_bytes(f"1\ttrain\tloss\t1\n{line}\n".encode("utf-8", "surrogateescape"))
    with pytest.raises(SecError, match="curves.tsv:2: expected epoch"):
        read_curves(file)
