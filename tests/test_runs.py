"""Runs that are broken off and gone on with; several processes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from conftest import Run, read_jsonl, write_jsonl
from tipnlp.cases import Case
from tipnlp.errors import WorkerError
from tipnlp.lines import predict_lines

TIPNLP = str(Path(sys.executable).parent / "tipnlp")


def write_cases(path: Path, cases: list[Case], copies: int) -> Path:
    """Write cases several times over, with a bad record now and then."""
    with path.open("w", encoding="utf-8") as stream:
        for copy in range(copies):
            for case in cases:
                record = {"id": f"{case.id}-{copy}", "text": case.text, "lang": case.lang}
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            stream.write('{"id": "bad"}\n')
    return path


def kill_when(process: subprocess.Popen[bytes], part: Path, size: int) -> None:
    """Kill a process without warning when its unfinished output has reached a size, or let it end."""
    while process.poll() is None:
        if part.exists() and part.stat().st_size >= size:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    process.wait()


@pytest.mark.slow
def test_twenty_kills_end_like_one_run_that_was_left_alone(small_corpus: list[Case], model_folder: Path) -> None:
    write_cases(Path("in.jsonl"), small_corpus, copies=25)
    command = [TIPNLP, "predict", "in.jsonl", "-m", str(model_folder)]
    assert subprocess.run([*command, "-o", "whole.jsonl"], check=False, capture_output=True).returncode == 1
    full = Path("whole.jsonl").stat().st_size
    for size in sorted(random.Random(0).sample(range(full), 20)):
        process = subprocess.Popen([*command, "-o", "out.jsonl", "--resume"], stderr=subprocess.DEVNULL)
        kill_when(process, Path(".out.jsonl.part"), size)
        if Path("out.jsonl").exists():
            break
    else:
        done = subprocess.run([*command, "-o", "out.jsonl", "--resume"], check=False, capture_output=True)
        assert done.returncode == 1
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    assert Path("out.rejects.jsonl").read_bytes() == Path("whole.rejects.jsonl").read_bytes()
    assert not list(Path().glob(".out*"))


def break_off(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch, output: str = "out.jsonl") -> None:
    """Run `tipnlp predict in.jsonl` until the machine fails after five cases."""

    class MachineFailureError(BaseException):
        pass

    original = predict_lines

    def fail_soon(*arguments: object, **keywords: object):  # type: ignore[no-untyped-def]
        for number, line in enumerate(original(*arguments, **keywords)):  # type: ignore[arg-type]
            if number == 5:
                raise MachineFailureError
            yield line

    with monkeypatch.context() as patch, pytest.raises(MachineFailureError):
        patch.setattr("tipnlp.lines.predict_lines", fail_soon)
        run("predict", "in.jsonl", "-m", model, "-o", output)


@pytest.fixture
def inputs(small_corpus: list[Case]) -> list[str]:
    write_cases(Path("in.jsonl"), small_corpus[:12], copies=1)
    return [f"{case.id}-0" for case in small_corpus[:12]]


@pytest.mark.parametrize("output", ["out.jsonl", "out.csv"])
def test_resume_goes_on_behind_the_last_whole_line(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    run("predict", "in.jsonl", "-m", model_folder, "-o", f"whole-{output}")
    break_off(run, model_folder, monkeypatch, output)
    part = Path(f".{output}.part")
    with part.open("ab") as stream:
        stream.write(b'{"id": "half a li')
    assert not Path(output).exists()
    resumed = run("predict", "in.jsonl", "-m", model_folder, "-o", output, "--resume")
    assert resumed.exit_code == 1, resumed.stderr
    assert Path(output).read_bytes() == Path(f"whole-{output}").read_bytes()
    assert len(inputs) == 12
    assert len(read_jsonl(Path("out.rejects.jsonl"))) == 1
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


@pytest.mark.parametrize("change", ["input", "option"])
def test_another_run_is_refused(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    break_off(run, model_folder, monkeypatch)
    before = Path(".out.jsonl.part").read_bytes()
    if change == "input":
        write_jsonl(Path("in.jsonl"), [{"id": "a", "text": "another"}])
    extra = ["--with-text"] if change == "option" else []
    refused = run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl", "--resume", *extra)
    assert refused.exit_code == 2
    assert "another model, other input or other options" in refused.stderr
    assert Path(".out.jsonl.part").read_bytes() == before


def test_resume_without_an_unfinished_run_is_a_run(run: Run, model_folder: Path, inputs: list[str]) -> None:
    assert run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl", "--resume").exit_code == 1
    assert [r["id"] for r in read_jsonl(Path("out.jsonl"))] == inputs


def test_standard_input_cannot_be_resumed(run: Run, model_folder: Path) -> None:
    result = run("predict", "-", "-m", model_folder, "-o", "out.jsonl", "--resume", stdin='{"id": "a", "text": "b"}')
    assert result.exit_code == 2
    assert "second time" in result.stderr


@pytest.mark.slow
def test_two_processes_give_the_lines_of_one_in_order(small_corpus: list[Case], model_folder: Path) -> None:
    cases = [case for _ in range(30) for case in small_corpus]
    one = list(predict_lines(model_folder, cases))
    assert list(predict_lines(model_folder, iter(cases), jobs=2)) == one


def test_the_process_that_feeds_others_imports_little() -> None:
    code = "import sys, tipnlp.lines; sys.exit(bool({'spacy', 'sklearn', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def die(*arguments: object, **keywords: object) -> list[bytes]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_what_was_done_before_a_worker_died_is_gone_on_with(
    run: Run, model_folder: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("predict", "in.jsonl", "-m", model_folder, "-o", "whole.jsonl")

    def die_soon(*arguments: object, **keywords: object):  # type: ignore[no-untyped-def]
        yield from islice(predict_lines(*arguments, **keywords), 5)  # type: ignore[arg-type]
        raise WorkerError("a worker process has died")

    with monkeypatch.context() as patch:
        patch.setattr("tipnlp.lines.predict_lines", die_soon)
        broken = run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl")
    assert broken.exit_code == 2
    assert "died" in broken.stderr
    assert len(Path(".out.jsonl.part").read_bytes().splitlines()) == 5
    run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl", "--resume")
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


@pytest.mark.slow
def test_dead_worker_is_reported(small_corpus: list[Case], model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tipnlp.lines.encode_predictions", die)
    with pytest.raises(WorkerError, match="died"):
        list(predict_lines(model_folder, small_corpus, jobs=2))
