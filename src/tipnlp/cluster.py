"""Prediction of many files on the workers of a Dask cluster: every input file a shard, every shard a part.

Inputs and output lie on a disk that all machines see under the same path: only paths and counts pass through the
scheduler, never a case. A worker reads its shard and writes its part itself (`tipnlp.worker`). The model is sent to
the workers that do not see its folder, and every worker loads it through `load_model`.

This is the driver. What lies in the output folder, and resuming: `tipnlp.shards`. How to set a cluster up:
`docs/scale.md`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from tipnlp.errors import ClusterError, MissingExtraError, ModelError
from tipnlp.manifest import MANIFEST_FILE, MODEL_FILE, check_model
from tipnlp.shards import (
    RUN_FORMAT,
    Job,
    RunRecord,
    Shard,
    ShardOptions,
    ShardResult,
    build_shard,
    name_sources,
    open_record,
)
from tipnlp.worker import compare_hosts, describe_host, is_folder, load_shared, predict_shard, store_model
from tipnlp.writing import guard_disk

# How long to wait for a scheduler and its first worker, and how long for a worker when all were lost.
CONNECT_SECONDS, LONELY_SECONDS = 10.0, 120.0

# How often to ask which workers there are, and how long to rest when nothing has finished.
LOOK_SECONDS, REST_SECONDS = 1.0, 0.05

# How long the answer of a finished shard may take; after that its worker may be dead.
ANSWER_SECONDS = 5.0

# Enough shards on their way that no thread waits, few enough that the scheduler stays small.
SHARDS_A_THREAD = 4

# A shard that raises is tried again, after a pause: a shared disk has its moments.
RETRIES = 2

# Workers that an error names.
SHOWN_WORKERS = 5

# What a tls:// address needs.
TLS_SETTINGS = (
    "set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and"
    " DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY (see docs/scale.md)"
)

EventHandler = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What became of the shards.

    Attributes:
        shards: how many there are: done, skipped and failed together.
        done: parts written in this run.
        skipped: parts that an earlier run had finished.
        failed: for each shard without a part the reason why.
        cases, rejects: records in the parts done and skipped, and those that could not be used.
    """

    shards: int
    done: int
    skipped: int
    failed: Mapping[str, str]
    cases: int
    rejects: int


def predict_shards(
    model_folder: Path,
    inputs: Sequence[str],
    output: Path,
    address: str,
    *,
    options: ShardOptions,
    resume: bool = False,
    force: bool = False,
    on_event: EventHandler,
) -> ShardReport:
    """Predict every input file on the workers of a cluster, each into a part of its own.

    Args:
        model_folder: the model; workers that do not see this folder get a copy.
        inputs: files and folders, on a disk that the workers see under the same path.
        output: a folder, on such a disk too.
        address: of the Dask scheduler, for example `tcp://10.0.0.1:8786`.
        options: what the parts hold.
        resume: leave the parts that an earlier run finished of unchanged inputs, and do the others.
        force: do everything again; the parts of an earlier run are removed first.
        on_event: called with one line of text for every shard and every worker that comes or goes.

    Raises:
        MissingExtraError: `distributed` is not installed.
        UsageError: `-` as input, two inputs of one name, or resuming with another model or other options.
        InputError: an input is missing, or of an unknown kind.
        OutputError: the output folder is not empty, or cannot be written.
        ModelError: the model cannot be used.
        ClusterError: no scheduler, no worker, or workers that would predict something else; or the cluster was
            lost on the way: what is finished then stays, and `resume` goes on from there.
    """
    import_distributed()
    sources = name_sources(inputs, output)
    manifest = check_model(model_folder)
    host = describe_host()
    head = {
        "format": RUN_FORMAT,
        "model": {"id": manifest.id, "fingerprint": manifest.fingerprint},
        "tipnlp": host.tipnlp,
        "options": asdict(options),
    }
    record = open_record(output.absolute(), head, resume=resume, force=force)
    places = str(record.folder), str(record.mark), str(model_folder.absolute())
    job = Job(*places, manifest.fingerprint, options, host)
    shards = [build_shard(source, job) for source in sources]
    remaining = [shard for shard in shards if not record.is_finished(shard)]
    on_event(f"{len(shards)} shards, {len(shards) - len(remaining)} of them finished before")
    failed: dict[str, str] = {}
    if remaining:
        with connect_cluster(address) as client:
            check_workers(client, job, on_event)
            record.prepare_folder(remaining)
            with record.keep_saved():
                for shard, result in run_shards(client, remaining, on_event):
                    on_event(describe_result(shard, result))
                    if result.failure:
                        failed[shard.source.name] = result.failure
                    else:
                        record.add_part(shard, result)
    return count_parts(shards, len(remaining), failed, record)


