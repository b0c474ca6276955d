"""How fast `tipnlp` is, side by side with other tools, and whether it is as fast as it should be.

    python bench/speed.py             # needs the extra `bench`
    python bench/speed.py --long      # and training on 100,000 cases
    python bench/speed.py --repeats 2 --only core fasttext     # a look; only whole runs are kept

Every measurement is a process of its own, on one core with one thread (two cores where the table says so).
The contenders take turns, so that a busy minute of the machine hits them all; the table has the medians.
A process loads what it needs, reads all texts into memory, and times passes over them: the first is a warm-up
that nobody is judged by, unless the table names it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from subprocess import run
from time import perf_counter
from typing import Any

from data import load_corpus, load_texts, save_table, use_one_thread
from joblib.externals.loky import get_reusable_executor

from contenders import (
    COMMAND,
    COMMAND_2,
    CONTENDERS,
    CORE,
    FASTTEXT,
    FASTTEXT_SMALL,
    FIRST,
    MANY,
    MODEL,
    SKLEARN,
    SPACY,
    SPACY_FIRST,
    TEXTS,
    WARM_UP,
)
from growth import MEGA, TIPNLP, PeakMemory, recombine, run_tipnlp, split_sentences
from tipnlp.cases import Case
from tipnlp.tables import format_markdown
from tipnlp.training import train_model

ONE = "one.jsonl"
MANY_CASES = 100_000
LIBRARIES = ("numpy", "scikit-learn", "fasttext-wheel", "spacy")
LOADING = """
import sys, time
import tipnlp.prediction
from tipnlp.model import load_model
begin = time.perf_counter()
load_model(sys.argv[1])
print(time.perf_counter() - begin)
"""

# As where no extra is installed: `suspects` brings pandas, which scikit-learn imports where it is.
WITHOUT_PANDAS = """
import sys
sys.modules["pandas"] = None
from tipnlp.cli import app
app()
"""


@dataclass(frozen=True, slots=True)
class Goal:
    """How many times as fast as another row a row should be."""

    name: str
    row: str
    other: str
    least: float


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured by itself.

    Attributes:
        name: what it is.
        measure: returns one number for each limit.
        limits: units with the number not to exceed.
        cores: how many it runs on.
        once: whether one measurement is enough.
        long: whether it takes minutes.
    """

    name: str
    measure: Callable[[Path], Sequence[float]]
    limits: tuple[tuple[str, float], ...]
    cores: int = 1
    once: bool = False
    long: bool = False


GOALS = (
    Goal("core / fastText", CORE, FASTTEXT, 4),
    Goal("core / fastText, 50 dimensions and 500,000 buckets", CORE, FASTTEXT_SMALL, 4),
    Goal("core / scikit-learn", CORE, SKLEARN, 12),
    Goal("core / bare spaCy tokens", CORE, SPACY, 2),
    Goal("command / core", COMMAND, CORE, 0.6),
    Goal("two processes / one", COMMAND_2, COMMAND, 1.7),
    Goal("core with empty memory / bare spaCy tokens", FIRST, SPACY, 1),
    Goal("core with empty memory / bare spaCy tokens, first pass", FIRST, SPACY_FIRST, 1),
)


def time_help(_: Path) -> Sequence[float]:
    """Return the seconds until the command has told what it can do."""
    return [run_tipnlp("--help").seconds]


def time_one(folder: Path) -> Sequence[float]:
    """Return the seconds from a cold start to the label of one short case."""
    return [run_tipnlp("predict", folder / ONE).seconds]


def time_one_without_pandas(folder: Path) -> Sequence[float]:
    """Return the same where the extras are not installed."""
    begin = perf_counter()
    command = [sys.executable, "-c", WITHOUT_PANDAS, "predict", folder / ONE, "-m", MODEL]
    run(command, capture_output=True, check=True)
    return [perf_counter() - begin]


def time_loading(_: Path) -> Sequence[float]:
    """Return the seconds that `load_model` takes in a process that has imported what it needs."""
    return [float(run([sys.executable, "-c", LOADING, MODEL], capture_output=True, check=True).stdout)]


