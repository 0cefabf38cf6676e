"""Rates as they stand in a workload file."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigError
from penstock.workload.config import dump, loads, restore
from penstock.workload.rates import Ramp, Rate, RatePhase


def read(rate, more=""):
    text = f"target: mem://x/\nrate: {rate}\nworkload: [{{op: list, path: p/}}]\n{more}\n"
    return loads(text, label="w.yaml", environ={})


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("max", None),
        ("{ops_per_second: 1500.5, arrivals: uniform}", Rate(ops_per_second=1500.5, arrivals="uniform")),
        (
            "[{for: 30s, ops_per_second: 1000}, {for: 1m, ops_per_second: {from: 0, to: 50}}]",
            Rate(
                phases=(
                    RatePhase(seconds=30.0, ops_per_second=1000.0),
                    RatePhase(seconds=60.0, ops_per_second=Ramp(begin=0.0, end=50.0)),
                )
            ),
        ),
        (
            "{arrivals: uniform, phases: [{for: 1s, ops_per_second: 0}, {ops_per_second: 7}]}",
            Rate(
                arrivals="uniform",
                phases=(RatePhase(seconds=1.0, ops_per_second=0.0), RatePhase(ops_per_second=7.0)),
            ),
        ),
    ],
)
def test_rates_are_read_and_written_back(text, rate):
    config = read(text)
    assert config.rate == rate
    assert restore(dump(config)) == config


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("min", "write max, a mapping such as"),
        ("500", "write max, a mapping such as"),
        ("[]", "the list is empty"),
        ("{arrivals: poisson}", "write either ops_per_second or phases"),
        ("{ops_per_second: 5, phases: [{ops_per_second: 5}]}", "write either"),
        ("[{ops_per_second: 5}, {for: 1s, ops_per_second: 5}]", "only the last phase may be without for"),
        ("[{for: 1s, ops_per_second: 0}]", "above 0"),
        ("[{for: 0s, ops_per_second: 5}]", "rate"),
        ("[{for: 1s, ops_per_second: {from: 5}}]", "end or to is missing"),
        ("[{for: 1s, rate: 5}]", "ops_per_second"),
        ("{ops_per_second: -5}", "negative"),
    ],
)
def test_what_is_no_rate_is_refused_with_its_place(text, remedy):
    with pytest.raises(ConfigError, match=r"w\.yaml:2:") as caught:
        read(text)
    assert remedy in str(caught.value)


def test_the_run_takes_as_long_as_its_phases_unless_it_says_otherwise():
    phases = "[{for: 30s, ops_per_second: 1}, {for: 1m, ops_per_second: 2}]"
    assert read(phases).duration == 90
    assert read(phases, "duration: 20s").duration == 20
    assert read("[{for: 30s, ops_per_second: 1}, {ops_per_second: 2}]").duration == 60
    assert read("{ops_per_second: 1}").duration == 60


rates = st.builds(
    Rate,
    arrivals=st.sampled_from(["poisson", "uniform"]),
    phases=st.lists(
        st.builds(
            RatePhase,
            seconds=st.floats(0.001, 1e6),
            ops_per_second=st.floats(0.001, 1e6) | st.builds(Ramp, begin=st.floats(0, 1e6), end=st.floats(0.001, 1e6)),
        ),
        min_size=1,
        max_size=4,
    ).map(tuple),
)


@given(rates)
def test_every_rate_survives_a_plan(rate):
    config = read("max")
    config = attrs.evolve(config, rate=rate)
    assert restore(dump(config)) == config
    assert rate.text.count("then") == len(rate.phases) - 1
