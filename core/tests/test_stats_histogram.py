"""Histograms against the hdrhistogram package and against exact percentiles."""

from __future__ import annotations

import json
import statistics

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from penstock.stats.histogram import HIGHEST, LIMIT, Histogram

# Every octave is as likely as every other, and the edges of buckets more likely than the rest.
durations = st.one_of(
    st.integers(0, 5000),
    st.integers(0, 41).flatmap(lambda power: st.integers(1 << power, (2 << power) - 1)),
    st.integers(0, 41).flatmap(lambda power: st.sampled_from([(1 << power) - 1, 1 << power, (1 << power) + 1])),
    st.sampled_from([0, 1, 1023, 1024, 1025, 2047, 2048, 2049, HIGHEST, HIGHEST + 1, LIMIT - 1]),
)
batches = st.lists(durations, min_size=1, max_size=60)


def made(values):
    histogram = Histogram()
    histogram.record(np.array(values, dtype=np.int64))
    return histogram


def packaged(values):
    hdr = HdrHistogram(1, HIGHEST, 3)
    for value in values:
        assert hdr.record_value(value)
    return hdr


def dense(histogram):
    counts = np.zeros(33 * 1024, dtype=np.int64)
    index, found = histogram.cells()
    counts[index] = found
    return counts


@given(batches)
def test_counts_are_those_of_the_package(values):
    assert dense(made(values)).tolist() == list(packaged(values).counts)


def test_counts_are_those_of_the_package_in_a_large_batch():
    values = np.random.default_rng(3).lognormal(14, 2.5, 20_000).astype(np.int64)
    assert dense(made(values)).tolist() == list(packaged(values.tolist()).counts)


@given(batches)
def test_the_package_reads_what_we_encode(values):
    theirs = HdrHistogram.decode(made(values).encode())
    mine = dense(made(values))
    assert theirs.total_count == len(values)
    assert list(theirs.counts) == mine.tolist()
    for percent in (50, 99, 100):
        assert theirs.get_value_at_percentile(percent) == packaged(values).get_value_at_percentile(percent)


@given(batches)
def test_we_read_what_the_package_encodes(values):
    decoded = Histogram.decode(packaged(values).encode().decode())
    assert dense(decoded).tolist() == dense(made(values)).tolist()
    assert decoded.count == len(values)
    assert decoded.minimum <= min(values)
    assert decoded.maximum >= max(values)
    assert decoded.mean == pytest.approx(np.mean(values), rel=1e-3, abs=1)


def test_an_empty_histogram_survives_encoding():
    empty = Histogram.decode(Histogram().encode())
    assert empty == Histogram()
    assert (empty.count, empty.mean, empty.stdev, empty.percentile(99)) == (0, 0, 0, 0)


@pytest.mark.parametrize("text", ["", "HISTF", "not base64 at all!", "HISTFAAAAAx4nJNpmSzMwAABE", "QUJDREVGR0hJSktM"])
def test_text_that_is_no_histogram_is_refused(text):
    with pytest.raises(ValueError, match="histogram"):
        Histogram.decode(text)


@pytest.mark.parametrize(("lowest", "digits"), [(1, 2), (1000, 3)])
def test_another_layout_is_refused(lowest, digits):
    hdr = HdrHistogram(lowest, HIGHEST, digits)
    hdr.record_value(5000)
    with pytest.raises(ValueError, match="layout"):
        Histogram.decode(hdr.encode().decode())