def time_training(_: Path) -> Sequence[float]:
    """Return the seconds that folds, calibration and the default model take."""
    return train_cases(load_corpus())[:1]


def measure_training(_: Path) -> Sequence[float]:
    """Return seconds and gigabytes of training on sentences of the corpus put together anew."""
    corpus, rng = load_corpus(), random.Random(0)
    pools: dict[tuple[str | None, str | None], list[str]] = defaultdict(list)
    for case in corpus:
        pools[case.label, case.lang] += split_sentences([case.text])
    many = enumerate(islice(cycle(corpus), MANY_CASES))
    return train_cases(
        [replace(c, id=str(i), group=None, text=recombine(pools[c.label, c.lang], rng)) for i, c in many]
    )


def train_cases(cases: Sequence[Case]) -> Sequence[float]:
    """Train with two processes; return the seconds, and the gigabytes of all processes at the peak."""
    with PeakMemory(os.getpid()) as memory:
        begin = perf_counter()
        train_model(cases, jobs=2)
        seconds = perf_counter() - begin
        # A process that was started by another waits for its workers, and they wait for work.
        get_reusable_executor().shutdown()
    return seconds, memory.bytes / 1e9


FIGURES = {
    "help": Figure("tipnlp --help", time_help, (("s", 0.3),)),
    "one": Figure("one short case through the command", time_one, (("s", 2),)),
    "one-plain": Figure(
        "one short case through the command, extras not installed", time_one_without_pandas, (("s", 2),)
    ),
    "load": Figure("load_model", time_loading, (("s", 0.1),)),
    "train": Figure("training the default model, jobs=2", time_training, (("s", 60),), cores=2, once=True),
    "train-many": Figure(
        f"training on {MANY_CASES:,} cases, jobs=2",
        measure_training,
        (("s", 300), ("GB", 6)),
        cores=2,
        once=True,
        long=True,
    ),
}


def pin_process(cores: int) -> None:
    """Keep this process, and those it starts, on the last cores there are."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])


def run_alone(cores: int, task: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function of this module in a new process and return what it returns."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=pin_process, initargs=(cores,)) as pool:
        return pool.submit(task, *arguments).result()


def train_contender(name: str, folder: Path) -> None:
    """Leave the model of a contender in the folder."""
    if train := CONTENDERS[name].train:
        train(folder)


def time_passes(name: str, folder: Path) -> list[float]:
    """Return the seconds of each pass of a contender."""
    work = CONTENDERS[name].load(folder)
    seconds = []
    for _ in CONTENDERS[name].rows:
        begin = perf_counter()
        work()
        seconds.append(perf_counter() - begin)
    return seconds


def measure_figure(name: str, folder: Path) -> Sequence[float]:
    """Return the numbers of a figure."""
    return FIGURES[name].measure(folder)


def write_texts(path: Path, texts: Iterable[str]) -> int:
    """Write English cases as JSONL; return how many bytes their texts have."""
    size = 0
    with path.open("w", encoding="utf-8") as stream:
        for number, text in enumerate(texts):
            size += len(text.encode())
            stream.write(json.dumps({"id": str(number), "text": text, "lang": "en"}, ensure_ascii=False) + "\n")
    return size


def measure_speeds(names: Sequence[str], repeats: int, folder: Path, sizes: dict[str, int]) -> dict[str, list[float]]:
    """Return megabytes a second of every row, in the order of the table."""
    speeds: dict[str, list[float]] = defaultdict(list)
    for name in names:
        run_alone(1, train_contender, name, folder)
    for turn in range(1, repeats + 1):
        for name in names:
            contender = CONTENDERS[name]
            seconds = run_alone(contender.cores, time_passes, name, folder)
            for row, taken in zip(contender.rows, seconds, strict=True):
                speeds[row].append(sizes[contender.texts] / MEGA / taken)
            print(f"{turn}/{repeats} {name}: {', '.join(f'{taken:.2f} s' for taken in seconds)}", flush=True)
    speeds.pop(WARM_UP, None)
    return speeds


def format_speeds(speeds: dict[str, list[float]]) -> str:
    """Return the table of rows."""
    unit = median(speeds[CORE]) if CORE in speeds else float("nan")
    rows = [["", "MB/s", "min", "max", "/ core"]]
    for name, values in speeds.items():
        figures = [f"{value:.2f}" for value in (median(values), min(values), max(values))]
        rows.append([name, *figures, f"{median(values) / unit:.2f}"])
    return format_markdown(rows)


def format_goals(speeds: dict[str, list[float]]) -> str:
    """Return the table of ratios that were measured, with whether they are reached."""
    rows = [["ratio of medians", "measured", "goal", "reached"]]
    for goal in GOALS:
        if goal.row in speeds and goal.other in speeds:
            ratio = median(speeds[goal.row]) / median(speeds[goal.other])
            rows.append([goal.name, f"{ratio:.2f}", f">= {goal.least:g}", tell(ratio >= goal.least)])
    return format_markdown(rows)


def measure_figures(names: Sequence[str], repeats: int, folder: Path) -> str:
    """Return the table of single figures."""
    rows = [["single figures", "median", "min", "max", "goal", "reached"]]
    for name in names:
        figure = FIGURES[name]
        runs = [run_alone(figure.cores, measure_figure, name, folder) for _ in range(1 if figure.once else repeats)]
        for (unit, limit), values in zip(figure.limits, zip(*runs, strict=True), strict=True):
            middle = median(values)
            numbers = [f"{value:.2f} {unit}" for value in (middle, min(values), max(values))]
            rows.append([figure.name, *numbers, f"<= {limit:g} {unit}", tell(middle <= limit)])
            print(rows[-1], flush=True)
    return format_markdown(rows)


def tell(reached: bool) -> str:
    """Return `yes` or `no`."""
    return "yes" if reached else "no"


def describe_run(texts: Sequence[str], size: int, repeats: int) -> str:
    """Return what was measured, on what."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    busy, before = (f"{load:.1f}" for load in os.getloadavg()[:2])
    return (
        f"{len(texts):,} texts, {size / MEGA:.1f} MB of UTF-8; megabytes of text a second, medians of {repeats} turns;"
        f" the command: the same texts over and over, {MANY_CASES:,} cases, start-up included.\n"
        f"One core, one thread. {platform.processor() or platform.machine()}, {os.cpu_count()} cores, load at the end"
        f" {busy} ({before} over five minutes); Python {platform.python_version()}, {libraries}."
    )


