"""The commands as a user runs them, on real files."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, Run, read_jsonl, write_jsonl
from tipnlp.cases import LABELS, REVIEW, Case

PREDICTION = {"id", "label", "decision", "reason", "probabilities", "lang", "model"}
TIPNLP = str(Path(sys.executable).parent / "tipnlp")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from tipnlp.cli import app;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        "assert CliRunner().invoke(app, ['predict', '--help']).exit_code == 0;"
        "heavy = {'spacy', 'sklearn', 'numpy', 'joblib', 'scipy'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_has_help(run: Run) -> None:
    commands = ["train", "predict", "evaluate", "tally", "corpus check", "corpus stats", "info"]
    for command in commands:
        result = run(*command.split(), "--help")
        assert result.exit_code == 0
        assert "Usage: " in result.stdout
    assert all(f"tipnlp {command}" in (ROOT / "README.md").read_text(encoding="utf-8") for command in commands)


def test_version(run: Run) -> None:
    assert run("--version").stdout.startswith("tipnlp 0.")


def test_train_predict_evaluate_tally_info(
    run: Run, corpus_file: Path, small_corpus: list[Case], tmp_path: Path
) -> None:
    trained = run("train", corpus_file, "-o", "models/default")
    assert trained.exit_code == 0, trained.stderr
    assert "macro-F1" in trained.stdout
    names = ["README.md", "manifest.json", "model.joblib", "seen.npz"]
    assert sorted(p.name for p in Path("models/default").iterdir()) == names

    predicted = run("predict", corpus_file, "-o", "out.jsonl")
    assert (predicted.exit_code, predicted.stdout) == (0, "")
    records = read_jsonl(tmp_path / "out.jsonl")
    assert [r["id"] for r in records] == [c.id for c in small_corpus]
    for record in records:
        assert set(record) >= PREDICTION
        assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        assert record["decision"] in (record["label"], REVIEW)
        assert bool(record["reason"]) == (record["decision"] == REVIEW)
        assert record["input_label"] in LABELS
        assert "text" not in record

    evaluated = run("evaluate", corpus_file, "--by", "lang", "--by", "year", "--json", "m.json", "--allow-leak")
    assert evaluated.exit_code == 0
    report = json.loads(Path("m.json").read_text(encoding="utf-8"))
    assert report["n"] == len(small_corpus)
    assert set(report["slices"]["lang"]) == {"en", "fr", "de", "lb"}
    assert f"{report['macro_f1']['value']:.3f}" in evaluated.stdout

    assert "investigation" in run("tally", "out.jsonl").stdout
    assert json.loads(Path("models/default/manifest.json").read_text(encoding="utf-8"))["id"] in run("info").stdout


def test_csv_in_csv_out(run: Run, model_folder: Path) -> None:
    Path("in.csv").write_text(
        "id;text;akte\n1;The boss kept his passport;=A1\n2;Il a été payé;zwei\n", encoding="utf-8"
    )
    assert run("predict", "in.csv", "-m", model_folder, "-o", "out.csv").exit_code == 0
    with Path("out.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["akte"] for row in rows] == ["'=A1", "zwei"]
    assert sum(float(rows[0][f"probabilities.{label}"]) for label in LABELS) == pytest.approx(1, abs=1e-3)
    assert run("tally", "out.csv").exit_code == 0


def test_parquet_in_parquet_out(run: Run, model_folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    parquet.write_table(pa.table({"id": ["1"], "text": ["The boss kept his passport"], "n": [5]}), "in.parquet")
    assert run("predict", "in.parquet", "-m", model_folder, "-o", "out.parquet").exit_code == 0
    (row,) = parquet.read_table("out.parquet").to_pylist()
    assert (row["id"], row["n"]) == ("1", 5)
    assert sum(row[f"probabilities.{label}"] for label in LABELS) == pytest.approx(1, abs=1e-3)


def test_bad_records_are_named_and_lose_nothing(run: Run, model_folder: Path) -> None:
    lines = ['{"id": "a", "text": "confidential words"}', "{", '{"id": "b"}', '{"id": "c", "text": "more words"}']
    Path("in.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl")
    assert result.exit_code == 1
    assert [r["id"] for r in read_jsonl(Path("out.jsonl"))] == ["a", "c"]
    rejects = read_jsonl(Path("out.rejects.jsonl"))
    assert [(r["file"], r["line"], r["id"]) for r in rejects] == [("in.jsonl", 2, None), ("in.jsonl", 3, "b")]
    assert "2 records" in result.stderr
    assert "confidential" not in result.stderr + Path("out.rejects.jsonl").read_text(encoding="utf-8")


def test_strict_stops_and_leaves_nothing(run: Run, model_folder: Path) -> None:
    write_jsonl(Path("in.jsonl"), [{"id": "a", "text": "x"}, {"id": "b"}])
    result = run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl", "--strict")
    assert result.exit_code == 2
    assert "in.jsonl:2" in result.stderr
    assert sorted(p.name for p in Path().iterdir()) == ["in.jsonl", "model"]


def test_nothing_is_overwritten_without_force(run: Run, model_folder: Path, corpus_file: Path) -> None:
    write_jsonl(Path("in.jsonl"), [{"id": "a", "text": "x"}])
    for target in ("out.jsonl", "m.json"):
        Path(target).write_text("precious", encoding="utf-8")
    assert run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl").exit_code == 2
    assert run("evaluate", corpus_file, "-m", model_folder, "--json", "m.json", "--allow-leak").exit_code == 2
    assert run("train", corpus_file, "-o", model_folder).exit_code == 2
    assert Path("out.jsonl").read_text(encoding="utf-8") == Path("m.json").read_text(encoding="utf-8") == "precious"
    assert run("predict", "in.jsonl", "-m", model_folder, "-o", "out.jsonl", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "missing.jsonl"], "missing.jsonl: no such file"),
        (["predict", "in.jsonl", "-m", "nowhere"], "not a model folder"),
        (["predict", "in.jsonl", "-o", "out.xlsx"], "unknown kind of output"),
        (["evaluate", "in.jsonl", "--by", "nothing"], "'nothing'"),
        (["train", "in.jsonl", "-o", "m"], "no label"),
        (["info", "-m", "."], "not a model folder"),
    ],
)
def test_wrong_use_is_one_clear_message(run: Run, model_folder: Path, arguments: list[str], message: str) -> None:
    record = (
        {"id": "a", "text": "confidential", "label": LABELS[0]}
        if arguments[0] == "evaluate"
        else {"id": "a", "text": "x"}
    )
    write_jsonl(Path("in.jsonl"), [record])
    if "-m" not in arguments and arguments[0] != "train":
        arguments = [*arguments, "-m", str(model_folder)]
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert "confidential" not in result.stderr


def test_pipe_through_the_real_command(model_folder: Path) -> None:
    lines = "".join(json.dumps({"id": str(i), "text": f"Er nahm {i} Pässe weg."}) + "\n" for i in range(3))
    command = [TIPNLP, "predict", "-", "-m", str(model_folder), "-o", "-"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, encoding="utf-8")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["0", "1", "2"]
    assert done.stderr == ""


def test_reader_of_the_pipe_may_leave(model_folder: Path) -> None:
    lines = "".join(json.dumps({"id": str(i), "text": "x"}) + "\n" for i in range(20000))
    Path("in.jsonl").write_text(lines, encoding="utf-8")
    command = f"{TIPNLP} predict in.jsonl -m {model_folder} -o - | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["id"] == "0"
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


def test_text_comes_out_only_when_asked(run: Run, model_folder: Path) -> None:
    write_jsonl(Path("in.jsonl"), [{"id": "a", "text": "words", "model": "mine"}])
    plain = json.loads(run("predict", "in.jsonl", "-m", model_folder).stdout)
    assert "text" not in plain
    assert plain["input_model"] == "mine"
    assert json.loads(run("predict", "in.jsonl", "-m", model_folder, "--with-text").stdout)["text"] == "words"