def count_parts(shards: Sequence[Shard], remaining: int, failed: Mapping[str, str], record: RunRecord) -> ShardReport:
    """Add up what became of the shards."""
    parts = [record.parts[shard.source.name] for shard in shards if shard.source.name not in failed]
    return ShardReport(
        shards=len(shards),
        done=remaining - len(failed),
        skipped=len(shards) - remaining,
        failed=failed,
        cases=sum(part["cases"] for part in parts),
        rejects=sum(part["rejects"] for part in parts),
    )


def describe_result(shard: Shard, result: ShardResult) -> str:
    """Return a line about a shard."""
    if result.failure:
        return f"{shard.source.name}: failed: {result.failure}"
    return f"{shard.source.name}: {result.cases} cases, {result.rejects} rejects"


def import_distributed() -> ModuleType:
    """Return the library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import distributed
    except ImportError:
        raise MissingExtraError("distributed", "cluster") from None
    return distributed


@contextmanager
def connect_cluster(address: str) -> Iterator[Any]:
    """Yield a client of the scheduler.

    Raises:
        ClusterError: no scheduler answers, there is no worker, or the scheduler was lost on the way.
    """
    check_scheduler(address)
    with guard_connection():
        client = import_distributed().Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="tipnlp")
    with client:
        with guard_connection():
            try:
                client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            except TimeoutError:
                raise ClusterError(
                    f"{address}: no worker: start some with 'dask worker {address} --nthreads 1'"
                ) from None
        yield client


def check_scheduler(address: str) -> None:
    """See that a scheduler answers: a client waits for ever where nobody does, and leaves tracebacks and threads.

    Raises:
        ClusterError: none does, or the address does not fit Dask's settings of encryption.
    """
    try:
        settings = import_distributed().Security().get_connection_args("client")
    except OSError as error:
        raise ClusterError(f"TLS certificates cannot be used ({type(error).__name__}): {TLS_SETTINGS}") from None
    try:
        # In a thread of its own: in a notebook this one has a loop already.
        with ThreadPoolExecutor(max_workers=1) as thread:
            kind = thread.submit(asyncio.run, ask_kind(address, settings)).result()
    except TypeError:
        raise ClusterError(f"{address}: TLS needs certificates: {TLS_SETTINGS}") from None
    except RuntimeError:
        raise ClusterError(f"{address}: Dask is set to require encryption: give a tls:// address") from None
    except Exception as error:  # noqa: BLE001 - whatever speaks there, it is no scheduler
        kind = type(error).__name__
    if kind != "Scheduler":
        raise ClusterError(f"{address}: no Dask scheduler answers ({kind}): is 'dask scheduler' running there?")


async def ask_kind(address: str, settings: Mapping[str, Any]) -> str:
    """Ask what is at an address: `Scheduler`, or something else."""
    async with asyncio.timeout(CONNECT_SECONDS), import_distributed().rpc(address, connection_args=settings) as there:
        identity: Mapping[str, str] = await there.identity()
        return identity["type"]


@contextmanager
def guard_connection() -> Iterator[None]:
    """Turn what Dask raises when its connection breaks into one clear error."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise ClusterError(
            f"the scheduler is gone ({type(error).__name__}): start it again, then go on with --resume"
        ) from None


def ask_workers(client: Any, function: Callable[..., Any], *arguments: object, **kwargs: Any) -> dict[str, Any]:
    """Run a function of `tipnlp.worker` on workers and return their answers; workers that just went away have none.

    Raises:
        ClusterError: it raised on some; they are named.
    """
    with guard_connection():
        answers = client.run(function, *arguments, on_error="return", **kwargs)
    # OSError: the worker could not be reached. What such a function raises itself is never one.
    answers = {worker: answer for worker, answer in answers.items() if not isinstance(answer, OSError)}
    errors = {worker: answer for worker, answer in answers.items() if isinstance(answer, Exception)}
    refuse_workers({worker: name_error(error) for worker, error in errors.items()})
    return answers


def refuse_workers(reasons: Mapping[str, str]) -> None:
    """Raise `ClusterError` when there is a worker that cannot be used."""
    if reasons:
        shown = [f"worker {worker}: {reason}" for worker, reason in list(reasons.items())[:SHOWN_WORKERS]]
        more = [f"... and {len(reasons) - len(shown)} more workers"] if len(reasons) > len(shown) else []
        raise ClusterError("\n".join([*shown, *more]))


def check_workers(client: Any, job: Job, on_event: EventHandler) -> None:
    """See that every worker predicts what this process would, sees the output, and has the model.

    Raises:
        ClusterError: some do not; they are named.
    """
    hosts = ask_workers(client, describe_host)
    refuse_workers({worker: compare_hosts(host, job.host) for worker, host in hosts.items() if host != job.host})
    folder = Path(job.folder)
    with guard_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    seen = ask_workers(client, is_folder, job.folder)
    unseen = f"does not see {job.folder}: the output must lie on a disk that all machines share"
    refuse_workers({worker: unseen for worker, sees in seen.items() if not sees})
    sent = supply_model(client, job)
    on_event(f"{len(hosts)} workers" + (f", the model was sent to {sent} of them" if sent else ""))
    with guard_connection():
        idle = sum(threads - 1 for threads in client.nthreads().values())
    if idle:
        on_event(f"threads without work: {idle}; a worker does one shard at a time: start it with --nthreads 1")


