"""The commands as a user runs them, on real files."""

from __future__ import annotations

import csv
import html
import json
import os
import re
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
    commands = ["train", "predict", "explain", "evaluate", "compare", "tally", "info", "check-model"]
    commands += ["corpus check", "corpus stats", "corpus suspects"]
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


def test_broken_file_beside_good_ones_is_named(run: Run, model_folder: Path) -> None:
    write_jsonl(Path("a.jsonl"), [{"id": "a", "text": "x"}])
    Path("b.csv").write_bytes("id,text\n1,café\n".encode("cp1252"))
    command = ("predict", "a.jsonl", "b.csv", "-m", model_folder, "-o")
    done = run(*command, "out.jsonl")
    assert done.exit_code == 1
    assert [r["id"] for r in read_jsonl(Path("out.jsonl"))] == ["a"]
    (reject,) = read_jsonl(Path("out.rejects.jsonl"))
    assert (reject["file"], reject["line"], reject["id"]) == ("b.csv", 0, None)
    for message in (done.stderr, run(*command, "-").stderr, reject["reason"]):
        assert "--encoding cp1252" in message
    for arguments in ((*command, "strict.jsonl", "--strict"), ("predict", "b.csv", "-m", model_folder)):
        stopped = run(*arguments)
        assert stopped.exit_code == 2
        assert "b.csv: not utf-8: name its encoding" in stopped.stderr
    assert run(*command, "right.jsonl", "--encoding", "cp1252").exit_code == 0
    assert run("predict", "a.jsonl", "-m", model_folder, "--encoding", "utf-99").exit_code == 2


def test_records_that_no_file_can_hold_are_rejects(run: Run, model_folder: Path) -> None:
    name = os.fsdecode(b"in-\xe9.jsonl") if sys.platform == "linux" else "in.jsonl"
    lines = ['{"id": "\\ud800", "text": "x"}', '{"id": "a", "text": "x", "\\ud800": 1}', '{"id": "b", "text": "x"}']
    Path(name).write_text("\n".join(lines), encoding="utf-8")
    assert run("predict", name, "-m", model_folder, "-o", "out.csv").exit_code == 1
    rejects = read_jsonl(Path("out.csv.rejects.jsonl"))
    assert [(r["line"], r["id"]) for r in rejects] == [(1, "\\ud800"), (2, "a")]


