"""Predictions as lines of JSON, in one or several processes.

The process that feeds others imports neither spaCy nor scikit-learn: they start while it reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from tipnlp.cases import Case
from tipnlp.errors import UnsafeModelError, WorkerError
from tipnlp.manifest import check_model
from tipnlp.writing import encode_record

if TYPE_CHECKING:
    from tipnlp.model import Model

# With several processes, cases are sent to them in tasks of this size, so many for each at a time.
TASK, TASKS_AHEAD = 256, 8


def predict_lines(
    folder: Path, cases: Iterable[Case], *, explain: bool = False, with_text: bool = False, jobs: int = 1
) -> Iterator[bytes]:
    """Predict cases as lines of JSON, in order, in one or several processes.

    A bounded number of cases is under way at any time, however many there are.

    Args:
        folder: the model; every process loads it for itself.
        cases: any number of cases.
        explain: whether the evidence is added.
        with_text: whether the text of the cases comes out.
        jobs: how many processes work.

    Raises:
        ModelError: the model cannot be used.
        WorkerError: a process has died.
    """
    manifest = check_model(folder)
    work = partial(encode_predictions, folder, manifest.fingerprint, explain=explain, with_text=with_text)
    stream = iter(cases)
    tasks = iter(lambda: list(islice(stream, TASK)), [])
    if jobs == 1:
        yield from chain.from_iterable(map(work, tasks))
        return
    executor = get_reusable_executor(max_workers=jobs)
    sent: deque[Future[list[bytes]]] = deque()
    try:
        for task in tasks:
            sent.append(executor.submit(work, task))
            if len(sent) >= jobs * TASKS_AHEAD:
                yield from sent.popleft().result()
        while sent:
            yield from sent.popleft().result()
    except TerminatedWorkerError:
        raise WorkerError(
            "a worker process has died, perhaps for lack of memory: try fewer processes (-j), and go on with --resume"
        ) from None
    finally:
        for future in sent:
            future.cancel()


def encode_predictions(
    folder: Path, fingerprint: str, cases: list[Case], *, explain: bool, with_text: bool
) -> list[bytes]:
    """Predict some cases as lines of JSON with the model of this process."""
    from tipnlp.prediction import predict_cases

    predictions = predict_cases(load_cached(folder, fingerprint), cases, explain=explain)
    return [encode_record(prediction.to_record(with_text=with_text)) for prediction in predictions]


@lru_cache(maxsize=1)
def load_cached(folder: Path, fingerprint: str) -> Model:
    """Load a model once a process.

    Raises:
        ModelError: it cannot be used, or is another one by now.
    """
    from tipnlp.model import load_model

    model = load_model(folder)
    if model.manifest.fingerprint != fingerprint:
        raise UnsafeModelError(f"{folder}: was replaced while it was in use: start again")
    return model
