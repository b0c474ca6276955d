"""Lines of predictions from records as they stand in files, in one or several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import write_jsonl
from tipnlp.cases import Case
from tipnlp.errors import FileError, RecordError, WorkerError
from tipnlp.lines import predict_lines
from tipnlp.reading import read_raw

TIPNLP = str(Path(sys.executable).parent / "tipnlp")


def write_cases(path: Path, cases: list[Case], copies: int = 1) -> Path:
    """Write cases several times over, each time with a bad line behind them."""
    good = [{"id": case.id, "text": case.text, "lang": case.lang} for case in cases]
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in good)
    path.write_text((lines + '{"id": "bad"}\n') * copies, encoding="utf-8")
    return path


def tell(found: bytes | RecordError) -> str:
    """What a test compares: the id of a line, or the place of what is none."""
    return f"{found.file}:{found.line}" if isinstance(found, RecordError) else json.loads(found)["id"]


def test_every_record_gives_a_line_or_the_reason_why_not_in_order(small_corpus: list[Case], model_folder: Path) -> None:
    cases = small_corpus[:4]
    write_cases(Path("a.jsonl"), cases)
    Path("b.csv").write_bytes(b"id,text\nc,Er nahm den Pass.\nd,\xe9t\xe9\n")
    write_jsonl(Path("c.jsonl"), [{"id": "e", "text": "Er nahm den Pass."}])
    found = list(predict_lines(model_folder, read_raw(["a.jsonl", "b.csv", "c.jsonl"])))
    assert [tell(one) for one in found] == [*(case.id for case in cases), "a.jsonl:5", "b.csv:0", "e"]
    assert [type(one) for one in found if isinstance(one, RecordError)] == [RecordError, FileError]


@pytest.mark.slow
def test_two_processes_give_what_one_gives_in_order(small_corpus: list[Case], model_folder: Path) -> None:
    write_cases(Path("in.jsonl"), small_corpus, copies=30)
    one = list(predict_lines(model_folder, read_raw(["in.jsonl"])))
    two = list(predict_lines(model_folder, read_raw(["in.jsonl"]), jobs=2))
    assert [found for found in two if isinstance(found, bytes)] == [found for found in one if isinstance(found, bytes)]
    assert [tell(found) for found in two] == [tell(found) for found in one]


def test_the_process_that_feeds_others_imports_little() -> None:
    code = "import sys, tipnlp.lines; sys.exit(bool({'spacy', 'sklearn', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def list_children(pid: int) -> list[int]:
    """The processes that a process has started, where the system tells."""
    return [int(n) for tasks in Path(f"/proc/{pid}/task").glob("*/children") for n in tasks.read_text().split()]


def is_alive(pid: int) -> bool:
    """Whether a process works, or would."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def start_two_processes(cases: list[Case], model: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """Start a long run with two processes; return it with its children when the first line is written."""
    write_cases(Path("in.jsonl"), cases, copies=200)
    command = [TIPNLP, "predict", "in.jsonl", "-m", str(model), "-o", "out.jsonl", "-j", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    part = Path(".out.jsonl.part")
    while process.poll() is None and not (part.exists() and part.stat().st_size):
        time.sleep(0.02)
    return process, list_children(process.pid)


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not list processes")


@needs_proc
@pytest.mark.slow
def test_processes_end_with_the_one_they_work_for(small_corpus: list[Case], model_folder: Path) -> None:
    process, children = start_two_processes(small_corpus, model_folder)
    assert len(children) >= 2
    with process:
        process.kill()
    deadline = time.monotonic() + 30
    while any(map(is_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [pid for pid in children if is_alive(pid)] == []


@needs_proc
@pytest.mark.slow
def test_a_process_that_was_killed_is_reported(small_corpus: list[Case], model_folder: Path) -> None:
    process, children = start_two_processes(small_corpus, model_folder)
    # The last that was started works; the first may be the one that keeps count of shared memory.
    os.kill(children[-1], signal.SIGKILL)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"a worker process has died" in words
    assert b"--resume" in words
    assert Path(".out.jsonl.part").read_bytes().endswith(b"\n")


def die(*arguments: object, **keywords: object) -> list[bytes]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


@pytest.mark.slow
def test_dead_process_raises(small_corpus: list[Case], model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cases(Path("in.jsonl"), small_corpus)
    monkeypatch.setattr("tipnlp.lines.encode_predictions", die)
    with pytest.raises(WorkerError, match="died"):
        list(predict_lines(model_folder, read_raw(["in.jsonl"]), jobs=2))
