"""Training texts are found again among test cases, changed or not; nothing in the file can be read or run."""

from __future__ import annotations

import hashlib
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Run, read_jsonl, write_jsonl
from tipnlp.cases import Case
from tipnlp.errors import UnsafeModelError
from tipnlp.manifest import MANIFEST_FILE, SEEN_FILE
from tipnlp.model import load_seen
from tipnlp.overlap import split_words
from tipnlp.seen import FEWEST_SEQUENCES, SKETCH, SeenTexts, find_leaks, find_seen, fingerprint_texts

NEWS = (
    "Twelve seasonal workers told the inspectors that the farmer kept their identity papers in a safe, paid them"
    " nothing for three months and housed them in a barn without water; two men have been charged with offences."
)
# The same topic, in other words.
OTHER = (
    "Inspectors found twelve workers on a farm. Their papers had been taken away when they arrived, wages were never"
    " paid and the barn they slept in had no water. The farmer and his brother were charged on Monday by the court."
)


def share(seen: str, asked: str) -> float:
    return float(find_seen(fingerprint_texts([seen]), [asked])[0])


@pytest.fixture(scope="module")
def long_texts(small_corpus: list[Case]) -> list[str]:
    texts = [case.text for case in small_corpus if len(split_words(case.text)) > 60]
    assert len(texts) > 50
    return texts


@pytest.fixture(scope="module")
def seen(small_corpus: list[Case]) -> SeenTexts:
    return fingerprint_texts([case.text for case in small_corpus])


def test_every_training_text_is_found_whole(seen: SeenTexts, small_corpus: list[Case]) -> None:
    assert find_seen(seen, [case.text for case in small_corpus]).tolist() == [1.0] * len(small_corpus)


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        str.lower,
        lambda text: re.sub(r"[^\w\s]", " ", text),
        lambda text: f"  «{text}»!!! \n",
        lambda text: text.replace(" ", "\n\t\u00a0"),
    ],
)
def test_case_punctuation_and_white_space_do_not_hide_a_text(change: object, seen: SeenTexts) -> None:
    assert callable(change)
    assert share(NEWS, change(NEWS)) == 1.0
    assert find_seen(seen, [change(NEWS)]).tolist() == [0.0]


def test_a_few_words_cut_or_changed_do_not_hide_a_text(seen: SeenTexts, long_texts: list[str]) -> None:
    rng = random.Random(0)
    changed = []
    for text in long_texts:
        words = text.split()
        place = rng.randrange(5, len(words) - 5)
        changed += [
            " ".join(words[4:]),
            " ".join(words[:-4]),
            " ".join([*words[:place], "altogether", *words[place + 1 :]]),
            " ".join([*words[:place], *words[place + 2 :]]),
            "A note that somebody wrote at the top. " + text,
        ]
    shares = find_seen(seen, changed)
    assert (shares >= 0.5).mean() > 0.98
    assert 0.7 < shares.mean() < 1


def test_other_texts_of_the_topic_are_not_taken_for_seen(small_corpus: list[Case]) -> None:
    assert share(NEWS, OTHER) == share(OTHER, NEWS) == 0.0
    first, second = small_corpus[::2], small_corpus[1::2]
    assert not find_seen(fingerprint_texts([c.text for c in first]), [c.text for c in second]).any()


