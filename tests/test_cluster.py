"""Prediction on a cluster: a real scheduler and two worker processes on this machine, one of which gets killed."""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from conftest import Run, write_jsonl
from tipnlp import cluster, worker
from tipnlp.cases import LABELS, Case
from tipnlp.cluster import ShardReport, predict_shards
from tipnlp.errors import ClusterError, InputError, MissingExtraError, OutputError, UsageError
from tipnlp.model import Model, save_model
from tipnlp.shards import RUN_FILE, ShardOptions

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")

pytestmark = pytest.mark.slow

DASK = str(Path(sys.executable).parent / "dask")
START_SECONDS, STOP_SECONDS = 60, 15

PLAIN = ShardOptions()

Predict = Callable[..., ShardReport]


class Cluster:
    """A scheduler and its workers as processes of their own, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, **variables: str) -> subprocess.Popen[bytes]:
        # Away from the checkout and from the test's folder: a worker has a working folder of its own.
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            environment = {**os.environ, **variables}
            process = subprocess.Popen(
                [DASK, *command], stdout=log, stderr=log, cwd=self.folder, env=environment, start_new_session=True
            )
        self.processes.append(process)
        return process

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        port = self.address.rpartition(":")[2]
        return self.start("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")

    def start_worker(self, *options: str, **variables: str) -> subprocess.Popen[bytes]:
        return self.start("worker", self.address, "--nthreads", "1", "--no-dashboard", *options, **variables)

    def start_other_version(self) -> subprocess.Popen[bytes]:
        """Start a worker on whose path another version of the package is installed, as far as it says."""
        metadata = self.folder / "other" / "tipnlp-99.0.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text("Metadata-Version: 2.1\nName: tipnlp\nVersion: 99.0\n", encoding="utf-8")
        paths = [str(metadata.parent.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        return self.start_worker("--no-nanny", PYTHONPATH=os.pathsep.join(filter(None, paths)))

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            # A worker whose scheduler went first may take long to see it.
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=STOP_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def wait(self, workers: int = 0) -> set[int]:
        """Wait for the workers; return their process ids."""
        with distributed.Client(self.address, set_as_default=False, timeout=START_SECONDS) as client:
            if workers:
                client.wait_for_workers(workers, timeout=START_SECONDS)
            return set(client.run(os.getpid).values())

    def restart_workers(self) -> None:
        with distributed.Client(self.address, set_as_default=False, timeout=START_SECONDS) as client:
            client.restart(timeout=START_SECONDS)

    def read_logs(self) -> str:
        return "".join(log.read_text(encoding="utf-8") for log in self.folder.glob("*.log"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers; a nanny starts a killed one again."""
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    started.start_scheduler()
    started.start_worker()
    started.start_worker()
    try:
        started.wait(workers=2)
        yield started
    finally:
        started.stop()


