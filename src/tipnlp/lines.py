"""Predictions as lines of JSON, in one or several processes.

The process that feeds others imports neither spaCy nor scikit-learn, and only finds where records end: it hands
them on as they stand in their files, and gets lines back.
"""

from __future__ import annotations

import atexit
import gc
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from tipnlp.errors import RecordError, UnsafeModelError, WorkerError
from tipnlp.manifest import read_manifest
from tipnlp.reading import RawRecord
from tipnlp.writing import encode_record

if TYPE_CHECKING:
    from tipnlp.model import Model

# With several processes, records are sent to them in tasks of this size, so many for each at a time.
TASK, TASKS_AHEAD = 512, 8

# How often a process looks whether the one that it works for is still there.
LOOK_SECONDS = 1.0


def predict_lines(
    folder: Path, records: Iterable[RawRecord], *, explain: bool = False, with_text: bool = False, jobs: int = 1
) -> Iterator[bytes | RecordError]:
    """Predict records as lines of JSON, in order, in one or several processes.

    A bounded number of records is under way at any time, however many there are.

    Args:
        folder: the model; every process loads it for itself.
        records: any number, from `read_raw`.
        explain: whether the evidence is added.
        with_text: whether the text of the cases comes out.
        jobs: how many processes work.

    Yields:
        For each record its line without the end, or why there is none.

    Raises:
        ModelError: the model cannot be used.
        WorkerError: a process has died.
    """
    # Each process checks the model when it loads it, and that it is this one.
    fingerprint = read_manifest(folder).fingerprint
    work = partial(encode_predictions, folder, fingerprint, explain=explain, with_text=with_text)
    stream = iter(records)
    # Columns go to another process in a fraction of the time that rows take.
    tasks = iter(lambda: tuple(zip(*islice(stream, TASK), strict=True)), ())
    if jobs == 1:
        yield from chain.from_iterable(map(work, tasks))
        return
    executor = get_reusable_executor(max_workers=jobs, initializer=prepare_process)
    sent: deque[Future[list[bytes | RecordError]]] = deque()
    try:
        for task in tasks:
            sent.append(executor.submit(work, task))
            if len(sent) >= jobs * TASKS_AHEAD:
                yield from sent.popleft().result()
        while sent:
            yield from sent.popleft().result()
    except TerminatedWorkerError:
        raise WorkerError("a worker process has died, perhaps for lack of memory: try fewer processes (-j)") from None
    finally:
        for future in sent:
            future.cancel()


def prepare_process() -> None:
    """See that this process ends when its work does, without delay, or when the one that started it is gone."""
    # There is nothing to collect then.
    atexit.register(gc.freeze)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def encode_predictions(
    folder: Path, fingerprint: str, columns: Sequence[Sequence[Any]], *, explain: bool, with_text: bool
) -> list[bytes | RecordError]:
    """Predict some records as lines of JSON with the model of this process.

    Args:
        folder, fingerprint: of the model.
        columns: the files, the lines and the contents of the records.
        explain, with_text: as in `predict_lines`.
    """
    from tipnlp.prediction import predict_cases

    found = [RawRecord(*row).build() for row in zip(*columns, strict=True)]
    cases = [case for case in found if not isinstance(case, RecordError)]
    predictions = predict_cases(load_cached(folder, fingerprint), cases, explain=explain)
    lines = (encode_record(prediction.to_record(with_text=with_text)) for prediction in predictions)
    return [one if isinstance(one, RecordError) else next(lines) for one in found]


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
    # joblib has a process look for garbage every second or so, and nothing that is here by now ever is.
    gc.freeze()
    return model
