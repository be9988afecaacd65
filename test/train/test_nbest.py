import datetime
import os

import pytest
import torch
from crafted import Evil
from espnet2.main_funcs.average_nbest_models import average_nbest_models
from espnet2.train.reporter import Reporter

from espnet2_secap.errors import SecError
from espnet2_secap.train.nbest import average, ranked, update_links

CRITERIA = [("valid", "loss", "min"), ("valid", "acc", "max")]
LOSSES = {1: 3.0, 2: 1.0, 3: 2.0, 4: 2.5}


def reporter_of(last: int) -> Reporter:
    reporter = Reporter()
    stats = {e: {"valid": {"loss": LOSSES[e], "time": datetime.timedelta(seconds=1)}} for e in range(1, last + 1)}
    reporter.load_state_dict({"epoch": last, "stats": stats})
    return reporter


def make_files(folder, epochs):
    for epoch in epochs:
        state = {"w": torch.tensor([1.0, 10.0]) * epoch, "steps": torch.tensor(epoch)}
        torch.save(state, folder / f"{epoch}epoch.pth")


def test_links_and_removal(tmp_path):
    make_files(tmp_path, [1, 2, 3])
    (tmp_path / "other.pth").touch()
    assert update_links(tmp_path, reporter_of(3), CRITERIA, keep=1) == []
    assert sorted(path.name for path in tmp_path.glob("*epoch.pth")) == ["2epoch.pth", "3epoch.pth"]
    assert os.readlink(tmp_path / "latest.pth") == "3epoch.pth"
    assert os.readlink(tmp_path / "valid.loss.best.pth") == "2epoch.pth"
    assert (tmp_path / "other.pth").exists()
    make_files(tmp_path, [4])
    update_links(tmp_path, reporter_of(4), CRITERIA, keep=2)
    assert sorted(path.name for path in tmp_path.glob("*epoch.pth")) == ["2epoch.pth", "3epoch.pth", "4epoch.pth"]


def test_an_epoch_that_is_not_finite_is_never_the_best(tmp_path):
    make_files(tmp_path, [1, 2, 3])
    (tmp_path / "valid.acc.best.pth").symlink_to("1epoch.pth")
    reporter = reporter_of(3)
    reporter.stats[2]["valid"]["loss"] = float("nan")
    for epoch, value in ((1, float("nan")), (2, float("inf")), (3, float("nan"))):
        reporter.stats[epoch]["valid"]["acc"] = value
    assert ranked(reporter, "valid", "loss", "min") == [3, 1] and ranked(reporter, "valid", "acc", "max") == []
    assert update_links(tmp_path, reporter, CRITERIA, keep=3) == ["valid.loss"]
    assert os.readlink(tmp_path / "valid.loss.best.pth") == "3epoch.pth"
    assert not os.path.lexists(tmp_path / "valid.acc.best.pth"), "what an earlier version linked"
    average(tmp_path, reporter, CRITERIA, [3])
    assert os.readlink(tmp_path / "valid.loss.ave.pth") == "valid.loss.ave_1best.pth"
    assert not os.path.lexists(tmp_path / "valid.acc.ave.pth")


def test_an_average_of_more_epochs_than_were_kept_is_of_those_that_are_there(tmp_path, caplog):
    make_files(tmp_path, [2, 4])
    average(tmp_path, reporter_of(4), CRITERIA[:1], [2])
    assert torch.load(tmp_path / "valid.loss.ave_2best.pth", weights_only=True)["w"].tolist() == [3.0, 30.0]
    assert "some were not kept" in caplog.text


def test_the_best_epoch_is_named(tmp_path):
    make_files(tmp_path, [1, 2])
    assert update_links(tmp_path, reporter_of(2), CRITERIA, keep=1) == ["valid.loss"]


def test_after_a_step_back_to_an_older_checkpoint_no_link_leads_nowhere(tmp_path):
    make_files(tmp_path, [3])  # epoch 2, the best, was removed by what came later
    update_links(tmp_path, reporter_of(3), CRITERIA, keep=1)
    assert os.readlink(tmp_path / "latest.pth") == "3epoch.pth"
    assert not os.path.lexists(tmp_path / "valid.loss.best.pth")


@pytest.mark.parametrize("counts", [[1], [1, 3], [2], [5]])
def test_averages_are_those_of_espnet(tmp_path, counts):
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        make_files(tmp_path / name, [1, 2, 3, 4])
    average(tmp_path / "ours", reporter_of(4), CRITERIA[:1], counts)
    average_nbest_models(tmp_path / "theirs", reporter_of(4), CRITERIA[:1], counts)
    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("ours", "theirs")]
    assert names[0] == names[1]
    for name in names[0]:
        ours, theirs = (torch.load(tmp_path / kind / name, weights_only=True) for kind in ("ours", "theirs"))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
        assert (tmp_path / "ours" / name).is_symlink() == (tmp_path / "theirs" / name).is_symlink()


def test_no_code_of_a_model_file_is_run(tmp_path, marker):
    make_files(tmp_path, [1, 3, 4])
    torch.save({"w": Evil(marker)}, tmp_path / "2epoch.pth")
    with pytest.raises(SecError, match="2epoch.pth"):
        average(tmp_path, reporter_of(4), CRITERIA[:1], [2])