@given(batches, st.integers(0, 100_000))
def test_percentiles_are_within_three_digits_of_the_exact_ones(values, thousandths):
    rank = max(1, -(-len(values) * thousandths // 100_000))
    exact = sorted(values)[rank - 1]
    found = made(values).percentile(thousandths / 1000)
    assert exact <= found <= exact + exact // 1000
    assert found <= max(values)


@pytest.mark.parametrize(
    ("count", "percent", "rank"),
    [(1000, 99.9, 999), (1000, 99.8, 998), (10, 50, 5), (3, 50, 2), (1, 0, 1), (10, 90, 9), (10, 91, 10), (7, 100, 7)],
)
def test_ranks_are_exact(count, percent, rank):
    assert made(range(1, count + 1)).percentile(percent) == rank


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan")])
def test_what_is_no_percentile_is_refused(percent):
    with pytest.raises(ValueError, match=r"percentile|Fraction"):
        made([1]).percentile(percent)


def test_percentiles_stop_at_the_maximum():
    histogram = made([1_000_001] * 10)
    assert histogram.percentiles([0, 50, 100]) == [1_000_001] * 3


@given(st.lists(batches, max_size=5), st.lists(st.booleans(), min_size=5, max_size=5))
def test_merging_is_concatenation(parts, compacted):
    total = Histogram()
    for part, compact in zip(parts, compacted, strict=False):
        one = made(part)
        if compact:
            one.compact()
            total.compact()
        total.merge(one)
    whole = made([value for part in parts for value in part]) if parts else Histogram()
    assert total == whole
    assert total.stdev == whole.stdev


@given(batches)
def test_recording_in_pieces_is_recording_at_once(values):
    pieces = Histogram()
    for value in values:
        pieces.record([value])
        pieces.compact()
    assert pieces == made(values)


@given(batches)
def test_moments_are_exact(values):
    histogram = made(values)
    assert (histogram.minimum, histogram.maximum, histogram.total) == (min(values), max(values), sum(values))
    assert histogram.mean == sum(values) / len(values)
    assert histogram.squares == sum(value * value for value in values)
    assert histogram.stdev == pytest.approx(statistics.pstdev(values), rel=1e-9)


@given(batches)
def test_without_squares_the_deviation_is_close(values):
    message = made(values).to_message()
    del message["squares"]
    for other in (Histogram.from_message(message), Histogram.decode(made(values).encode())):
        assert other.stdev == pytest.approx(np.std(values), rel=0.01, abs=max(values) * 1e-3 + 1)


def test_values_outside_the_range_are_counted_at_its_ends():
    histogram = made([-5, LIMIT, LIMIT * 9])
    assert dense(histogram)[[0, -1]].tolist() == [1, 2]
    assert histogram.count == 3
    assert histogram.percentile(100) == LIMIT * 9
    assert HdrHistogram.decode(histogram.encode()).total_count == 3


def test_recording_nothing_changes_nothing():
    histogram = Histogram()
    histogram.record(np.zeros(0, np.int64))
    assert histogram == Histogram()


@given(batches)
def test_messages_are_exact(values):
    sent = made(values)
    assert Histogram.from_message(json.loads(json.dumps(sent.to_message()))) == sent


def test_counts_beyond_32_bits_survive_messages_and_encoding():
    histogram = made([7, 900_000])
    for _ in range(33):
        histogram.merge(Histogram.from_message(histogram.to_message()))
    assert histogram.count == 2**34
    assert Histogram.from_message(json.loads(json.dumps(histogram.to_message()))) == histogram
    assert HdrHistogram.decode(histogram.encode()).total_count == 2**34


@pytest.mark.parametrize(
    "change",
    [{"index": "AQABAA=="}, {"counts": "AA=="}, {"counts": "AAA="}, {"index": "//8="}],
    ids=["repeated", "zero", "too many counts", "beyond the end"],
)
def test_messages_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError, match="histogram"):
        Histogram.from_message(made([5]).to_message() | change)


def test_a_compact_histogram_is_small():
    histogram = made(np.random.default_rng(1).lognormal(14, 0.7, 1000).astype(np.int64))
    histogram.compact()
    assert histogram._index.nbytes + histogram._counts.nbytes < 3000


def test_distribution_ends_at_everything_and_the_maximum():
    fractions, values = made([10, 20, 20, 5_000_001]).distribution()
    assert fractions.tolist() == [0.25, 0.75, 1.0]
    assert values.tolist() == [10, 20, 5_000_001]


def test_counts_go_beyond_32_bits_while_they_are_merged():
    many = Histogram.of([5, 4000], [2**32 - 10, 7], total=1, squares=1, minimum=5, maximum=8000)
    found = Histogram()
    for _ in range(3):
        found.merge(many)
        found.record(np.array([5, 5, 5000], dtype=np.int64))
    assert found.count == 3 * (many.count + 3)
    index, counts = found.cells()
    assert dict(zip(index.tolist(), counts.tolist(), strict=True))[5] == 3 * (2**32 - 8)
    assert int(counts.sum()) == found.count


@given(batches, batches, st.booleans())
def test_what_is_compact_or_came_in_a_message_goes_on_growing(first, second, crowded):
    first = [*first, *range(300)] if crowded else first  # crowded ones are compact in another way
    for before in (made(first), Histogram.from_message(made(first).to_message())):
        before.compact()
        before.compact()
        assert before == made(first)
        before.record(np.array(second, dtype=np.int64))
        assert before == made([*first, *second])


def test_neighbours_take_a_byte_each():
    crowded = made([value for value in range(1000) for _ in range(3)])
    assert crowded.memory >= 4000
    crowded.compact()
    assert crowded.memory == 1000
    assert crowded.percentiles((50, 100)) == [499, 999]


@given(st.lists(batches, min_size=1, max_size=40), st.integers(0, 40))
def test_what_comes_as_messages_adds_up_in_any_order_of_looking(parts, looked):
    messages = [made(part).to_message() for part in parts]
    found = Histogram()
    for number, message in enumerate(messages):
        found.merge(Histogram.from_message(message))
        if number == looked:
            assert found.percentile(100) == max(value for part in parts[: number + 1] for value in part)
    assert found == made([value for part in parts for value in part])
    # What was merged is shared with nobody.
    found.record(np.array([1, 2, 3], dtype=np.int64))
    again = Histogram.from_message(messages[0])
    assert again == made(parts[0])


def test_merged_histograms_with_far_outliers_stay_small():
    rng = np.random.default_rng(2)
    found = Histogram()
    for _ in range(100):
        values = np.concatenate((rng.integers(8000, 9000, 200), rng.integers(1, 10**9, 2)))
        found.merge(Histogram.from_message(made(values).to_message()))
    assert found.count == 20_200
    assert found.memory < 12_000  # as a window it takes tens of thousands
