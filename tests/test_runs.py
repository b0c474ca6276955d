"""Runs that are broken off and gone on with; several processes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from conftest import Run, read_jsonl, write_jsonl
from tipnlp.cases import LABELS, Case
from tipnlp.errors import WorkerError
from tipnlp.lines import predict_lines
from tipnlp.manifest import read_manifest
from tipnlp.model import Model, save_model
from tipnlp.reading import DEFAULT_ENCODING, find_sources
from tipnlp.runs import describe_run, open_run
from tipnlp.writing import name_rejects

TIPNLP = str(Path(sys.executable).parent / "tipnlp")

# Those of `tipnlp predict` unless others are given.
OPTIONS = {"explain": False, "with_text": False, "encoding": DEFAULT_ENCODING}


def write_cases(path: Path, cases: list[Case], copies: int) -> Path:
    """Write cases several times over, with a bad record now and then."""
    with path.open("w", encoding="utf-8") as stream:
        for copy in range(copies):
            for case in cases:
                record = {"id": f"{case.id}-{copy}", "text": case.text, "lang": case.lang}
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            stream.write('{"id": "bad"}\n')
    return path


def find_size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("output", ["out.jsonl", "out.csv"])
def test_twenty_kills_end_like_one_run_that_was_left_alone(
    run: Run, small_corpus: list[Case], model_folder: Path, output: str
) -> None:
    write_cases(Path("in.jsonl"), small_corpus, copies=40)
    command = ("predict", "in.jsonl", "-m", model_folder, "-o")
    run(*command, f"whole-{output}")
    start = time.monotonic()
    assert run(*command, f"whole-{output}", "--force").exit_code == 1
    seconds = time.monotonic() - start
    whole = [Path(f"whole-{output}").read_bytes(), name_rejects(Path(f"whole-{output}")).read_bytes()]
    files = [Path(output), name_rejects(Path(output))]
    part, chance = Path(f".{output}.part"), random.Random(output)
    kills = moved = rounds = 0
    # A fork has nothing to load, so the kills fall at any time of the run; where it comes to its end, another is begun.
    while kills < 20 or not rounds:
        before = find_size(part)
        process = get_context("fork").Process(target=run, args=(*command, output, "--resume"))
        process.start()
        process.join(chance.uniform(0, seconds / 2))
        process.kill()
        process.join()
        kills += process.exitcode != 0
        assert kills < 100, "no run comes to its end"
        moved += find_size(part) > before
        if process.exitcode == 0:
            assert [path.read_bytes() for path in files] == whole
            assert not list(Path().glob(".*out*"))
            rounds += 1
            for path in files:
                path.unlink()
    assert moved >= 8


@pytest.mark.slow
def test_kills_of_two_processes(run: Run, small_corpus: list[Case], model_folder: Path) -> None:
    write_cases(Path("in.jsonl"), small_corpus, copies=20)
    assert run("predict", "in.jsonl", "-m", model_folder, "-o", "whole.jsonl").exit_code == 1
    command = [TIPNLP, "predict", "in.jsonl", "-m", str(model_folder), "-o", "out.jsonl", "--resume", "-j", "2"]
    part, sizes = Path(".out.jsonl.part"), [0]
    for _ in range(2):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and find_size(part) <= sizes[-1]:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        sizes.append(find_size(part))
    assert sizes[0] < sizes[1] < sizes[2]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    assert Path("out.rejects.jsonl").read_bytes() == Path("whole.rejects.jsonl").read_bytes()
    assert not list(Path().glob(".*out*"))


class MachineFailureError(BaseException):
    """The end of everything, without warning."""


def break_off(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch, output: str = "out.jsonl", *options: str) -> None:
    """Run `tipnlp predict in.jsonl` until the machine fails after five cases."""
    original = predict_lines

    def fail_soon(*arguments: object, **keywords: object):  # type: ignore[no-untyped-def]
        for number, line in enumerate(original(*arguments, **keywords)):  # type: ignore[arg-type]
            if number == 5:
                raise MachineFailureError
            yield line

    with monkeypatch.context() as patch, pytest.raises(MachineFailureError):
        patch.setattr("tipnlp.lines.predict_lines", fail_soon)
        run("predict", "in.jsonl", "-m", model, "-o", output, *options)


def fail_at(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch, output: str, method: str, fails: Callable[..., bool]
) -> None:
    """Run `tipnlp predict in.jsonl` until the machine fails at a step of its end, and nothing is done any more."""
    original = getattr(Path, method)

    def fail(path: Path, *arguments: Any, **options: Any) -> Any:
        if fails(path, *arguments):
            raise MachineFailureError
        return original(path, *arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(MachineFailureError):
        patch.setattr(Path, method, fail)
        run("predict", "in.jsonl", "-m", model, "-o", output)


def list_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path().glob("*out*")}


@pytest.fixture
def inputs(small_corpus: list[Case]) -> list[str]:
    write_cases(Path("in.jsonl"), small_corpus[:12], copies=1)
    return [f"{case.id}-0" for case in small_corpus[:12]]


@pytest.mark.parametrize("output", ["out.jsonl", "out.csv"])
def test_resume_goes_on_behind_the_last_whole_line(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    run("predict", "in.jsonl", "-m", model_folder, "-o", f"whole-{output}")
    rejects = f"{'out' if output == 'out.jsonl' else output}.rejects.jsonl"
    break_off(run, model_folder, monkeypatch, output)
    part = Path(f".{output}.part")
    with part.open("ab") as stream:
        stream.write(b'{"id": "half a li')
    assert not Path(output).exists()
    resumed = run("predict", "in.jsonl", "-m", model_folder, "-o", output, "--resume")
    assert resumed.exit_code == 1, resumed.stderr
    assert Path(output).read_bytes() == Path(f"whole-{output}").read_bytes()
    assert len(inputs) == 12
    assert len(read_jsonl(Path(rejects))) == 1
    assert not list(Path().glob(".out*"))


def test_unfinished_run_is_not_thrown_away_unasked(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(run, model_folder, monkeypatch)
    refused = run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl")
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr
    assert run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl", "--force").exit_code == 1
    assert [r["id"] for r in read_jsonl(Path("out.jsonl"))] == inputs


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("input", "had other input:"),
        ("option", "had other options:"),
        ("model", "had another model:"),
        ("tipnlp", "had another version of tipnlp:"),
    ],
)
def test_another_run_is_refused(
    run: Run,
    model: Model,
    model_folder: Path,
    inputs: list[str],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    told: str,
) -> None:
    break_off(run, model_folder, monkeypatch)
    before = Path(".out.jsonl.part").read_bytes()
    if change == "input":
        write_jsonl(Path("in.jsonl"), [{"id": "a", "text": "another"}])
    if change == "model":
        thresholds = dict.fromkeys(LABELS, 0.9)
        save_model(replace(model, manifest=replace(model.manifest, thresholds=thresholds)), model_folder, force=True)
    if change == "tipnlp":
        monkeypatch.setattr("tipnlp.runs.version", lambda name: "99.0")
    extra = ["--with-text"] if change == "option" else []
    refused = run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl", "--resume", *extra)
    assert refused.exit_code == 2
    assert told in refused.stderr
    assert Path(".out.jsonl.part").read_bytes() == before


def test_input_that_no_longer_gives_what_is_done_is_refused(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(run, model_folder, monkeypatch)
    before, status = Path(".out.jsonl.part").read_bytes(), Path("in.jsonl").stat()
    lines = Path("in.jsonl").read_bytes().splitlines(keepends=True)
    Path("in.jsonl").write_bytes(b"".join([*lines[1:], lines[0]]))
    os.utime("in.jsonl", ns=(status.st_atime_ns, status.st_mtime_ns))
    refused = run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl", "--resume")
    assert refused.exit_code == 2
    assert "does not give the cases again" in refused.stderr
    assert Path(".out.jsonl.part").read_bytes() == before


def test_resume_without_an_unfinished_run_is_a_run(run: Run, model_folder: Path, inputs: list[str]) -> None:
    assert run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl", "--resume").exit_code == 1
    assert [r["id"] for r in read_jsonl(Path("out.jsonl"))] == inputs


def test_standard_input_cannot_be_resumed(run: Run, model_folder: Path) -> None:
    result = run("predict", "-", "-m", model_folder, "-o", "out.jsonl", "--resume", stdin='{"id": "a", "text": "b"}')
    assert result.exit_code == 2
    assert "second time" in result.stderr


def lose_worker(run: Run, monkeypatch: pytest.MonkeyPatch, *command: object, stdin: bytes | None = None) -> str:
    """Run a command until a process of its has died behind five cases; return what is said."""

    def die_soon(*arguments: object, **keywords: object):  # type: ignore[no-untyped-def]
        yield from islice(predict_lines(*arguments, **keywords), 5)  # type: ignore[arg-type]
        raise WorkerError("a worker process has died")

    with monkeypatch.context() as patch:
        patch.setattr("tipnlp.lines.predict_lines", die_soon)
        stopped = run(*command, stdin=stdin)
    assert stopped.exit_code == 2
    assert "died" in stopped.stderr
    return stopped.stderr


def test_an_error_keeps_what_is_done(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("predict", "in.jsonl", "-m", model_folder, "-o")
    run(*command, "whole.jsonl")
    assert "go on with --resume" in lose_worker(run, monkeypatch, *command, "out.jsonl")
    part = Path(".out.jsonl.part").read_bytes()
    assert Path("whole.jsonl").read_bytes().startswith(part)
    assert part.count(b"\n") == 5
    # Another spaCy than that of the model.
    manifest = model_folder / "manifest.json"
    trained = manifest.read_text(encoding="utf-8")
    manifest.write_text(json.dumps(json.loads(trained) | {"versions": {"spacy": "2.0"}}), encoding="utf-8")
    assert "trained with" in run(*command, "out.jsonl", "--resume").stderr
    manifest.write_text(trained, encoding="utf-8")
    strict = run(*command, "out.jsonl", "--resume", "--strict")
    assert strict.exit_code == 2
    assert "in.jsonl:13" in strict.stderr
    assert Path(".out.jsonl.part").read_bytes().startswith(part)
    assert run(*command, "out.jsonl", "--resume").exit_code == 1
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_the_library_of_the_output_is_looked_for_first(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    break_off(run, model_folder, monkeypatch, "out.parquet")
    files = list_files()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        for options in ([], ["--force"], ["--resume"]):
            refused = run("predict", "in.jsonl", "-m", model_folder, "-o", "out.parquet", *options)
            assert refused.exit_code == 2
            assert "tipnlp[parquet]" in refused.stderr
            assert list_files() == files
    assert run("predict", "in.jsonl", "-m", model_folder, "-o", "out.parquet", "--resume").exit_code == 1


def test_one_process_at_a_time_has_a_part(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl")
    break_off(run, model_folder, monkeypatch)
    first = describe_run(read_manifest(model_folder).fingerprint, find_sources(["in.jsonl"]), OPTIONS)
    with open_run(Path("out.jsonl"), first, resume=True) as lines:
        assert lines.done == 5
        for option in ("--resume", "--force"):
            refused = run(*command, option)
            assert refused.exit_code == 2
            assert "another process" in refused.stderr
        lines.write(b'{"id": "the first goes on"}')
    assert Path("out.jsonl").read_bytes().endswith(b'\n{"id": "the first goes on"}\n')
    assert len(read_jsonl(Path("out.jsonl"))) == 6


@pytest.mark.parametrize("output", ["out.jsonl", "out.csv"])
def test_killed_before_the_output_gets_its_name(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    rejects = name_rejects(Path(output))
    fail_at(run, model_folder, monkeypatch, output, "replace", lambda path, to: Path(to).name == output)
    assert len(read_jsonl(rejects)) == 1
    assert not Path(output).exists()
    assert run("predict", "in.jsonl", "-m", model_folder, "-o", output, "--resume").exit_code == 1
    assert Path(output).exists()
    assert len(read_jsonl(rejects)) == 1
    assert not list(Path().glob(".out*"))


@pytest.mark.parametrize("output", ["out.jsonl", "out.csv"])
def test_killed_after_the_output_got_its_name(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    left = {f".{output}.part", f".{output}.part.json"}
    fail_at(run, model_folder, monkeypatch, output, "unlink", lambda path: path.name in left)
    whole, rejects = Path(output).read_bytes(), name_rejects(Path(output)).read_bytes()
    done = run("predict", "in.jsonl", "-m", model_folder, "-o", output, "--resume")
    assert done.exit_code == 1
    assert "1 records could not be used" in done.stderr
    assert (Path(output).read_bytes(), name_rejects(Path(output)).read_bytes()) == (whole, rejects)
    assert not list(Path().glob(".out*"))
    assert run("predict", "in.jsonl", "-m", model_folder, "-o", output, "--resume").exit_code == 2


@pytest.mark.parametrize("output", ["out.jsonl", "out.csv"])
def test_output_that_came_meanwhile_is_not_replaced(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    def predict_beside_another(*arguments: Any, **options: Any) -> Iterator[bytes]:
        Path(output).write_text("of another program", encoding="utf-8")
        return predict_lines(*arguments, **options)

    command = ("predict", "in.jsonl", "-m", model_folder, "-o", output)
    with monkeypatch.context() as patch:
        patch.setattr("tipnlp.lines.predict_lines", predict_beside_another)
        refused = run(*command)
    assert refused.exit_code == 2
    assert "exists" in refused.stderr
    assert "go on with --resume" in refused.stderr
    assert run(*command, "--resume").exit_code == 2
    assert Path(output).read_text(encoding="utf-8") == "of another program"
    assert len(Path(f".{output}.part").read_bytes().splitlines()) == 12
    Path(output).unlink()
    assert run(*command, "--resume").exit_code == 1
    assert not list(Path().glob(".out*"))


def test_a_forced_run_goes_on_without_force(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("out.jsonl", "out.rejects.jsonl"):
        Path(name).write_text("old", encoding="utf-8")
    command = ("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl")
    assert run(*command, "--resume").exit_code == 2
    break_off(run, model_folder, monkeypatch, "out.jsonl", "--force")
    done = run(*command, "--resume")
    assert done.exit_code == 1, done.stderr
    assert [r["id"] for r in read_jsonl(Path("out.jsonl"))] == inputs
    assert len(read_jsonl(Path("out.rejects.jsonl"))) == 1


@contextmanager
def limit_disk(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_many(count: int = 600) -> None:
    """Write more cases than are predicted at once."""
    write_jsonl(Path("in.jsonl"), [{"id": str(n), "text": f"Er nahm {n} Pässe.", "lang": "de"} for n in range(count)])


@pytest.mark.parametrize("output", ["out.jsonl", "out.csv"])
def test_full_disk(run: Run, model_folder: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    write_many()
    command = ("predict", "in.jsonl", "-m", model_folder, "-o")
    run(*command, f"whole-{output}")
    if output == "out.csv":
        # What is left to do is the table.
        fail_at(run, model_folder, monkeypatch, output, "replace", lambda path, to: Path(to).name == output)
    with limit_disk(20_000):
        full = run(*command, output, "--resume")
    assert full.exit_code == 2
    assert f"{output}: File too large" in full.stderr
    assert "go on with --resume" in full.stderr
    assert Path(f".{output}.part").stat().st_size >= 20_000
    assert not Path(output).exists()
    assert run(*command, output, "--resume").exit_code == 0
    assert Path(output).read_bytes() == Path(f"whole-{output}").read_bytes()
    assert not list(Path().glob(".out*"))


@pytest.mark.parametrize("content", [b"\xff", b"", b"[]", b"3", b'{"run": 3, "forced": true}', None])
def test_damaged_note(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    break_off(run, model_folder, monkeypatch)
    note, before = Path(".out.jsonl.part.json"), Path(".out.jsonl.part").read_bytes()
    note.unlink() if content is None else note.write_bytes(content)
    refused = run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl", "--resume")
    assert refused.exit_code == 2
    assert "missing or damaged" in refused.stderr
    assert Path(".out.jsonl.part").read_bytes() == before


def test_leftovers_of_killed_processes_are_removed(run: Run, model_folder: Path, inputs: list[str]) -> None:
    left = [".out.csv.0123abcd.part", "..out.csv.part.json.0123abcd.part", ".out.csv.rejects.jsonl.0123abcd.part"]
    others = [".out.csv.2020.csv.part", ".other.csv.0123abcd.part"]
    for name in (*left, *others):
        Path(name).write_text("", encoding="utf-8")
    assert run("predict", "in.jsonl", "-m", model_folder, "-o", "out.csv").exit_code == 1
    assert sorted(path.name for path in Path().glob(".*")) == sorted(others)


def test_no_advice_to_resume_standard_input(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("predict", "-", "-m", model_folder, "-o", "out.jsonl")
    stopped = lose_worker(run, monkeypatch, *command, stdin=Path("in.jsonl").read_bytes())
    assert len(read_jsonl(Path(".out.jsonl.part"))) == 5
    refused = run(*command, stdin='{"id": "a", "text": "b"}')
    assert refused.exit_code == 2
    for message in (stopped, refused.stderr):
        assert ".out.jsonl.part" in message
        assert "--resume" not in message


def test_standard_output_cannot_be_resumed(run: Run, model_folder: Path, inputs: list[str]) -> None:
    refused = run("predict", "in.jsonl", "-m", model_folder, "-o", "-", "--resume")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--resume needs a file" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["in.jsonl", "-o", "out.jsonl", "--rejects", "out.jsonl"], "name two files"),
        (["in.jsonl", "-o", "out.jsonl", "--rejects", "sub/../out.jsonl"], "name two files"),
        (["in.jsonl", "-o", "in.jsonl"], "is an input"),
        (["in.jsonl", "-o", "linked.jsonl"], "is an input"),
        (["in.jsonl", "-o", "out.jsonl", "--rejects", "in.jsonl"], "is an input"),
        (["in.jsonl", "--rejects", "in.jsonl"], "is an input"),
        (["sub", "-o", "sub/out.jsonl"], "lies in an input folder"),
        (["sub", "-o", "out.jsonl", "--rejects", "sub/r.jsonl"], "lies in an input folder"),
        ([".", "-o", "new/deep/out.csv"], "lies in an input folder"),
    ],
)
def test_output_never_takes_the_place_of_input(
    run: Run, model_folder: Path, inputs: list[str], arguments: list[str], told: str
) -> None:
    Path("sub").mkdir()
    Path("sub/a.jsonl").write_bytes(Path("in.jsonl").read_bytes())
    Path("linked.jsonl").hardlink_to("in.jsonl")
    before = {path: path.read_bytes() for path in Path().rglob("*.jsonl")}
    refused = run("predict", *arguments, "-m", model_folder, "--force")
    assert refused.exit_code == 2
    assert told in refused.stderr
    assert {path: path.read_bytes() for path in Path().rglob("*.jsonl")} == before


def test_outputs_of_two_kinds_have_rejects_of_their_own(run: Run, model_folder: Path, inputs: list[str]) -> None:
    assert run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl").exit_code == 1
    before = Path("out.rejects.jsonl").read_bytes()
    write_jsonl(Path("in.jsonl"), [{"id": "a", "text": "b"}])
    assert run("predict", "in.jsonl", "-m", model_folder, "-o", "out.csv", "--force").exit_code == 0
    assert Path("out.rejects.jsonl").read_bytes() == before


@pytest.mark.parametrize("output", ["out.jsonl", "out.csv"])
def test_who_may_read_the_output_is_for_the_umask_to_say(
    run: Run, model_folder: Path, inputs: list[str], output: str
) -> None:
    for mask, mode in ((0o077, 0o600), (0o022, 0o644)):
        before = os.umask(mask)
        try:
            run("predict", "in.jsonl", "-m", model_folder, "-o", output, "--with-text", "--force")
        finally:
            os.umask(before)
        for path in (Path(output), name_rejects(Path(output))):
            assert path.stat().st_mode & 0o777 == mode


def test_folder_as_target_is_refused_before_the_work(run: Run, model_folder: Path, inputs: list[str]) -> None:
    Path("out.jsonl").mkdir()
    for arguments in (["-o", "out.jsonl"], ["-o", "new.jsonl", "--rejects", "out.jsonl"]):
        refused = run("predict", "in.jsonl", "-m", model_folder, *arguments, "--force")
        assert refused.exit_code == 2
        assert "out.jsonl is a folder" in refused.stderr
    assert not list(Path().glob(".*"))
