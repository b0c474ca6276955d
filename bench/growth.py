"""How time and memory of `tipnlp predict` grow with the number of cases.

    python bench/growth.py            # up to 100,000 cases
    python bench/growth.py --long     # up to a million: 2 GB of temporary files

Cases are sentences of the texts put together anew, with made-up words among them: the vocabulary grows
by the same number of words with every case, faster than that of real text (Heaps' law).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import log
from pathlib import Path
from statistics import linear_regression, median
from string import ascii_lowercase
from threading import Event, Thread
from time import perf_counter
from types import TracebackType
from typing import Self

from data import ROOT, load_texts, save_table, use_one_thread

from tipnlp.tables import format_markdown

TIPNLP = Path(sys.executable).with_name("tipnlp")
START = 1
SIZES = (1_000, 10_000, 100_000)
LONG_SIZES = (*SIZES, 1_000_000)
CASE_CHARACTERS = 1_000
NEW_WORDS = 2
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
SAMPLE_SECONDS = 0.1
MEGA = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took: seconds, and bytes of resident memory at the peak."""

    seconds: float
    peak: int


class PeakMemory:
    """The peak of resident memory of a process and those it started, watched inside `with`.

    Exact for one process. Of several what they have at the same moment is added, ten times a second.
    """

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._done = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            family = list_family(self._pid)
            together = sum(read_memory(pid, "VmRSS") for pid in family)
            self.bytes = max(self.bytes, together, *(read_memory(pid, "VmHWM") for pid in family))
            if self._done.wait(SAMPLE_SECONDS):
                return


def list_family(pid: int) -> list[int]:
    """Return the ids of a process and of all that descend from it."""
    family = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            family += [one for child in task.read_text().split() for one in list_family(int(child))]
    return family


def read_memory(pid: int, name: str) -> int:
    """Return the bytes a process has resident (`VmRSS`), or the most it has had (`VmHWM`); 0 when it is gone."""
    with suppress(OSError):
        found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def run_tipnlp(*arguments: str | Path) -> Usage:
    """Run the command and return what it took, start-up included."""
    begin = perf_counter()
    process = subprocess.Popen([TIPNLP, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    with process, PeakMemory(process.pid) as memory:
        status = process.wait()
        seconds = perf_counter() - begin
    if status:
        raise subprocess.CalledProcessError(status, process.args)
    return Usage(seconds, memory.bytes)


def split_sentences(texts: Sequence[str]) -> list[str]:
    """Return the sentences of all texts, cut roughly."""
    return [sentence for text in texts for sentence in SENTENCE_END.split(text)]


def recombine(sentences: Sequence[str], rng: random.Random) -> str:
    """Return a text of random sentences with made-up words at random places."""
    words: list[str] = []
    size = 0
    while size < CASE_CHARACTERS:
        sentence = rng.choice(sentences)
        words += sentence.split(" ")
        size += len(sentence) + 1
    for _ in range(NEW_WORDS):
        made_up = "".join(rng.choices(ascii_lowercase, k=rng.randint(5, 10)))
        words.insert(rng.randrange(len(words) + 1), made_up)
    return " ".join(words)


def write_recombined(path: Path, sentences: Sequence[str], count: int) -> int:
    """Write made cases as JSONL; return how many bytes their texts have."""
    rng = random.Random(0)
    size = 0
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            text = recombine(sentences, rng)
            size += len(text.encode())
            stream.write(json.dumps({"id": f"case-{number}", "text": text}, ensure_ascii=False) + "\n")
    return size


def measure_size(sentences: Sequence[str], count: int, repeats: int) -> tuple[int, list[Usage]]:
    """Return the bytes of text in some cases, and what predicting them took each time."""
    with tempfile.TemporaryDirectory(prefix="tipnlp-growth-") as name:
        cases, output = Path(name) / "cases.jsonl", Path(name) / "out.jsonl"
        size = write_recombined(cases, sentences, count)
        return size, [run_tipnlp("predict", cases, "-o", output, "--force") for _ in range(repeats)]


def fit_exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the exponent of `seconds = factor * size ** exponent` (least squares on logarithms)."""
    return linear_regression([log(n) for n in sizes], [log(s) for s in seconds]).slope


def measure_growth(sizes: Sequence[int], repeats: int) -> str:
    """Return the table: time and memory by number of cases, the exponents, the ratio of peaks."""
    sentences = split_sentences(load_texts())
    start = min(usage.seconds for usage in measure_size(sentences, START, repeats)[1])
    rows = [["cases", "MB of text", "seconds", "without start-up", "MB/s", "cases/s", "peak MB"]]
    seconds, peaks = [], []
    for count in sizes:
        size, usages = measure_size(sentences, count, repeats)
        seconds.append(median(usage.seconds for usage in usages))
        peaks.append(max(usage.peak for usage in usages))
        left = seconds[-1] - start
        figures = [f"{size / MEGA:.1f}", f"{seconds[-1]:.2f}", f"{left:.2f}", f"{size / MEGA / left:.2f}"]
        rows.append([f"{count:,}", *figures, f"{count / left:,.0f}", f"{peaks[-1] / MEGA:.0f}"])
        print(dict(zip(rows[0], rows[-1], strict=True)), flush=True)
    net = [s - start for s in seconds]
    return "\n".join(
        [
            f"{format_markdown(rows)}\n",
            f"- start-up, one case: {start:.2f} s; it is taken off in the columns from `without start-up` to `cases/s`",
            f"- exponent of time against cases: {fit_exponent(sizes, seconds):.3f}; without start-up"
            f" {fit_exponent(sizes, net):.3f}, between the last two sizes {fit_exponent(sizes[-2:], net[-2:]):.3f}",
            f"- peak memory, {sizes[-1]:,} / {sizes[-2]:,} cases: {peaks[-1] / peaks[-2]:.2f}",
        ]
    )


def main() -> None:
    """Measure, print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each size; the table has their median time")
    parser.add_argument("--long", action="store_true", help="a million cases, too")
    options = parser.parse_args()
    use_one_thread()
    head = (
        f"`tipnlp predict` file to file, one process; about {CASE_CHARACTERS:,} characters and {NEW_WORDS} new words"
        f" a case; medians of {options.repeats}, highest peak\n"
    )
    save_table("growth", f"{head}\n{measure_growth(LONG_SIZES if options.long else SIZES, options.repeats)}")


if __name__ == "__main__":
    main()