def test_full_disk_behind_standard_output(model_folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("Linux only")
    write_jsonl(Path("in.jsonl"), [{"id": "a", "text": "x"}])
    with Path("/dev/full").open("wb") as full:
        command = [TIPNLP, "predict", "in.jsonl", "-m", str(model_folder)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "tipnlp: No space left on device\n")


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


@pytest.fixture
def labelled(corpus_file: Path) -> Path:
    """Cases that the small model does not take for seen: its own without every fifth word, a few labelled wrongly."""
    records = read_jsonl(corpus_file)[::2]
    for number, record in enumerate(records):
        record["text"] = " ".join(word for i, word in enumerate(record["text"].split()) if i % 5)
        if number % 8 == 0:
            record["label"] = LABELS[(LABELS.index(record["label"]) + 1) % 3]
    return write_jsonl(Path("test.jsonl"), records)


def test_required_precision_decides_the_exit_status(run: Run, model_folder: Path, labelled: Path) -> None:
    passed = run("evaluate", labelled, "-m", model_folder, "--require-precision", 0.3, "--json", "m.json")
    assert (passed.exit_code, passed.stderr) == (0, "")
    missed = run("evaluate", labelled, "-m", model_folder, "--require-precision", 0.999)
    assert missed.exit_code == 1
    assert missed.stdout == passed.stdout
    decided = json.loads(Path("m.json").read_text(encoding="utf-8"))["by_label"]
    for label in LABELS:
        named = f"tipnlp: precision of {label} is not surely 0.999 or more: "
        assert (named in missed.stderr) == (decided[label]["decided"]["n"] > 0)
    assert "not surely" in missed.stderr


def test_evaluation_as_json_and_page(run: Run, model_folder: Path, labelled: Path) -> None:
    arguments = ("evaluate", labelled, "-m", model_folder, "--by", "lang", "--json", "m.json", "--html", "m.html")
    assert run(*arguments).exit_code == 0
    report = json.loads(Path("m.json").read_text(encoding="utf-8"))
    assert report["confidence"]["coverage"][0]["coverage"]["value"] == 1
    assert sum(report["by_label"][label]["decided"]["n"] for label in LABELS) == report["decided"]["hits"]
    assert report["model"] == json.loads((model_folder / "manifest.json").read_text(encoding="utf-8"))["id"]
    page = Path("m.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    wrong = sum(map(sum, report["confusion"])) - report["accuracy"]["hits"]
    errors = [record for record in read_jsonl(labelled) if f">{record['id']}<" in page]
    assert len(errors) == wrong > 0
    assert not [record for record in errors if record["text"][:60] in page]
    assert run(*arguments).exit_code == 2
    assert run(*arguments, "--force", "--with-text").exit_code == 0
    told = html.unescape(Path("m.html").read_text(encoding="utf-8"))
    assert all(record["text"] in told for record in errors)


def test_tally_corrects_for_the_errors_of_an_evaluation(run: Run, model_folder: Path, labelled: Path) -> None:
    assert run("evaluate", labelled, "-m", model_folder, "--json", "m.json").exit_code == 0
    assert run("predict", labelled, "-m", model_folder, "-o", "out.csv").exit_code == 0
    for errors in ("m.json", model_folder):
        rows = json.loads(run("tally", "out.csv", "--by", "lang", "--errors", errors, "--format", "json").stdout)[
            "rows"
        ]
        assert [row["lang"] for row in rows] == ["de", "en", "fr", "lb"]
        for row in rows:
            for kind in ("expected", "corrected"):
                assert sum(row[kind][label]["mean"] for label in LABELS) == pytest.approx(row["all"], abs=1e-6)


def test_training_for_a_precision_says_thresholds_and_how_many_more_cases(run: Run, corpus_file: Path) -> None:
    done = run("train", corpus_file, "-o", "strict", "--folds", 2, "--min-precision", 0.5)
    assert done.exit_code == 0, done.stderr
    assert "Thresholds that keep a precision of 0.50 with 95 % confidence, out of fold:" in done.stdout
    thresholds = json.loads(Path("strict/manifest.json").read_text(encoding="utf-8"))["thresholds"]
    assert set(thresholds) == set(LABELS)
    assert None in thresholds.values()
    assert any(thresholds.values())
    for label, threshold in thresholds.items():
        (line,) = re.findall(rf"^  {label.replace('_', ' ')}: (.*)$", done.stdout, re.MULTILINE)
        if threshold is None:
            assert re.match(
                r"always sent to review\. .*( more cases like these would do\.|would not be enough\.)$", line
            )
        else:
            assert line.startswith(f"decided from probability {threshold:.3f} on, ")

    assert run("predict", corpus_file, "-m", "strict", "-o", "out.jsonl").exit_code == 0
    records = read_jsonl(Path("out.jsonl"))
    assert {r["decision"] for r in records} == {REVIEW, *(label for label, least in thresholds.items() if least)}
    for record in records:
        least = thresholds[record["label"]]
        if record["decision"] != REVIEW:
            assert record["probabilities"][record["label"]] >= least - 1e-4
        if record["reason"] == "no threshold promises the asked precision":
            assert least is None
    assert "never" in run("info", "-m", "strict").stdout


def test_predict_adds_the_evidence_when_asked(run: Run, model_folder: Path) -> None:
    text = "The boss kept her passport, she worked eighteen hours a day in his factory and was never paid."
    write_jsonl(Path("in.jsonl"), [{"id": "a", "text": text, "lang": "en"}])
    plain = json.loads(run("predict", "in.jsonl", "-m", model_folder).stdout)
    record = json.loads(run("predict", "in.jsonl", "-m", model_folder, "--explain").stdout)
    evidence = record.pop("evidence")
    assert record == plain
    assert evidence["label"] == record["label"]
    listed = sum(entry["value"] for name in ("for", "against") for entry in evidence[name])
    assert evidence["intercept"] + listed + evidence["rest"] == pytest.approx(evidence["log_odds"], abs=1e-6)
    concepts = {entry["concept"] for entries in evidence["concepts"].values() for entry in entries}
    assert {"document_retention", "factory_work", "excessive_hours"} <= concepts
    assert text not in json.dumps(evidence)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_evidence_fits_into_a_table(run: Run, model_folder: Path, ending: str) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    write_jsonl(Path("in.jsonl"), [{"id": str(i), "text": f"The boss kept {i} passports."} for i in range(3)])
    assert run("predict", "in.jsonl", "-m", model_folder, "--explain", "-o", f"out.{ending}").exit_code == 0
    done = run("tally", f"out.{ending}", "--list")
    assert done.exit_code == 0
    assert "3 investigations" in done.stdout


def test_explain_says_terms_places_and_concepts(run: Run, model_folder: Path) -> None:
    text = "The boss kept her passport and she had to work in his factory, but he never beat her."
    write_jsonl(Path("in.jsonl"), [{"id": "a", "text": text, "lang": "en"}])
    output = run("explain", "in.jsonl", "-m", model_folder, "--terms", 3).stdout
    label = json.loads(run("predict", "in.jsonl", "-m", model_folder).stdout)["label"]
    assert output.startswith(f"a: {label} 0.")
    assert "indicator: document_retention (boss kept her passport)" in output
    assert "not: violence (beat)" in output
    places = re.findall(r"^ +(?:for|against) +(\S+) \(word\) .* (\d+)-(\d+)", output, re.MULTILINE)
    assert places
    assert all(text[int(start) : int(end)].lower() == term for term, start, end in places)
    assert len(re.findall(r"^ +for ", output, re.MULTILINE)) == 3
    *parts, total = map(float, re.findall(r"([+-]\d+\.\d\d)", output))
    assert sum(parts) == pytest.approx(total, abs=0.05)


def test_explain_as_json_lines_and_as_page(run: Run, model_folder: Path) -> None:
    texts = ["The boss <b>kept</b> her passport & wages.", "Elle a été payée chaque mois et libre de partir."]
    write_jsonl(Path("in.jsonl"), [{"id": str(i), "text": text} for i, text in enumerate(texts)])
    arguments = ("explain", "in.jsonl", "-m", model_folder, "--format", "jsonl", "--terms", 2, "--html", "e.html")
    done = run(*arguments)
    assert done.exit_code == 0
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["id"] for record in records] == ["0", "1"]
    for record in records:
        assert "text" not in record
        assert 1 <= len(record["evidence"]["for"]) <= 2
    page = Path("e.html").read_text(encoding="utf-8")
    assert "<b>kept</b>" not in page
    bare = " ".join(html.unescape(re.sub("<[^>]*>", "", page)).split())
    assert all(text in bare for text in texts)
    assert run(*arguments).exit_code == 2


def test_explain_names_bad_records_and_goes_on(run: Run, model_folder: Path) -> None:
    lines = ['{"id": "a", "text": "The boss kept her passport."}', '{"id": "b"}', '{"id": "c", "text": "Free to go."}']
    done = run("explain", "-", "-m", model_folder, "--format", "jsonl", stdin="\n".join(lines))
    assert done.exit_code == 1
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["a", "c"]
    assert "1 records could not be used" in done.stderr
    assert run("explain", "-", "-m", model_folder, "--strict", stdin="\n".join(lines)).exit_code == 2
