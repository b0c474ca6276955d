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
import io
import json
import multiprocessing
import os
import platform
import random
import sys
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from subprocess import run
from time import perf_counter
from typing import Any

import fasttext
import joblib
import numpy as np
import spacy
from data import ROOT, load_corpus, load_texts, save_table, use_one_thread
from joblib.externals.loky import get_reusable_executor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from spacy.training import Example

from growth import MEGA, TIPNLP, PeakMemory, recombine, run_tipnlp, split_sentences
from tipnlp.cases import LABELS, Case
from tipnlp.model import load_model
from tipnlp.prediction import WINDOW, predict_cases
from tipnlp.tables import format_markdown
from tipnlp.training import train_model

Pass = Callable[[], object]

MODEL = ROOT / "models" / "default"
TEXTS, MANY, ONE = "texts.jsonl", "many.jsonl", "one.jsonl"
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

# How far a model is trained makes no difference to its speed.
SPACY_EPOCHS = 2
BAG_OF_WORDS = {
    "@architectures": "spacy.TextCatBOW.v3",
    "exclusive_classes": True,
    "length": 262_144,
    "ngram_size": 1,
    "no_output_layer": False,
}

WARM_UP = ""
FIRST, CORE = "tipnlp core, memory empty", "tipnlp core"
WHOLE, DETECT = "tipnlp predictions", "tipnlp predictions, languages detected"
COMMAND, COMMAND_2 = "tipnlp command", "tipnlp command, two processes"
SKLEARN, FASTTEXT, TEXTCAT = "scikit-learn TF-IDF", "fastText", "spaCy textcat, bag of words"
SPACY_FIRST, SPACY = "bare spaCy tokens, first pass", "bare spaCy tokens"
JSON, SPLIT = "limit: json.loads of the lines", "limit: str.split of the texts"


@dataclass(frozen=True, slots=True)
class Contender:
    """A way of working through all texts.

    Attributes:
        rows: what the table calls each pass, in order; a warm-up is left out of it.
        load: makes everything ready in a folder of texts and models; returns the pass to time.
        train: leaves a model in the folder, once.
        texts: the file of the folder that a pass works through.
        cores: how many it runs on.
        option: of `tipnlp predict`, that it cannot do without.
    """

    rows: tuple[str, ...]
    load: Callable[[Path], Pass]
    train: Callable[[Path], None] | None = None
    texts: str = TEXTS
    cores: int = 1
    option: str = ""


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


def read_texts(folder: Path) -> list[str]:
    """Return the texts to work through."""
    with (folder / TEXTS).open("rb") as lines:
        return [json.loads(line)["text"] for line in lines]


def read_english(folder: Path) -> list[Case]:
    """Return the texts as cases whose language is known."""
    return [Case(id=str(number), text=text, lang="en") for number, text in enumerate(read_texts(folder))]


def load_core(folder: Path) -> Pass:
    """From cases to probabilities, window by window; lexicon and language are loaded, no word is remembered."""
    model, cases = load_model(MODEL), read_english(folder)
    model.predict_probabilities([Case(id="", text=".", lang="en")])
    windows = [cases[start : start + WINDOW] for start in range(0, len(cases), WINDOW)]
    return lambda: [model.predict_probabilities(window) for window in windows]


def load_predictions(folder: Path, lang: str | None) -> Pass:
    """From cases to predictions: probabilities, screening, decision."""
    model = load_model(MODEL)
    cases = [replace(case, lang=lang) for case in read_english(folder)]
    return lambda: exhaust(predict_cases(model, cases))


def load_command(folder: Path, *options: str) -> Pass:
    """From file to file, start-up included."""
    return lambda: run_tipnlp("predict", folder / MANY, "-o", folder / "out.jsonl", "--force", *options)


