"""Charts for the HTML reports: each function returns one SVG element as text.

The colours are CSS variables with the light value as fallback, so that a page in dark mode
recolours its charts, and a chart saved on its own is still right.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import escape
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

from tipnlp.cases import LABELS
from tipnlp.confidence import CalibrationBin, CoveragePoint
from tipnlp.errors import MissingExtraError
from tipnlp.statistics import Interval, Proportion
from tipnlp.tally import COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Light and dark value of every colour of a report, by the name of its CSS variable. Those of the labels keep
# apart under protanopia, deuteranopia and tritanopia (CIELAB distance of 19 or more) and stand out from the paper.
THEME: Mapping[str, tuple[str, str]] = {
    "ink": ("#1b1f24", "#e8eaed"),
    "paper": ("#ffffff", "#14171a"),
    "muted": ("#59626c", "#a3acb6"),
    "rule": ("#d3d8dd", "#3a424b"),
    "accent": ("#3b7ea1", "#4f9dc4"),
    "forced_labour": ("#1f66b0", "#5aa0e8"),
    "sex_trafficking": ("#a3195b", "#e0609f"),
    "non_trafficking": ("#c08a00", "#e6c35c"),
    "review": ("#8a9097", "#6f7780"),
}

# Second mark of a label beside its colour, for print without colours.
DASHES = {"forced_labour": "solid", "sex_trafficking": "dashed", "non_trafficking": "dashdot"}

SETTINGS: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tipnlp",
    # It comes with matplotlib: the same measures, so the same picture, on every machine.
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": False,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
}

# In inches of 72 points; 4.375 inches are 420 pixels of CSS.
WIDTH = 4.375

# On a stronger shade ink is hard to read.
DARKEST_SHADE = 0.6


def pick_colour(name: str) -> str:
    """Return the colour of a label, or of another part of a report, in light mode."""
    return THEME[name][0]


def draw_confusion(confusion: Sequence[Sequence[int]]) -> str:
    """Draw a confusion matrix: counts, and the share of the row as number and shade.

    Args:
        confusion: cases by gold label (row) and predicted label (column), in the order of `LABELS`.
    """
    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with _start_figure(3.5) as (figure, axes):
        for (row, column), count in np.ndenumerate(counts):
            share = float(shares[row, column])
            _draw_cell(axes, row, column, share)
            weight = "bold" if row == column else "normal"
            axes.text(column, row, str(count), ha="center", va="bottom", fontsize=12, weight=weight)
            axes.text(column, row + 0.12, f"{share:.0%}", ha="center", va="top", color=pick_colour("ink"))
        names = [name_label(label).replace(" ", "\n") for label in LABELS]
        axes.set(xlim=(-0.5, len(LABELS) - 0.5), ylim=(len(LABELS) - 0.5, -0.5), ylabel="what the cases are")
        axes.set_xticks(range(len(LABELS)), names)
        axes.set_yticks(range(len(LABELS)), names)
        axes.xaxis.set(ticks_position="top", label_position="top", label_text="what they were called")
        axes.xaxis.labelpad = 8
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        cells = [
            f"of {counts[row].sum()} {name_label(gold)}, {counts[row, column]} called {name_label(called)}"
            for row, gold in enumerate(LABELS)
            for column, called in enumerate(LABELS)
        ]
        return _save_figure(figure, "confusion", f"Confusion matrix: {'; '.join(cells)}.")


def _draw_cell(axes: Axes, row: int, column: int, share: float) -> None:
    size, floor = 0.96, row - 0.48
    axes.bar(column, size, size, floor, color=pick_colour("accent"), alpha=DARKEST_SHADE * share, linewidth=0)
    axes.bar(column, size, size, floor, color="none", edgecolor=pick_colour("rule"), linewidth=0.8)


def draw_precision_recall(probabilities: NDArray[np.float64], gold: NDArray[np.int64]) -> str:
    """Draw precision against recall of each label, over all thresholds.

    Args:
        probabilities: shape `(n, 3)`, columns in the order of `LABELS`.
        gold: the places of the right labels in `LABELS`, shape `(n,)`.
    """
    with _start_figure(3.3) as (figure, axes):
        said = []
        for i, label in enumerate(LABELS):
            truth = gold == i
            # Without a case of the label there is no recall.
            if not truth.any():
                continue
            precision, recall, _ = precision_recall_curve(truth, probabilities[:, i], drop_intermediate=True)
            average = average_precision_score(truth, probabilities[:, i])
            # The last point, precision 1 at recall 0, is a convention and no measurement.
            axes.step(
                recall[:-1],
                precision[:-1],
                where="post",
                color=pick_colour(label),
                linestyle=DASHES[label],
                linewidth=1.6,
                label=f"{name_label(label)} ({average:.2f})",
            )
            said.append(f"{name_label(label)} {average:.2f}")
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        _rule_axes(axes)
        axes.legend(loc="lower left", title="average precision", alignment="left")
        return _save_figure(figure, "recall", f"Precision-recall curves; average precision: {', '.join(said)}.")


def draw_coverage(points: Sequence[CoveragePoint], decided: Proportion, right: Proportion) -> str:
    """Draw the precision of deciding only the surest cases, with its 95 % band.

    Args:
        points: precision at some coverages.
        decided: of all cases, how many are decided today.
        right: of the decided cases, how many have the right label.
    """
    shown = sorted((p.coverage.value or 0.0, p.precision) for p in points)
    shares = [share for share, _ in shown]
    bounds = [_bound_share(precision) for _, precision in shown]
    with _start_figure(3.0) as (figure, axes):
        lows, highs = [b.low for b in bounds], [b.high for b in bounds]
        axes.fill_between(shares, lows, highs, color=pick_colour("accent"), alpha=0.22, linewidth=0)
        values = [precision.value or 0.0 for _, precision in shown]
        axes.plot(shares, values, color=pick_colour("accent"), linewidth=1.6, marker="o", markersize=3.5)
        if decided.value is not None and right.value is not None:
            axes.plot([decided.value], [right.value], "D", color=pick_colour("ink"), label="as decided by this model")
            axes.legend(loc="lower left")
        lowest = min([*lows, right.value or 1.0])
        axes.set(xlabel="share of the cases decided, the surest first", ylabel="share of these with the right label")
        axes.set(xlim=(0, 1.02), ylim=(max(0.0, np.floor(10 * lowest - 1) / 10), 1.02))
        _rule_axes(axes)
        pairs = zip(shares, values, strict=True)
        said = [f"{share:.0%} of the cases decided, {value:.0%} right" for share, value in pairs]
        return _save_figure(figure, "coverage", f"Precision against coverage: {'; '.join(said)}.")


def draw_reliability(bins: Sequence[CalibrationBin]) -> str:
    """Draw how often the likeliest label is right against its probability, and the cases a bin."""
    with _start_figure(3.9, heights=(3, 1)) as (figure, axes):
        lower = figure.axes[1]
        axes.plot([0, 1], [0, 1], color=pick_colour("muted"), linewidth=0.9, linestyle="dotted")
        for each in bins:
            value, interval = each.right.value or 0.0, _bound_share(each.right)
            axes.plot([each.probability] * 2, [interval.low, interval.high], color=pick_colour("accent"), linewidth=1.2)
            axes.plot([each.probability], [value], "o", color=pick_colour("accent"), markersize=5)
            middle = (each.low + each.high) / 2
            lower.bar([middle], [each.right.n], width=0.088, color=pick_colour("rule"))
            lower.text(middle, each.right.n, str(each.right.n), ha="center", va="bottom", fontsize=7.5)
        # The likeliest of three labels has a third or more.
        lower.set(xlim=(0.3, 1.01), xlabel="probability of the likeliest label", ylabel="cases")
        lower.set(ylim=(0, 1.25 * max(each.right.n for each in bins)), yticks=[])
        axes.set(ylim=(-0.03, 1.03), ylabel="how often it was right")
        axes.tick_params(labelbottom=False)
        _rule_axes(axes)
        said = [f"probability {b.probability:.2f}, right {b.right.hits} of {b.right.n}" for b in bins]
        return _save_figure(figure, "reliability", f"Reliability diagram: {'; '.join(said)}.")


def draw_tally(
    years: Sequence[str],
    counts: Sequence[Mapping[str, float]],
    intervals: Sequence[Mapping[str, Interval]] = (),
) -> str:
    """Draw the cases of each year as stacked bars.

    Args:
        years: the name of each bar.
        counts: for each year the cases by decision, names as in `tally.COLUMNS`.
        intervals: for each year, where there is one, the interval of a count by name; drawn as whisker.
    """
    floors = np.zeros(len(years))
    places = np.arange(len(years))
    known = intervals or [{}] * len(years)
    with _start_figure(3.2) as (figure, axes):
        for i, name in enumerate(COLUMNS):
            values = np.array([float(count.get(name, 0)) for count in counts])
            colour = pick_colour(name)
            axes.bar(places, values, 0.7, bottom=floors, color=colour, linewidth=0, label=name_label(name))
            # Side by side, so that the whisker of one part does not hide that of the next.
            for place, floor, found in zip(places + 0.14 * (i - 1.5), floors, known, strict=True):
                if name in found:
                    _draw_whisker(axes, place, floor + found[name].low, floor + found[name].high)
            floors = floors + values
        axes.set_xticks(places, years, rotation=90 if len(years) > 8 else 0)
        axes.set(ylabel="cases", xlim=(-0.6, max(len(years), 3) - 0.4))
        axes.tick_params(axis="x", length=0)
        axes.locator_params(axis="y", integer=True)
        axes.yaxis.grid(True, color=pick_colour("rule"), linewidth=0.6)
        figure.legend(loc="outside upper left", ncols=2, handlelength=1.0)
        said = [
            f"{year}: " + ", ".join(f"{count.get(name, 0):g} {name_label(name)}" for name in COLUMNS)
            for year, count in zip(years, counts, strict=True)
        ]
        return _save_figure(figure, "tally", f"Cases by year. {'; '.join(said)}.")


def _draw_whisker(axes: Axes, place: float, low: float, high: float) -> None:
    # A rim in the colour of the paper: ink alone is lost on a dark bar.
    for colour, width in (("paper", 2.7), ("ink", 1.1)):
        axes.plot(
            [place, place],
            [low, high],
            color=pick_colour(colour),
            linewidth=width,
            marker="_",
            markersize=4 + width,
            markeredgewidth=width,
        )


def name_label(label: str) -> str:
    """Return a label in plain words."""
    return {"non_trafficking": "not trafficking", "review": "to review"}.get(label, label.replace("_", " "))


def _bound_share(share: Proportion) -> Interval:
    return share.interval or Interval(0.0, 1.0)


def _rule_axes(axes: Axes) -> None:
    axes.grid(True, color=pick_colour("rule"), linewidth=0.6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


@contextmanager
def _start_figure(height: float, heights: Sequence[float] = (1,)) -> Iterator[tuple[Figure, Axes]]:
    """Yield an empty figure and the first of its axes, one above the other, with the settings of all charts."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "report") from None
    ink, muted = pick_colour("ink"), pick_colour("muted")
    # matplotlib types every name of a setting; a mapping of our own does not fit that.
    settings: Any = {
        **SETTINGS,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.edgecolor": muted,
        "xtick.color": muted,
        "ytick.color": muted,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")
        grid = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes in figure.axes:
            axes.set(facecolor="none", axisbelow=True)
        yield figure, grid[0, 0]


def _save_figure(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an SVG element that can stand in a page beside others.

    Args:
        figure: what to save.
        name: the beginning of every id in the element.
        description: what the chart says, for those who do not see it.
    """
    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=nothing)
    svg = stream.getvalue()
    # An HTML page has no place for the XML declaration and the document type.
    svg = svg[svg.index("<svg") :].strip()
    for mark in ('id="', 'href="#', "url(#"):
        svg = svg.replace(mark, f"{mark}{name}-")
    for variable, (light, _) in THEME.items():
        svg = svg.replace(light, f"var(--{variable}, {light})")
    said = escape(description)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{said}" ', 1)
    head = svg.index(">") + 1
    return f"{svg[:head]}<title>{said}</title>{svg[head:]}"
