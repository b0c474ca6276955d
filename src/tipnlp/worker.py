"""What runs on a worker of a cluster: it checks itself, holds the model, and turns a shard into a part.

The driver (`tipnlp.cluster`) calls these functions by name; nothing but plain data passes between the two.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

from tipnlp.cases import Case
from tipnlp.errors import ClusterError, ModelFormatError, TipnlpError, UnsafeModelError
from tipnlp.lexicon import fingerprint_lexicon
from tipnlp.manifest import read_manifest
from tipnlp.model import Model, load_model
from tipnlp.prediction import predict_cases
from tipnlp.reading import read_cases
from tipnlp.shards import RUN_FILE, Host, Job, Shard, ShardResult
from tipnlp.writing import name_rejects, open_rejects, open_writer

# The memory of tokens belongs to the process and is not made for threads: a worker does one shard at a time.
ONE_SHARD = threading.Lock()


def describe_host() -> Host:
    """Return what this process would predict with."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Host(version("tipnlp"), python, fingerprint_lexicon()[:12])


def compare_hosts(there: Host, here: Host) -> str:
    """Return as text what differs."""
    found, wanted = asdict(there), asdict(here)
    return ", ".join(f"{name} {found[name]}, here is {wanted[name]}" for name in wanted if found[name] != wanted[name])


def is_folder(path: str) -> bool:
    """Tell whether this machine sees a folder."""
    return Path(path).is_dir()


@cache
def hold_models() -> dict[str, Model]:
    """Return the models of this process by fingerprint."""
    return {}


def load_shared(job: Job) -> bool:
    """Load the model where this machine sees the same one; tell whether this process has it now."""
    models = hold_models()
    if job.model not in models:
        try:
            if read_manifest(Path(job.model_folder)).fingerprint == job.model:
                models[job.model] = load_model(job.model_folder)
        except (ModelFormatError, UnsafeModelError, OSError):
            # Not there, or not the one that is meant: the driver sends it.
            return False
    return job.model in models


def store_model(fingerprint: str, files: Mapping[str, bytes]) -> None:
    """Load a model from the content of its files.

    Raises:
        ModelError: it cannot be used here, or is not the one that is meant.
        ClusterError: there is no room for it.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="tipnlp-") as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            model = load_model(folder)
    except OSError as error:
        raise ClusterError(f"the model cannot be stored in {tempfile.gettempdir()}: {error.strerror}") from None
    if model.manifest.fingerprint != fingerprint:
        raise UnsafeModelError("the model was changed while it was sent")
    hold_models()[fingerprint] = model


def predict_shard(shard: Shard) -> ShardResult:
    """Read one input file, predict it, and write its part.

    Raises:
        ClusterError: this worker must not work on this run.
        RuntimeError: something else went wrong; the message says where, and holds no text of a case.
    """
    from distributed import get_worker

    job, address = shard.job, get_worker().address
    # A worker may have joined after the others were checked.
    here = describe_host()
    if here != job.host:
        raise ClusterError(f"worker {address}: {compare_hosts(here, job.host)} on the driver")
    if not Path(job.folder, RUN_FILE).is_file():
        raise ClusterError(f"worker {address}: does not see {job.folder}")
    if not load_shared(job):
        return ShardResult(waiting=address)
    try:
        with ONE_SHARD:
            return write_part(hold_models()[job.model], shard)
    except TipnlpError as error:
        return ShardResult(failure=str(error))
    except Exception as error:  # noqa: BLE001 - the message of any other error may hold text of a case
        raise RuntimeError(locate_error(error)) from None


def write_part(model: Model, shard: Shard) -> ShardResult:
    """Predict the cases of a file one window after another, and write part and rejects."""
    options = shard.job.options
    count = 0
    # The rejects get their name before the part does: where there is a part, its rejects are there too.
    with open_writer(shard.part, force=True) as write, open_rejects(name_rejects(shard.part), force=True) as rejected:
        handler = None if options.strict else rejected
        cases = read_cases([shard.source.path], encoding=options.encoding, on_reject=handler)
        for prediction in predict_cases(model, name_cases(cases, shard), explain=options.explain):
            write(prediction.to_record(with_text=options.with_text))
            count += 1
    return ShardResult(count, rejected.count, shard.part.stat().st_size)


def name_cases(cases: Iterator[Case], shard: Shard) -> Iterator[Case]:
    """Give the case of a text file its name below the input folder, as `tipnlp predict FOLDER` does."""
    if shard.source.path.suffix.lower() != ".txt":
        return cases
    return (replace(case, id=shard.source.name) for case in cases)


def locate_error(error: Exception) -> str:
    """Return kind and place of an error, without its message."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    reason = f" ({error.strerror})" if isinstance(error, OSError) else ""
    return f"{type(error).__name__}{reason} in {Path(place.filename).name}:{place.lineno}"
