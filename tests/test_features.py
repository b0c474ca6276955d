"""The families of features against slow and plain ways to compute the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import FeatureUnion

from conftest import CORPUS
from tipnlp.cases import Case
from tipnlp.counting import count_entries, count_tokens
from tipnlp.features import ConceptPairs, Concepts, Subwords, WordPairs, Words, find_negated, get_finder
from tipnlp.hashing import HashIndex, combine, hash_substrings, mix
from tipnlp.preprocess import Preprocessor
from tipnlp.reading import read_cases
from tipnlp.tokens import TokenBatch
from tipnlp.weighting import FeatureFamilies, HashedFeatures

FAMILIES: list[HashedFeatures] = [Words(), WordPairs(), Subwords(), Concepts(), ConceptPairs()]


def make_batch(*texts: str) -> TokenBatch:
    return Preprocessor().transform([Case(id="", text=text, lang="en") for text in texts])


@given(words=st.lists(st.text(max_size=8), min_size=1, max_size=6))
def test_substrings_are_hashed_alike_wherever_they_stand(words: list[str]) -> None:
    hashes, counts = hash_substrings(words, 3, 5)
    by_hash: dict[int, str] = {}
    ends = np.cumsum(counts)
    for word, end, count in zip(words, ends, counts, strict=True):
        marked = f"<{word}>"
        parts = [marked[i : i + n] for i in range(len(marked)) for n in (3, 4, 5) if i + n <= len(marked)]
        assert count == len(parts)
        for part, value in zip(parts, hashes[end - count : end].tolist(), strict=True):
            assert by_hash.setdefault(value, part) == part


def test_hashes_do_not_collide_on_the_corpus() -> None:
    batch = Preprocessor().transform(list(read_cases([CORPUS]))[:400])
    texts = batch.table.texts
    hashes, _ = hash_substrings(texts, 3, 5)
    parts = {f"<{t}>"[i : i + n] for t in texts for n in (3, 4, 5) for i in range(len(t) + 3 - n)}
    assert len(np.unique(hashes)) == len(parts)


def test_mixing_is_a_bijection_and_order_counts() -> None:
    values = np.arange(100_000, dtype=np.uint64)
    assert len(np.unique(mix(values))) == len(values)
    assert combine(values[:1], values[1:2]) != combine(values[1:2], values[:1])


SOME_HASHES = st.integers(0, 50) | st.integers(2**64 - 50, 2**64 - 1) | st.integers(0, 2**64 - 1)


@given(kept=st.sets(SOME_HASHES, max_size=20), wanted=st.lists(SOME_HASHES, max_size=30))
def test_hashes_are_found_where_they_are_kept(kept: set[int], wanted: list[int]) -> None:
    ordered = list(kept)
    wanted += ordered[:5]
    found = HashIndex(np.array(ordered, dtype=np.uint64)).find(np.array(wanted, dtype=np.uint64))
    assert found.tolist() == [ordered.index(w) if w in kept else -1 for w in wanted]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_small_windows_fit_and_transform_like_one_large(
    family: HashedFeatures, small_corpus: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Preprocessor().transform([replace(c, group=f"g{i // 3}") for i, c in enumerate(small_corpus)])
    whole = clone(family).fit(batch)
    with monkeypatch.context() as patch:
        patch.setattr("tipnlp.weighting.WINDOW", 7)
        parts = clone(family).fit(batch)
        in_windows = parts.transform(batch)
    assert np.array_equal(parts.hashes_, whole.hashes_)
    assert np.array_equal(parts.idf_, whole.idf_)
    difference = abs(in_windows - whole.transform(batch))
    assert difference.max() < 1e-6


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_scores_are_those_of_the_matrix(family: HashedFeatures, small_corpus: list[Case]) -> None:
    batch = Preprocessor().transform(small_corpus)
    fitted = clone(family).set_params(weight=0.3).fit(batch)
    coefficients = np.random.default_rng(0).normal(size=(len(fitted.hashes_), 3))
    assert np.allclose(fitted.score(batch, coefficients), fitted.transform(batch) @ coefficients, atol=1e-5)


@pytest.mark.parametrize("family", [Words(), WordPairs()], ids=lambda family: type(family).__name__)
def test_unseen_share_is_nothing_for_seen_texts_and_all_for_strange_ones(family: HashedFeatures) -> None:
    seen = ["the boss took the passport", "the boss took his passport"]
    fitted = clone(family).set_params(min_groups=1).fit(make_batch(*seen))
    shares = fitted.measure_unseen(make_batch(*seen, "zq xj vw", "the boss took zq", ""))
    assert shares[:2].tolist() == [0, 0]
    assert shares[2] == 1
    assert 0 < shares[3] < 1
    assert shares[4] == 0


WORDS = st.lists(
    st.sampled_from(["the", "boss", "took", "his", "passport", "and", "paid", "nothing", ".", "not"]), max_size=15
)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(WORDS.map(" ".join), min_size=1, max_size=5))
def test_counts_equal_plain_counting(texts: list[str]) -> None:
    batch = make_batch(*texts)
    documents = [batch.read_texts(i) for i in range(len(batch))]
    for matrix, count in (
        (count_tokens(batch), Counter),
        (WordPairs(min_groups=1).fit(batch)._count_units(batch), lambda tokens: Counter(pairwise(tokens))),
    ):
        expected = [count(tokens) for tokens in documents]
        assert matrix.shape[0] == len(texts)
        assert matrix.nnz == sum(map(len, expected))
        assert [sorted(matrix[i].data.tolist()) for i in range(len(texts))] == [sorted(c.values()) for c in expected]


@given(
    entries=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=40),
    # A row times a column is a number of 32 bits, or of more.
    width=st.sampled_from([7, 2**32 // 5, 2**31 - 1]),
)
def test_entries_are_counted_in_any_order(entries: list[tuple[int, int]], width: int) -> None:
    entries = [(row, column if column < 4 else width - 7 + column) for row, column in entries]
    rows, columns = np.array(entries, dtype=np.int64).reshape(-1, 2).T
    matrix = count_entries(rows, columns, (5, width))
    expected = Counter(entries)
    assert matrix.has_sorted_indices
    assert matrix.nnz == len(expected)
    assert all(matrix[row, column] == count for (row, column), count in expected.items())


def test_families_side_by_side_are_those_of_scikit_learn(
    small_corpus: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Preprocessor().transform(small_corpus)
    members = [(type(family).__name__, clone(family)) for family in FAMILIES]
    expected = FeatureUnion(members).fit_transform(batch)
    monkeypatch.setattr("tipnlp.weighting.WINDOW", 7)
    matrix = FeatureFamilies(members).fit_transform(batch)
    assert matrix.dtype == np.float32
    assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
    assert matrix.shape == expected.shape
    assert abs(matrix - expected).max() < 1e-6


def test_subwords_are_those_of_the_tokens_added_up() -> None:
    batch = make_batch("passport", "passports", "passport passports passport")
    fitted = Subwords(min_groups=1).fit(batch)
    one, other, both = fitted.transform(batch).toarray().astype(np.float64)
    lengths = [float(np.sqrt(fitted._weigh_units(batch.table)[row, 0])) for row in batch.rows[:2]]
    expected = np.log(3) * lengths[0] * one + np.log(2) * lengths[1] * other
    assert np.allclose(both, expected / np.hypot(np.log(3) * lengths[0], np.log(2) * lengths[1]), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_shares_of_places_add_up_to_the_score(family: HashedFeatures, small_corpus: list[Case]) -> None:
    batch = Preprocessor().transform(small_corpus)
    fitted = clone(family).set_params(weight=0.3).fit(batch)
    coefficients = np.random.default_rng(0).normal(size=(len(fitted.hashes_), 2))
    shared = fitted.share_scores(batch, coefficients)
    total = np.zeros((len(batch), 2))
    np.add.at(total, batch.documents[shared.starts], shared.values)
    assert len(shared.starts)
    assert np.allclose(total, fitted.score(batch, coefficients))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: type(f).__name__)
def test_families_obey_scikit_learn(family: HashedFeatures) -> None:
    batch = make_batch("the boss took his passport", "the boss took her passport and kept the money")
    with pytest.raises(NotFittedError):
        clone(family).transform(batch)
    fitted = clone(family).set_params(min_groups=1).fit(batch)
    matrix = fitted.transform(batch)
    assert matrix.shape == (2, len(fitted.hashes_))
    # The length is that of the units, tokens here: subwords that tokens share make the row longer.
    lengths = np.sqrt(matrix.multiply(matrix).sum(axis=1))
    assert (lengths > 1 - 1e-6).all() if isinstance(family, Subwords) else np.allclose(lengths, 1)
    assert (clone(family).set_params(min_groups=1, weight=0.5).fit_transform(batch) != matrix * 0.5).nnz == 0
    assert fitted.transform(make_batch("", "xyzzy")).nnz == 0
    assert len(np.unique(fitted.hashes_)) == len(fitted.hashes_)
    assert (np.diff(fitted.idf_) >= 0).all()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: type(f).__name__)
def test_rows_do_not_depend_on_their_neighbours(family: HashedFeatures) -> None:
    cases = list(read_cases([CORPUS]))[::40]
    fitted = clone(family).fit(Preprocessor().transform(cases))
    together = fitted.transform(Preprocessor().transform(cases))
    for i, case in enumerate(cases[:10]):
        alone = fitted.transform(Preprocessor().transform([case]))
        assert np.allclose(alone.toarray(), together[i].toarray())


def test_groups_are_counted_not_texts() -> None:
    cases = [
        Case(id="", text=t, lang="en", group=g)
        for t, g in (("alpha", "x"), ("alpha", "x"), ("beta", "y"), ("beta", "z"))
    ]
    fitted = Words(min_groups=2).fit(Preprocessor().transform(cases))
    assert fitted.transform(make_batch("alpha", "beta")).sum(axis=1).ravel().tolist() == [[0.0, 1.0]]


def test_pairs_know_order() -> None:
    batch = make_batch("the foreman kept the passports", "the passports the foreman kept")
    matrix = ConceptPairs(min_groups=1).fit_transform(batch)
    assert (matrix[0] != matrix[1]).nnz > 0
    same = Concepts(min_groups=1).fit_transform(make_batch("foreman. passports", "passports. foreman"))
    assert (same[0] != same[1]).nnz == 0


def test_negation_reaches_some_tokens_within_a_sentence() -> None:
    batch = make_batch("she was not paid and had a passport", "no. passport")
    hits = get_finder().find_concepts(batch)
    negated = find_negated(hits, batch, 4)
    words = [batch.table.texts[batch.rows[s]] for s in hits.starts[negated]]
    assert "passport" not in words
    assert (hits.documents[negated] == 0).all()
