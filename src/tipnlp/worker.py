"""What runs on a worker of a cluster: it checks itself, holds the model, and turns a shard into a part.

The driver (`tipnlp.cluster`) calls these functions by name; nothing but plain data passes between the two.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from tipnlp.cases import Case
from tipnlp.errors import (
    ClusterError,
    FileError,
    ModelError,
    ModelFormatError,
    RecordError,
    TipnlpError,
    UnsafeModelError,
)
from tipnlp.lexicon import fingerprint_lexicon
from tipnlp.manifest import read_manifest
from tipnlp.model import Model, load_model
from tipnlp.prediction import predict_cases
from tipnlp.reading import read_cases
from tipnlp.shards import Host, Job, Shard, ShardResult
from tipnlp.writing import name_rejects, open_rejects, open_writer

# The memory of tokens belongs to the process and is not made for threads: a worker does one shard at a time.
ONE_SHARD = threading.Lock()

# The models of this process by fingerprint, the newest last; a worker may live for weeks and see many.
MODELS: dict[str, Model] = {}
KEPT_MODELS = 2

# So long a disk that has failed has before the shard is tried again.
PAUSE_SECONDS = 1.0


def describe_host() -> Host:
    """Return what this process would predict with."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Host(version("tipnlp"), python, fingerprint_lexicon()[:12])


def compare_hosts(worker: Host, driver: Host) -> str:
    """Return as text what differs between a worker and the driver."""
    found, wanted = asdict(worker), asdict(driver)
    differing = [name for name in wanted if found[name] != wanted[name]]
    return ", ".join(f"{name} {found[name]}, the driver has {wanted[name]}" for name in differing)


def is_folder(path: str) -> bool:
    """Tell whether this machine sees a folder, and may."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def load_shared(job: Job) -> bool:
    """Load the model where this machine sees it; tell whether this process has it now."""
    return find_model(job) is not None


def find_model(job: Job) -> Model | None:
    """Return the model that this process holds, or that this machine sees."""
    held = MODELS.get(job.model)
    if held is not None:
        return held
    try:
        if read_manifest(Path(job.model_folder)).fingerprint != job.model:
            return None
        return keep_model(load_model(job.model_folder))
    except (ModelFormatError, UnsafeModelError, OSError):
        # Not there, or not the one that is meant: the driver sends it.
        return None


def keep_model(model: Model) -> Model:
    """Hold a model, and let go of the oldest."""
    MODELS[model.manifest.fingerprint] = model
    for fingerprint in list(MODELS)[:-KEPT_MODELS]:
        MODELS.pop(fingerprint, None)
    return model


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
    keep_model(model)


def predict_shard(shard: Shard) -> ShardResult:
    """Read one input file, predict it, and write its part.

    Raises:
        ClusterError: this worker must not work on this run.
        RuntimeError: something went wrong that may go right the next time, and Dask tries again; the message says
            where it was, and holds no text of a case.
    """
    from distributed import get_worker

    job, address = shard.job, get_worker().address
    # A worker may have joined after the others were checked.
    here = describe_host()
    if here != job.host:
        raise ClusterError(f"worker {address}: {compare_hosts(here, job.host)}")
    try:
        with ONE_SHARD:
            check_run(job, address)
            model = find_model(job)
            return write_part(model, shard, address) if model else ShardResult(waiting=address)
    except (ClusterError, ModelError):
        raise
    except Exception as error:  # noqa: BLE001 - the message of an error that is not ours may hold text of a case
        ours = isinstance(error, TipnlpError)
        if ours and not isinstance(error.__cause__ or error.__context__, OSError):
            return ShardResult(failure=str(error))
        time.sleep(PAUSE_SECONDS)
        raise RuntimeError(str(error) if ours else locate_error(error)) from None


def check_run(job: Job, address: str) -> None:
    """See that the output folder is still that of this run.

    Raises:
        ClusterError: it is not, or this worker does not see it.
    """
    try:
        # Opened, not only asked for: a shared disk may answer that from memory.
        Path(job.mark).open("rb").close()
    except FileNotFoundError:
        if is_folder(job.folder):
            raise ClusterError(f"{job.folder}: this run is over, or another has taken the folder over") from None
        raise ClusterError(f"worker {address}: does not see {job.folder}") from None


def write_part(model: Model, shard: Shard, address: str) -> ShardResult:
    """Predict the cases of a file one window after another, and write part and rejects."""
    options = shard.job.options
    count = 0

    def take_reject(reject: RecordError) -> None:
        # A file that breaks off gives no part: it may be whole the next time.
        if options.strict or isinstance(reject, FileError):
            raise reject
        rejected(reject)

    # The rejects get their name before the part does: where there is a part, its rejects are there too.
    with open_writer(shard.part, force=True) as write, open_rejects(name_rejects(shard.part), force=True) as rejected:
        cases = read_cases([shard.source.path], encoding=options.encoding, on_reject=take_reject)
        for prediction in predict_cases(model, name_cases(cases, shard), explain=options.explain):
            write(prediction.to_record(with_text=options.with_text))
            count += 1
        # It was long ago that it was checked: neither file gets its name when the run is over by now.
        check_run(shard.job, address)
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
