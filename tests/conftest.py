"""Shared material: a small corpus and a model trained on it, both real."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tipnlp.cases import Case
from tipnlp.cli import app
from tipnlp.model import Model, save_model
from tipnlp.reading import read_cases
from tipnlp.training import TrainedModel, train_model

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "corpus"
REAL = ROOT.parent / "shared" / "real"

# Cases a language and label: enough for a model that is right more often than not.
SMALL = 12

Run = Callable[..., Result]


def select_small(cases: Sequence[Case]) -> list[Case]:
    """Take the first cases of every language and label."""
    taken: dict[tuple[str | None, str | None], int] = {}
    chosen = []
    for case in cases:
        key = (case.lang, case.label)
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= SMALL:
            chosen.append(case)
    return chosen


@pytest.fixture(scope="session")
def small_corpus() -> list[Case]:
    return select_small(list(read_cases([CORPUS], labelled=True)))


@pytest.fixture(scope="session")
def corpus_file(small_corpus: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "small.jsonl"
    write_jsonl(path, [{**case.columns, "text": case.text} for case in small_corpus])
    return path


@pytest.fixture(scope="session")
def trained(small_corpus: list[Case]) -> TrainedModel:
    return train_model(small_corpus)


@pytest.fixture(scope="session")
def model(trained: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return save_model(trained.model, tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def model_folder(model: Model, tmp_path: Path) -> Path:
    """A model folder of the test's own, to do harm to."""
    save_model(model, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def run() -> Run:
    """The command line in this process: `run("predict", path, "-m", folder)`."""

    def invoke(*arguments: object, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin, catch_exceptions=False)

    return invoke


@pytest.fixture(autouse=True)
def work_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in a folder of its own, so that none depends on the checkout."""
    monkeypatch.chdir(tmp_path)
    os.environ.pop("SOURCE_DATE_EPOCH", None)


def write_jsonl(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