def choose(only: Sequence[str], *, long: bool) -> tuple[list[str], list[str]]:
    """Return the contenders and the figures to measure: those asked for, else all that this tipnlp can do."""
    options = run([TIPNLP, "predict", "--help"], capture_output=True, text=True, check=True).stdout
    contenders = [name for name, c in CONTENDERS.items() if (not only or name in only) and c.option in options]
    figures = [name for name, f in FIGURES.items() if (name in only) or (not only and (long or not f.long))]
    return contenders, figures


def measure_all(only: Sequence[str], repeats: int, *, long: bool) -> str:
    """Measure everything in a temporary folder and return the tables."""
    contenders, figures = choose(only, long=long)
    texts = load_texts()
    with tempfile.TemporaryDirectory(prefix="tipnlp-speed-") as name:
        folder = Path(name)
        write_texts(folder / ONE, ["A short case."])
        sizes = {TEXTS: write_texts(folder / TEXTS, texts)}
        if any(CONTENDERS[one].texts == MANY for one in contenders):
            sizes[MANY] = write_texts(folder / MANY, islice(cycle(texts), MANY_CASES))
        speeds = measure_speeds(contenders, repeats, folder, sizes)
        tables = [format_speeds(speeds), format_goals(speeds), measure_figures(figures, repeats, folder)]
    return "\n\n".join([describe_run(texts, sizes[TEXTS], repeats), *tables])


def main() -> None:
    """Measure, print, and keep the tables of a whole run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns of every contender")
    parser.add_argument("--long", action="store_true", help=f"train on {MANY_CASES:,} cases, too")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], choices=[*CONTENDERS, *FIGURES])
    options = parser.parse_args()
    use_one_thread()
    tables = measure_all(options.only, options.repeats, long=options.long)
    if options.only:
        print(tables)
    else:
        save_table("speed", tables)


if __name__ == "__main__":
    main()