def train_sklearn(folder: Path) -> None:
    """Train TF-IDF of words, word pairs and character n-grams with logistic regression."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    classifier = LogisticRegression(C=10, max_iter=2000, class_weight="balanced")
    corpus = load_corpus()
    pipeline = make_pipeline(make_union(words, characters), classifier)
    joblib.dump(pipeline.fit([c.text for c in corpus], [c.label for c in corpus]), folder / "sklearn.joblib")


def load_sklearn(folder: Path) -> Pass:
    """From texts to probabilities, all at once."""
    return partial(joblib.load(folder / "sklearn.joblib").predict_proba, read_texts(folder))


def train_fasttext(folder: Path) -> None:
    """Train fastText with word pairs and subwords."""
    lines = [f"__label__{c.label} {' '.join(c.text.lower().split())}" for c in load_corpus()]
    (folder / "fasttext.txt").write_text("\n".join(lines), encoding="utf-8")
    options = {"epoch": 50, "lr": 0.5, "wordNgrams": 2, "minn": 3, "maxn": 5, "dim": 50, "bucket": 500_000}
    model = fasttext.train_supervised(str(folder / "fasttext.txt"), thread=1, seed=0, verbose=0, **options)
    model.save_model(str(folder / "fasttext.bin"))


def load_fasttext(folder: Path) -> Pass:
    """From a list of lines to the probabilities of all labels."""
    # It warns of a change of years ago.
    with redirect_stderr(io.StringIO()):
        model = fasttext.load_model(str(folder / "fasttext.bin"))
    return partial(model.predict, [text.replace("\n", " ") for text in read_texts(folder)], k=len(LABELS))


def train_textcat(folder: Path) -> None:
    """Train spaCy's text categoriser with its architecture for speed."""
    nlp = spacy.blank("en")
    categorizer = nlp.add_pipe("textcat", config={"model": BAG_OF_WORDS})
    for label in LABELS:
        categorizer.add_label(label)
    examples = [
        Example.from_dict(nlp.make_doc(c.text), {"cats": {label: float(label == c.label) for label in LABELS}})
        for c in load_corpus()
    ]
    optimizer = nlp.initialize(lambda: examples[:500])
    rng = np.random.default_rng(0)
    for _ in range(SPACY_EPOCHS):
        for part in np.array_split(rng.permutation(len(examples)), max(len(examples) // 32, 1)):
            nlp.update([examples[i] for i in part], sgd=optimizer)
    nlp.to_disk(folder / "textcat")


def load_textcat(folder: Path) -> Pass:
    """From texts to the categories of documents."""
    nlp, texts = spacy.load(folder / "textcat"), read_texts(folder)
    return lambda: [doc.cats for doc in nlp.pipe(texts)]


def load_spacy(folder: Path) -> Pass:
    """From texts to documents of tokens, and nothing else."""
    nlp, texts = spacy.blank("en"), read_texts(folder)
    return lambda: exhaust(nlp.tokenizer.pipe(texts))


def load_json(folder: Path) -> Pass:
    """From a file to records."""
    return partial(read_texts, folder)


def load_split(folder: Path) -> Pass:
    """From texts to chunks between white space."""
    texts = read_texts(folder)
    return lambda: exhaust(map(str.split, texts))


def exhaust(items: Iterable[object]) -> None:
    """Go through all items and keep none."""
    deque(items, maxlen=0)


CONTENDERS = {
    "core": Contender((FIRST, CORE), load_core),
    "predictions": Contender((WARM_UP, WHOLE), partial(load_predictions, lang="en")),
    "detection": Contender((WARM_UP, DETECT), partial(load_predictions, lang=None)),
    "command": Contender((COMMAND,), load_command, texts=MANY),
    "command2": Contender(
        (COMMAND_2,), lambda folder: load_command(folder, "--jobs", "2"), texts=MANY, cores=2, option="--jobs"
    ),
    "sklearn": Contender((WARM_UP, SKLEARN), load_sklearn, train_sklearn),
    "fasttext": Contender((WARM_UP, FASTTEXT), load_fasttext, train_fasttext),
    "textcat": Contender((WARM_UP, TEXTCAT), load_textcat, train_textcat),
    "spacy": Contender((SPACY_FIRST, SPACY), load_spacy),
    "json": Contender((WARM_UP, JSON), load_json),
    "split": Contender((WARM_UP, SPLIT), load_split),
}

GOALS = (
    Goal("core / fastText", CORE, FASTTEXT, 4),
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