def supply_model(client: Any, job: Job, workers: Sequence[str] | None = None) -> int:
    """Have workers, or all of them, load the model; send it to those that do not see it, and return how many these are.

    Raises:
        ClusterError: some cannot use it; they are named.
        ModelError: its files cannot be read any more.
    """
    loaded = ask_workers(client, load_shared, job, workers=workers)
    missing = [worker for worker, has in loaded.items() if not has]
    if missing:
        with guard_disk(Path(job.model_folder), ModelError):
            files = {name: Path(job.model_folder, name).read_bytes() for name in (MODEL_FILE, MANIFEST_FILE)}
        ask_workers(client, store_model, job.model, files, workers=missing)
    return len(missing)


@dataclass(slots=True)
class Crew:
    """The workers as they were seen last."""

    client: Any
    on_event: EventHandler
    workers: Mapping[str, int] = field(default_factory=dict)
    looked: float | None = None
    last_seen: float = field(default_factory=time.monotonic)

    def count_threads(self) -> int:
        """Return how many threads the workers have, and say who came and went.

        Raises:
            ClusterError: there has been no worker for long.
        """
        now = time.monotonic()
        if self.looked is not None and now - self.looked < LOOK_SECONDS:
            return sum(self.workers.values())
        with guard_connection():
            found = dict(self.client.nthreads())
        if self.looked is not None:
            self._tell_changes(found)
        self.workers, self.looked = found, now
        if found:
            self.last_seen = now
        elif now - self.last_seen > LONELY_SECONDS:
            raise ClusterError(f"no worker for {LONELY_SECONDS:.0f} s: start some, then go on with --resume")
        return sum(found.values())

    def _tell_changes(self, found: Mapping[str, int]) -> None:
        for worker in sorted(self.workers.keys() - found):
            self.on_event(f"worker {worker} is gone: its shards are done again")
        for worker in sorted(found.keys() - self.workers):
            self.on_event(f"worker {worker} joined")


def run_shards(client: Any, shards: Sequence[Shard], on_event: EventHandler) -> Iterator[tuple[Shard, ShardResult]]:
    """Yield every shard with its result as they finish; few are on their way at a time.

    Raises:
        ClusterError: the cluster was lost, or a worker that joined would predict something else.
    """
    finished = import_distributed().as_completed(loop=client.loop)
    crew = Crew(client, on_event)
    waiting, running = deque(shards), dict[str, Shard]()
    while waiting or running:
        room = SHARDS_A_THREAD * crew.count_threads() - len(running)
        for _ in range(min(room, len(waiting))):
            shard = waiting.popleft()
            # Each shard is work of its own (not pure), or the result of an earlier run would be taken for it.
            future = client.submit(predict_shard, shard, pure=False, retries=RETRIES)
            running[future.key] = shard
            finished.add(future)
        batch = finished.next_batch(block=False)
        if not batch:
            time.sleep(REST_SECONDS)
        for future in batch:
            result = read_result(future)
            if result is None:
                finished.add(future)
                continue
            shard = running.pop(future.key)
            if result.waiting:
                supply_model(client, shard.job, [result.waiting])
                waiting.append(shard)
            else:
                yield shard, result


def read_result(future: Any) -> ShardResult | None:
    """Return what became of a shard; nothing when the worker died with the answer, and the shard is done again.

    Raises:
        ClusterError: the shard did not fail, the cluster did.
    """
    if future.status == "cancelled":
        raise ClusterError("the scheduler was lost, and the shards with it: start it again, then go on with --resume")
    if future.status == "error":
        return explain_failure(future.exception())
    try:
        result: ShardResult = future.result(timeout=ANSWER_SECONDS)
    except Exception:  # noqa: BLE001 - whatever it was, the next status of the future tells
        return None
    return result


def explain_failure(error: Exception) -> ShardResult:
    """Return the failure of a shard that raised on every try.

    Raises:
        ClusterError: it says that the worker cannot be used.
    """
    if isinstance(error, ClusterError | ModelError):
        raise ClusterError(str(error))
    if isinstance(error, import_distributed().KilledWorker):
        return ShardResult(failure="every worker that tried it died: has a worker too little memory?")
    return ShardResult(failure=name_error(error))


def name_error(error: Exception) -> str:
    """Return the message of an error, or its kind when it has none."""
    return str(error) or type(error).__name__