def test_half_a_text_with_another_half_is_another_text() -> None:
    words = NEWS.split()
    half = " ".join(words[: len(words) // 2])
    assert share(NEWS, f"{half} {OTHER} {OTHER[::-1]}") == 0.0


def test_share_is_near_the_share_of_all_sequences(long_texts: list[str]) -> None:
    def list_sequences(text: str) -> set[tuple[str, ...]]:
        words = split_words(text)
        return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}

    differences = []
    for text in long_texts:
        shorter = " ".join(text.split()[: -len(text.split()) // 5])
        one, two = list_sequences(text), list_sequences(shorter)
        differences.append(share(text, shorter) - len(one & two) / len(one | two))
    # Sketches of 32 hashes: a standard error of 0.07 for one text.
    assert abs(float(np.mean(differences))) < 0.03
    assert max(map(abs, differences)) < 0.3


def test_short_texts_are_found_word_for_word_only() -> None:
    short = "They took her passport and locked the door"
    assert len(split_words(short)) - 4 < FEWEST_SEQUENCES
    assert share(short, "they took her PASSPORT, and locked the door.") == 1.0
    assert share(short, "They took her passport and locked the gate") == 0.0
    assert share(NEWS, short) == share(NEWS, "passport") == share(NEWS, "...") == 0.0


def test_nearest_of_several_texts_counts() -> None:
    words = NEWS.split()
    near, nearer = " ".join(words[6:]), " ".join(words[2:])
    shares = [float(find_seen(fingerprint_texts(texts), [NEWS])[0]) for texts in ([near], [nearer], [near, nearer])]
    assert shares[0] < shares[1] == shares[2] < 1


def test_leaks_name_the_cases() -> None:
    cases = [Case(id="same", text=NEWS), Case(id="other", text=OTHER), Case(id="near", text=NEWS + " And on.")]
    leaks = find_leaks(fingerprint_texts([NEWS]), cases)
    assert [leak.case_id for leak in leaks] == ["same", "near"]
    assert leaks[0].share == 1
    assert 0.5 <= leaks[1].share < 1


def test_nothing_seen_and_nothing_asked() -> None:
    assert find_seen(fingerprint_texts([]), [NEWS, ""]).tolist() == [0.0, 0.0]
    assert find_seen(fingerprint_texts([NEWS]), []).tolist() == []
    assert find_leaks(fingerprint_texts([]), []) == []


@settings(deadline=None)
@given(
    texts=st.lists(st.text(max_size=30) | st.lists(st.sampled_from("abcdef"), max_size=40).map(" ".join), max_size=6)
)
def test_every_text_is_found_among_the_seen_and_survives_the_file(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    seen = fingerprint_texts(texts)
    assert seen.sketches.shape == (len(texts), SKETCH)
    assert find_seen(seen, texts).tolist() == [1.0] * len(texts)
    path = tmp_path_factory.mktemp("seen") / "seen.npz"
    seen.save(path)
    loaded = SeenTexts.load(path)
    assert np.array_equal(loaded.words, seen.words)
    assert np.array_equal(loaded.sketches, seen.sketches)


def test_sketch_does_not_depend_on_neighbours(small_corpus: list[Case], seen: SeenTexts) -> None:
    for i in (0, 5, len(small_corpus) - 1):
        alone = fingerprint_texts([small_corpus[i].text])
        assert np.array_equal(alone.sketches[0], seen.sketches[i])
        assert alone.words[0] == seen.words[i]


class Planted:
    """Something that leaves a mark when it is unpickled."""

    def __reduce__(self) -> object:
        return Path.touch, (Path("ran"),)


def write_arrays(path: Path, **arrays: object) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


NUMBERS = np.zeros(2, dtype=np.uint64)
SKETCHES = np.zeros((2, SKETCH), dtype=np.uint64)


@pytest.mark.parametrize(
    "arrays",
    [
        {"words": np.array([Planted(), Planted()], dtype=object), "sketches": SKETCHES},
        {"words": NUMBERS, "sketches": np.array([[Planted()]], dtype=object)},
        {"words": NUMBERS.astype(np.float64), "sketches": SKETCHES},
        {"words": NUMBERS, "sketches": SKETCHES[:1]},
        {"words": NUMBERS, "sketches": SKETCHES[:, :5]},
        {"words": np.array(["passport", "boss"]), "sketches": SKETCHES},
        {"words": NUMBERS},
    ],
)
def test_file_that_holds_something_else_is_refused_and_nothing_runs(
    arrays: dict[str, object], model_folder: Path
) -> None:
    write_arrays(model_folder / SEEN_FILE, **arrays)
    with pytest.raises((ValueError, KeyError)):
        SeenTexts.load(model_folder / SEEN_FILE)
    manifest = json.loads((model_folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    manifest["seen_sha256"] = hashlib.sha256((model_folder / SEEN_FILE).read_bytes()).hexdigest()
    (model_folder / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UnsafeModelError, match=r"seen\.npz: refused"):
        load_seen(model_folder)
    assert not Path("ran").exists()


def test_changed_file_is_refused_by_its_hash(model_folder: Path) -> None:
    write_arrays(model_folder / SEEN_FILE, words=NUMBERS, sketches=SKETCHES)
    with pytest.raises(UnsafeModelError, match="it was changed since it was saved"):
        load_seen(model_folder)


def test_file_holds_no_readable_word(model_folder: Path, small_corpus: list[Case]) -> None:
    # Shorter words occur among random bytes by chance.
    words = {word for case in small_corpus for word in split_words(case.text) if len(word) > 5}
    assert len(words) > 1000
    with np.load(model_folder / SEEN_FILE, allow_pickle=False) as arrays:
        assert sorted(arrays.files) == ["sketches", "words"]
        for name in arrays.files:
            assert arrays[name].dtype == np.uint64
            data = arrays[name].tobytes().lower()
            assert not [word for word in words if word.encode() in data]


def test_evaluating_on_training_data_gives_no_figures(run: Run, model_folder: Path, corpus_file: Path) -> None:
    refused = run("evaluate", corpus_file, "-m", model_folder, "--json", "m.json", "--html", "m.html")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "144 of 144 cases were seen in training" in refused.stderr
    assert "--allow-leak" in refused.stderr
    assert "(the same text)" in refused.stderr
    assert not Path("m.json").exists()
    assert not Path("m.html").exists()
    allowed = run("evaluate", corpus_file, "-m", model_folder, "--allow-leak")
    assert allowed.exit_code == 0
    assert "macro-F1" in allowed.stdout
    assert "seen in training" in allowed.stderr


def test_one_copied_case_is_enough_and_is_named(run: Run, model_folder: Path, corpus_file: Path) -> None:
    copied = read_jsonl(corpus_file)[0]
    records = [
        {"id": "new", "text": NEWS, "label": "forced_labour"},
        {"id": "copy", "text": copied["text"].upper(), "label": copied["label"]},
    ]
    write_jsonl(Path("test.jsonl"), records)
    refused = run("evaluate", "test.jsonl", "-m", model_folder)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "1 of 2 cases" in refused.stderr
    assert "copy" in refused.stderr
    assert copied["text"][:40] not in refused.stderr
    write_jsonl(Path("test.jsonl"), records[:1])
    assert run("evaluate", "test.jsonl", "-m", model_folder).exit_code == 0
