"""Training curves: the values of every experiment per epoch."""

import math
import re
from pathlib import Path

from espnet2_secap.data.io import atomic_write, make_dir
from espnet2_secap.data.text_file import UTF8, read_text
from espnet2_secap.errors import SecError

Curves = dict[str, dict[str, list[tuple[int, float]]]]  # key -> split -> (epoch, value)

# Values that ESPnet's trainer adds to those of the model.
_BOOKKEEPING = re.compile(r".*(time|_lr\d*|mem_GB|mem_cached|count|loss_scale|clip|grad_norm)$|optim\d.*")
_COLORS = {"train": "tab:blue", "valid": "tab:orange"}
_PER_ROW = 4


def find_curves(expdir: str | Path) -> dict[str, Curves]:
    """Name -> curves, for every experiment below `expdir` that has a curves.tsv."""
    found = {path.parent.name: read_curves(path) for path in sorted(Path(expdir).glob("sec_*/curves.tsv"))}
    return {name: curves for name, curves in found.items() if curves}


def read_curves(path: str | Path) -> Curves:
    """Read `epoch<TAB>split<TAB>key<TAB>value` lines, without the trainer's times and memory; the loss is first.

    Raises:
        SecError: a line has another format.
    """
    curves: Curves = {}
    hint = "expected epoch, split, key and value, separated by tabs; remove the file or train again"
    try:
        lines = read_text(path).split("\n")
    except SecError as err:
        raise SecError(str(err).replace(UTF8, hint)) from None
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, 1):
        fields = line.split("\t")
        if number == 1 and fields[:1] == ["epoch"]:
            continue
        try:
            epoch, split, key, value = fields
            point = int(epoch), float(value)
        except ValueError:
            raise SecError(f"{path}:{number}: {hint}") from None
        if not _BOOKKEEPING.fullmatch(key):
            curves.setdefault(key, {}).setdefault(split, []).append(point)
    return dict(sorted(curves.items(), key=lambda item: (item[0] != "loss", item[0])))


def plot_curves(experiments: dict[str, Curves], output: str | Path) -> None:
    """Draw one panel per experiment and key, with a line per split, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows = [math.ceil(len(curves) / _PER_ROW) for curves in experiments.values()]
    heights = [2.4 * count + 0.4 for count in rows]  # inches
    figure = Figure(figsize=(3.2 * _PER_ROW, sum(heights)))
    FigureCanvasAgg(figure)
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, count, height, (name, curves) in zip(parts, rows, heights, experiments.items(), strict=True):
        # a $ in a name is not a formula
        part.suptitle(f"{name}, by epoch", fontsize=10, parse_math=False, y=1 - 0.1 / height)
        # fixed margins: a layout that is fitted to the labels takes longer than all the drawing
        part.subplots_adjust(0.05, 0.3 / height, 0.99, 1 - 0.6 / height, wspace=0.32, hspace=0.35)
        panels = part.subplots(count, _PER_ROW, squeeze=False).flat
        for panel, (key, splits) in zip(panels, curves.items(), strict=False):
            for split, points in splits.items():
                epochs, values = zip(*sorted(points), strict=True)
                values = [value if math.isfinite(value) else math.nan for value in values]
                marker = "o" if len(epochs) < 4 else None
                panel.plot(epochs, values, color=_COLORS.get(split), label=split, marker=marker, markersize=3)
            panel.set_title(key, fontsize=8, parse_math=False)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            panel.tick_params(labelsize=7)
            for text in panel.legend(fontsize=7).get_texts():
                text.set_parse_math(False)
        for panel in list(part.axes)[len(curves) :]:
            panel.set_axis_off()
    make_dir(Path(output).parent)
    with atomic_write(output, "wb") as stream:
        figure.savefig(stream, format="png", dpi=100)