@pytest.fixture
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler without workers."""
    started = Cluster(tmp_path_factory.mktemp("lonely"))
    started.start_scheduler()
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def predict(pair: Cluster, model_folder: Path, events: list[str]) -> Predict:
    def call(*inputs: str, output: str = "out", options: ShardOptions = PLAIN, **kwargs: object) -> ShardReport:
        settings = {"address": pair.address, "on_event": events.append, **kwargs}
        return predict_shards(model_folder, inputs, Path(output), options=options, **settings)  # type: ignore[arg-type]

    return call


def write_inputs(cases: list[Case], folder: str, count: int, size: int) -> list[Path]:
    """Write files of cases, every second one in a folder below."""
    paths = []
    for number in range(count):
        path = Path(folder, "sub" if number % 2 else "", f"{number:02}.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        taken = [cases[(number * 7 + i) % len(cases)] for i in range(size)]
        paths.append(write_jsonl(path, [{"id": f"{number}-{i}", "text": c.text} for i, c in enumerate(taken)]))
    return paths


def list_files(folder: Path) -> dict[str, bytes]:
    """Return what a folder holds, but for the record of the run."""
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    files.pop(RUN_FILE, None)
    return files


def predict_locally(run: Run, model_folder: Path, inputs: list[Path], root: str, *options: str) -> dict[str, bytes]:
    """Return the parts as the command makes them on this machine, one file after another."""
    local = Path("local")
    for path in inputs:
        part = local / f"{path.relative_to(root)}.jsonl"
        assert run("predict", path.absolute(), "-m", model_folder, "-o", part, *options).exit_code in (0, 1)
    return list_files(local)


def test_parts_equal_local_prediction(
    run: Run, predict: Predict, model_folder: Path, small_corpus: list[Case], events: list[str]
) -> None:
    inputs = write_inputs(small_corpus, "in", 5, 20)
    with inputs[1].open("a", encoding="utf-8") as stream:
        stream.write('{"id": "empty"}\n')
    inputs.append(Path("in/names.csv"))
    inputs[-1].write_text("id;text\n1;Il a été payé\n", encoding="utf-8")

    report = predict("in", options=ShardOptions(explain=True, with_text=True))

    assert report == ShardReport(shards=6, done=6, skipped=0, failed={}, cases=101, rejects=1)
    expected = predict_locally(run, model_folder, inputs, "in", "--explain", "--with-text")
    assert list_files(Path("out")) == expected
    assert "sub/01.jsonl.rejects.jsonl" in expected
    assert "2 workers" in events
    assert "sub/01.jsonl: 20 cases, 1 rejects" in events
    record = json.loads(Path("out", RUN_FILE).read_text(encoding="utf-8"))
    assert set(record) == {"format", "model", "tipnlp", "options", "parts"}
    assert len(record["parts"]) == 6


def test_a_text_file_is_named_as_in_its_folder(run: Run, predict: Predict, model_folder: Path) -> None:
    Path("in/sub").mkdir(parents=True)
    Path("in/sub/a.txt").write_text("He was paid.", encoding="utf-8")
    predict("in")
    assert run("predict", "in", "-m", model_folder, "-o", "all.jsonl").exit_code == 0
    assert Path("out/sub/a.txt.jsonl").read_bytes() == Path("all.jsonl").read_bytes()


def test_a_killed_worker_loses_nothing(
    run: Run, predict: Predict, pair: Cluster, model_folder: Path, small_corpus: list[Case], events: list[str]
) -> None:
    inputs = write_inputs(small_corpus, "in", 12, 300)
    processes = pair.wait(workers=2)

    def kill_one(event: str) -> None:
        events.append(event)
        if processes and " cases" in event:
            os.kill(processes.pop(), signal.SIGKILL)
            processes.clear()

    report = predict("in", on_event=kill_one)

    assert (report.done, report.failed) == (12, {})
    assert any("is gone" in event for event in events)
    assert list_files(Path("out")) == predict_locally(run, model_folder, inputs, "in")


def test_few_shards_are_on_their_way_at_a_time(
    predict: Predict, small_corpus: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inputs(small_corpus, "in", 20, 2)
    under_way = [0]
    submit = distributed.Client.submit

    def count(*arguments: object, **options: object) -> object:
        under_way.append(under_way[-1] + 1)
        return submit(*arguments, **options)

    monkeypatch.setattr(distributed.Client, "submit", count)
    predict("in", on_event=lambda event: under_way.append(under_way[-1] - (" cases, " in event)))
    assert under_way[-1] == 0
    assert max(under_way) == 2 * cluster.SHARDS_A_THREAD


def test_resume_does_what_is_missing(predict: Predict, small_corpus: list[Case]) -> None:
    write_inputs(small_corpus, "in", 4, 5)
    write_jsonl(Path("in/rejected.jsonl"), [{"id": "a", "text": "x"}, {"id": "b"}])
    first = predict("in")
    before = list_files(Path("out"))
    times = {name: Path("out", name).stat().st_mtime_ns for name in before}
    Path("out/00.jsonl.jsonl").unlink()
    Path("out/02.jsonl.jsonl").write_text("cut off", encoding="utf-8")
    os.utime("in/sub/01.jsonl", (0, 0))
    Path("out/rejected.jsonl.rejects.jsonl").unlink()
    Path("out/.00.jsonl.jsonl.abcd_123.part").write_text("left by a killed worker", encoding="utf-8")

    report = predict("in", resume=True)

    assert report == replace(first, done=4, skipped=1)
    assert list_files(Path("out")) == before
    assert Path("out/sub/03.jsonl.jsonl").stat().st_mtime_ns == times["sub/03.jsonl.jsonl"]
    assert Path("out/sub/01.jsonl.jsonl").stat().st_mtime_ns > times["sub/01.jsonl.jsonl"]
    # Nothing is left to do: no cluster is needed.
    assert predict("in", resume=True, address="tcp://127.0.0.1:1").skipped == 5


def test_resume_refuses_other_options_and_another_model(
    predict: Predict, pair: Cluster, model_folder: Path, small_corpus: list[Case]
) -> None:
    write_inputs(small_corpus, "in", 1, 2)
    predict("in")
    before = list_files(Path()), Path("out", RUN_FILE).read_bytes()
    with pytest.raises(UsageError, match="begun with another options"):
        predict("in", resume=True, options=ShardOptions(explain=True))
    record = json.loads(before[1])
    record["model"]["fingerprint"] = "of another"
    Path("out", RUN_FILE).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UsageError, match="begun with another model"):
        predict("in", resume=True)
    Path("out", RUN_FILE).write_bytes(before[1])
    assert list_files(Path()) == before[0]


def test_force_removes_what_an_earlier_run_made(predict: Predict, small_corpus: list[Case]) -> None:
    write_inputs(small_corpus, "in", 2, 2)
    predict("in")
    Path("out/notes.md").write_text("somebody's", encoding="utf-8")
    Path("out/.mine.jsonl.part").write_text("a run on one machine", encoding="utf-8")
    with pytest.raises(OutputError, match="not empty"):
        predict("in")
    Path("in/00.jsonl").unlink()
    assert predict("in", force=True).done == 1
    assert set(list_files(Path("out"))) == {"notes.md", ".mine.jsonl.part", "sub/01.jsonl.jsonl"}


def test_a_run_that_another_takes_over_stops(predict: Predict, small_corpus: list[Case], events: list[str]) -> None:
    write_inputs(small_corpus, "in", 12, 300)
    with_text = ShardOptions(with_text=True)
    outcome: list[dict[str, bytes]] = []

    def start_another(event: str) -> None:
        # Shards of the first run are in work and waiting by now.
        if " cases" in event and not outcome:
            assert predict("in", options=with_text, force=True).done == 12
            outcome.append(list_files(Path("out")))

    with pytest.raises(ClusterError, match="another has taken the folder over"):
        predict("in", on_event=start_another)
    assert list_files(Path("out")) == outcome[0]
    assert all(b'"text": ' in part for part in outcome[0].values())
    assert predict("in", options=with_text, resume=True).skipped == 12


def test_wrong_use_is_refused_before_the_cluster(predict: Predict, small_corpus: list[Case]) -> None:
    write_inputs(small_corpus, "in", 1, 2)
    write_inputs(small_corpus, "more", 1, 2)
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine", encoding="utf-8")
    Path("linked").symlink_to("in")
    Path("archive").mkdir()
    Path("archive/é.jsonl").symlink_to("../more/00.jsonl")

    def refuse(error: type[Exception], message: str, *inputs: str, **kwargs: object) -> None:
        with pytest.raises(error, match=message):
            predict(*inputs, address="tcp://127.0.0.1:1", **kwargs)

    refuse(UsageError, "standard input", "-")
    refuse(UsageError, "both become 00.jsonl.jsonl", "in", "more")
    refuse(UsageError, "within one another", "in", output="in/out")
    refuse(UsageError, "within one another", "in/00.jsonl", output="in")
    refuse(UsageError, "within one another", "linked", output="in/out")
    refuse(UsageError, "within one another", "in", output="linked/é")
    refuse(UsageError, "archive/é.jsonl and more lie within one another", "archive", output="more", resume=True)
    refuse(UsageError, "choose one", "in", resume=True, force=True)
    refuse(InputError, "no such file", "in/missing.jsonl")
    refuse(OutputError, "a file", "in", output="more/00.jsonl")
    refuse(OutputError, "not empty", "in", output="full")
    refuse(OutputError, "nothing to resume", "in", output="full", resume=True)
    assert not Path("out").exists()
    assert list_files(Path("full")) == {"mine.txt": b"mine"}


def test_a_file_that_cannot_be_read_stops_no_other(
    predict: Predict, pair: Cluster, small_corpus: list[Case], events: list[str]
) -> None:
    write_inputs(small_corpus, "in", 3, 5)
    Path("in/broken.csv").write_bytes(b"id,text\n1,caf\xe9 confidential\n")
    Path("in/broken.parquet").write_bytes(b"confidential")
    report = predict("in")
    assert (report.shards, report.done, report.cases) == (5, 3, 15)
    assert set(report.failed) == {"broken.csv", "broken.parquet"}
    assert "name its encoding" in report.failed["broken.csv"]
    assert any(event.startswith("broken.csv: failed: ") for event in events)
    assert "confidential" not in str(report) + str(events) + pair.read_logs()
    assert not [name for name in list_files(Path("out")) if "broken" in name]
    # Put right, only these are done.
    Path("in/broken.csv").write_text("id,text\n1,coffee\n", encoding="utf-8")
    Path("in/broken.parquet").unlink()
    assert predict("in", resume=True) == ShardReport(shards=4, done=1, skipped=3, failed={}, cases=16, rejects=0)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file whose reading fails")
def test_a_disk_that_fails_for_a_moment_is_tried_again(predict: Predict, pair: Cluster, events: list[str]) -> None:
    Path("in").mkdir()
    write_jsonl(Path("good.jsonl"), [{"id": "a", "text": "x"}])
    for name in ("moment.jsonl", "broken.jsonl"):
        Path("in", name).symlink_to("/proc/self/mem")

    def mend() -> None:
        while "moment.jsonl: Input/output error" not in pair.read_logs():
            time.sleep(0.02)
        Path("good.jsonl").replace("in/moment.jsonl")

    Thread(target=mend, daemon=True).start()
    report = predict("in")
    assert (report.done, report.cases) == (1, 1)
    reason = "Input/output error; nothing was read from here on"
    assert report.failed == {"broken.jsonl": f"{Path('in/broken.jsonl').absolute()}: {reason}"}
    assert list(list_files(Path("out"))) == ["moment.jsonl.jsonl"]


def test_an_error_without_a_message_is_a_failure() -> None:
    # A worker that has no memory for the model raises this, and not as one of our errors.
    assert cluster.explain_failure(MemoryError()).failure == "MemoryError"


def test_names_need_not_be_ascii(run: Run, predict: Predict, model_folder: Path, small_corpus: list[Case]) -> None:
    folder = Path("in/Straßburg")
    folder.mkdir(parents=True)
    records = [{"id": "a", "text": small_corpus[0].text}]
    named = write_jsonl(folder / "Ménage à trois cœurs.jsonl", records)
    # A name from a system whose names are not UTF-8.
    write_jsonl(folder / os.fsdecode(b"d\xe9p\xf4t.jsonl"), records)
    first = predict("in")
    assert (first.done, first.failed) == (2, {})
    expected = predict_locally(run, model_folder, [named], "in")
    assert list(list_files(Path("out")).values()) == 2 * list(expected.values())
    assert expected.items() <= list_files(Path("out")).items()
    assert predict("in", resume=True) == replace(first, done=0, skipped=2)


def test_strict_gives_no_part_of_a_file_with_a_bad_record(predict: Predict) -> None:
    Path("in").mkdir()
    write_jsonl(Path("in/a.jsonl"), [{"id": "a", "text": "x"}, {"id": "b"}])
    report = predict("in", options=ShardOptions(strict=True))
    assert "a.jsonl:2" in report.failed["a.jsonl"]
    assert list_files(Path("out")) == {}


def test_a_part_that_cannot_be_written_stops_no_other(predict: Predict, small_corpus: list[Case]) -> None:
    write_inputs(small_corpus, "in", 2, 2)
    # The part of the first file is to be where the part of the other needs a folder.
    Path("in/00.jsonl.jsonl").mkdir()
    write_jsonl(Path("in/00.jsonl.jsonl/x.jsonl"), [{"id": "x", "text": "confidential"}])
    report = predict("in")
    assert report.done == 2
    assert len(report.failed) == 1
    assert not list(Path("out").rglob(".*"))
    assert "confidential" not in str(report.failed)


def test_an_error_is_located_without_its_message() -> None:
    def fail() -> None:
        raise ValueError("confidential")

    with pytest.raises(ValueError, match="confidential") as caught:
        fail()
    assert worker.locate_error(caught.value).startswith("ValueError in test_cluster.py:")
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space") as caught_full:
        raise full
    assert worker.locate_error(caught_full.value).startswith("OSError (No space left on device) in")


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs a path that each process sees differently")
def test_workers_that_do_not_see_the_model_get_it(
    run: Run,
    pair: Cluster,
    model_folder: Path,
    small_corpus: list[Case],
    events: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = write_inputs(small_corpus, "in", 12, 200)
    # New processes hold no model; those that are killed on the way come back without one.
    pair.restart_workers()
    processes = pair.wait(workers=2)

    def kill_both(event: str) -> None:
        events.append(event)
        if " cases" in event:
            while processes:
                os.kill(processes.pop(), signal.SIGKILL)

    sent: list[str] = []
    ask = cluster.ask_workers

    def note_sent(client: object, function: object, *arguments: object, workers: list[str] | None = None) -> object:
        sent.extend(workers or [] if function is worker.store_model else [])
        return ask(client, function, *arguments, workers=workers)  # type: ignore[arg-type]

    monkeypatch.setattr(cluster, "ask_workers", note_sent)
    hidden = Path("/proc/self/cwd") / model_folder.name
    report = predict_shards(hidden, ["in"], Path("out"), pair.address, options=PLAIN, on_event=kill_both)
    assert (report.done, report.failed) == (12, {})
    assert "2 workers, the model was sent to 2 of them" in events
    assert sum("is gone" in event for event in events) == 2
    assert len(sent) == len(set(sent)) == 4
    assert list_files(Path("out")) == predict_locally(run, model_folder, inputs, "in")


def test_a_worker_keeps_few_models(predict: Predict, pair: Cluster, model: Model, model_folder: Path) -> None:
    write_jsonl(Path("a.jsonl"), [{"id": "a", "text": "x"}])
    pair.restart_workers()
    for number in range(worker.KEPT_MODELS + 1):
        shutil.rmtree(model_folder)
        thresholds = dict.fromkeys(LABELS, number / 10)
        save_model(replace(model, manifest=replace(model.manifest, thresholds=thresholds)), model_folder)
        predict("a.jsonl", output=f"out-{number}")
    with distributed.Client(pair.address, set_as_default=False) as client:
        held = client.run(lambda: len(importlib.import_module("tipnlp.worker").MODELS))
    assert list(held.values()) == [worker.KEPT_MODELS] * 2


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs a path that each process sees differently")
def test_workers_must_see_the_output(predict: Predict, small_corpus: list[Case]) -> None:
    write_inputs(small_corpus, "in", 1, 2)
    with pytest.raises(ClusterError, match=r"worker tcp://.*does not see /proc/self/cwd/out"):
        predict("in", output="/proc/self/cwd/out")
    assert list_files(Path("out")) == {}


def test_a_folder_that_cannot_be_looked_at_is_none() -> None:
    # As when the worker's user may not: the disk raises instead of answering no.
    assert not worker.is_folder("x" * 10_000)


def test_a_folder_that_cannot_be_made_is_an_error(predict: Predict, small_corpus: list[Case]) -> None:
    write_inputs(small_corpus, "in", 1, 2)
    Path("file").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="file/out: Not a directory"):
        predict("in", output="file/out")


OTHER_VERSION = r"worker tcp://\S+: tipnlp 99\.0, the driver has 0\.\S+"


def test_workers_of_another_version_are_refused(predict: Predict, lonely: Cluster, small_corpus: list[Case]) -> None:
    write_inputs(small_corpus, "in", 1, 2)
    lonely.start_other_version()
    lonely.wait(workers=1)
    with pytest.raises(ClusterError, match=OTHER_VERSION):
        predict("in", address=lonely.address)
    assert not Path("out").exists()


def test_a_worker_of_another_version_that_joins_later_stops_the_run(
    predict: Predict, lonely: Cluster, small_corpus: list[Case]
) -> None:
    write_inputs(small_corpus, "in", 12, 2)
    first = lonely.start_worker("--no-nanny")
    lonely.wait(workers=1)

    def replace_worker(event: str) -> None:
        if " cases" in event and first.poll() is None:
            lonely.start_other_version()
            lonely.wait(workers=2)
            first.kill()
            first.wait()

    with pytest.raises(ClusterError, match=OTHER_VERSION):
        predict("in", address=lonely.address, on_event=replace_worker)
    finished = json.loads(Path("out", RUN_FILE).read_text(encoding="utf-8"))["parts"]
    assert 0 < len(finished) < 12
    assert len(list_files(Path("out"))) < 12


def test_a_scheduler_that_is_not_there_is_said_soon(
    predict: Predict, pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(Path("a.jsonl"), [{"id": "a", "text": "x"}])
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1.0)
    start = time.monotonic()
    # A server that takes the call and says nothing, as a machine behind a tunnel may.
    silent = socket.create_server(("127.0.0.1", 0))
    addresses = ["tcp://127.0.0.1:1", "nonsense://x", "nowhere", f"tcp://127.0.0.1:{silent.getsockname()[1]}"]
    with silent, distributed.Client(pair.address, set_as_default=False) as client:
        addresses.extend(client.nthreads())
        for address in addresses:
            with pytest.raises(ClusterError, match=f"{address}: no Dask scheduler answers"):
                predict("a.jsonl", address=address)
    assert time.monotonic() - start < 10
    assert not Path("out").exists()


def test_a_scheduler_without_workers_is_refused(
    predict: Predict, lonely: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(Path("a.jsonl"), [{"id": "a", "text": "x"}])
    lonely.wait()
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 2.0)
    with pytest.raises(ClusterError, match="no worker: start some"):
        predict("a.jsonl", address=lonely.address)
    assert not Path("out").exists()


def test_an_address_that_does_not_fit_the_encryption_is_said_soon(predict: Predict) -> None:
    write_jsonl(Path("a.jsonl"), [{"id": "a", "text": "x"}])
    start = time.monotonic()
    with pytest.raises(ClusterError, match="DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT"):
        predict("a.jsonl", address="tls://127.0.0.1:1")
    with dask.config.set({"distributed.comm.require-encryption": True}):
        for address in ("tcp://127.0.0.1:1", "127.0.0.1:1"):
            with pytest.raises(ClusterError, match=f"{address}: .* give a tls:// address"):
                predict("a.jsonl", address=address)
    missing = {f"distributed.comm.tls.{name}": "missing.pem" for name in ("ca-file", "client.cert", "client.key")}
    with dask.config.set(missing), pytest.raises(ClusterError, match="FileNotFoundError"):
        predict("a.jsonl", address="tls://127.0.0.1:1")
    assert time.monotonic() - start < 5
    assert not Path("out").exists()


@pytest.mark.parametrize("lost", ["scheduler", "workers"])
def test_what_is_finished_outlives_the_cluster(
    lost: str,
    predict: Predict,
    lonely: Cluster,
    small_corpus: list[Case],
    events: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_inputs(small_corpus, "in", 12, 400)
    lonely.start_worker("--no-nanny")
    lonely.wait(workers=1)
    monkeypatch.setattr(cluster, "LONELY_SECONDS", 2.0)
    victim = lonely.processes[0 if lost == "scheduler" else 1]

    def kill(event: str) -> None:
        events.append(event)
        if " cases" in event:
            victim.kill()

    message = "scheduler (is gone|was lost)" if lost == "scheduler" else "no worker for 2 s"
    with pytest.raises(ClusterError, match=message):
        predict("in", address=lonely.address, on_event=kill)
    finished = len(json.loads(Path("out", RUN_FILE).read_text(encoding="utf-8"))["parts"])
    assert 0 < finished < 12
    report = predict("in", resume=True)
    assert (report.done, report.skipped) == (12 - finished, finished)


def test_threads_of_a_worker_wait_for_one_another(
    run: Run, predict: Predict, lonely: Cluster, model_folder: Path, small_corpus: list[Case], events: list[str]
) -> None:
    inputs = write_inputs(small_corpus, "in", 6, 100)
    lonely.start_worker("--nthreads", "4")
    lonely.wait(workers=1)
    assert predict("in", address=lonely.address).done == 6
    assert any(event.startswith("threads without work: 3") for event in events)
    assert list_files(Path("out")) == predict_locally(run, model_folder, inputs, "in")


def test_without_the_library_the_extra_is_named(predict: Predict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"tipnlp\[cluster\]"):
        predict("in")
