"""Random configurations, each run on files: none fails, shares are met, cleanup leaves what was there."""

from __future__ import annotations

import tempfile
from math import sqrt
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.engine.run import execute
from penstock.report.live import open_view
from penstock.workload.config import Loaded, loads

few = settings(
    max_examples=max(6, settings().max_examples // 16),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

fewer = settings(few, max_examples=max(3, settings().max_examples // 32))

sizes = st.sampled_from(
    [
        0,
        1,
        "4KiB",
        {"uniform": {"min": 1, "max": "64KiB"}},
        {"lognormal": {"mean": 2000, "std_dev": 900, "min": 1, "max": 9000}},
        {"choice": [{"size": 10, "weight": 3}, {"size": "20KiB", "weight": 1}]},
    ]
)
selections = st.sampled_from(
    ["uniform", "sequential", {"zipf": {"theta": 0.9}}, {"hot_set": {"fraction": 0.2, "probability": 0.8}}]
)
weights = st.sampled_from([1, 2, 5])
reads = st.sampled_from(["d/*", "d/prepared-*"])


def operation(kind, **fields):
    return st.fixed_dictionaries({"op": st.just(kind), "weight": weights} | fields)


steady = st.one_of(
    operation("get", path=reads, selection=selections),
    operation("get", path=reads, range=st.just({"size": 100, "offset": "random"})),
    operation("put", path=st.sampled_from(["p/", "q/r/"]), size=sizes, fill=st.sampled_from(["random", "zero"])),
    operation("stat", path=reads, selection=selections),
    operation("list", path=st.sampled_from(["d/", ""])),
    operation("copy", path=reads, to=st.just("c/")),
)
ending = st.one_of(
    operation("delete", path=st.just("gone/*")), operation("get", path=st.just("d/*"), selection=st.just("each_once"))
)


#: What makes several legs of a run, of 100 ms each, and ends them early.
legs = st.fixed_dictionaries(
    {},
    optional={
        "repeat": st.just(2),
        "stop_when_stable": st.just({"window": "500ms", "tolerance": 0.9, "at_most": "500ms"}),
        "cooldown": st.just("50ms"),
        "stages": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["one", "two"]), "duration": st.just("100ms")},
                optional={
                    "workload": st.lists(steady, min_size=1, max_size=2),
                    "barrier": st.sampled_from(["all", "best_effort"]),
                    "stop_when_stable": st.just("off"),
                    "concurrency": st.integers(1, 4),
                },
            ),
            min_size=1,
            max_size=2,
            unique_by=lambda stage: stage["name"],
        ),
    },
)


@st.composite
def configurations(draw, *, also=None, whole=False):
    """A configuration as plain data; its target is put in by who runs it."""
    made = {
        "duration": "200ms",
        "concurrency": draw(st.integers(1, 6)),
        "processes": 1,
        "seed": draw(st.integers(0, 99)),
        "cleanup": True,
        "warmup": draw(st.sampled_from([0, "50ms"])),
        "workload": [
            *draw(st.lists(steady, min_size=1, max_size=4)),
            *(draw(st.lists(also, max_size=2)) if also is not None else []),
        ],
        "prepare": {
            "ensure_objects": [
                {"path": "d/", "count": draw(st.integers(1, 12)), "size": draw(sizes)},
                {"path": "gone/", "count": draw(st.sampled_from([1, 20])), "size": 10},
            ]
        },
    }
    rate = draw(st.sampled_from([None, {"ops_per_second": 400}, {"ops_per_second": 300, "arrivals": "uniform"}]))
    verify = draw(st.sampled_from([None, "size", "checksum", "content"]))
    if whole:
        return made | ({"rate": rate} if rate else {}) | ({"verify": verify} if verify else {}) | draw(legs)
    return made | ({"rate": rate} if rate else {}) | ({"verify": verify} if verify else {})


def run(made, where, **changes):
    text = yaml.safe_dump(made | {"target": f"file://{where}/data/", "results_dir": f"{where}/out"} | changes)
    Path(where, "out").mkdir(exist_ok=True)
    config = loads(text, label="w.yaml", environ={})
    loaded = Loaded(config, text, "random")
    return execute(loaded, command_line="test", view=lambda directory: open_view(None, quiet=True))


def tree(where):
    return {path: path.read_bytes() for path in Path(where).rglob("*") if path.is_file()}


@few
@given(configurations(also=ending))
def test_every_valid_configuration_runs_and_leaves_what_was_there(made):
    with tempfile.TemporaryDirectory() as where:
        data = Path(where, "data")
        (data / "d").mkdir(parents=True)
        (data / "mine").write_text("not the run's")
        before = tree(data)
        outcome = run(made, where).outcome
        assert (outcome.status, outcome.totals.errors) == ("done", 0), (outcome.reason, outcome.errors.most_frequent())
        assert tree(data) == before


@fewer
@given(configurations(whole=True))
def test_stages_and_repeats_run_one_after_the_other(made):
    if "stop_when_stable" in made:
        made.pop("duration")
        made["live_interval"] = "100ms"
        for stage in made.get("stages", ()):
            stage["stop_when_stable"] = "off"
    with tempfile.TemporaryDirectory() as where:
        data = Path(where, "data")
        (data / "d").mkdir(parents=True)
        (data / "mine").write_text("not the run's")
        before = tree(data)
        job = run(made, where).job
        assert (job.status, list(job.missing)) == ("done", []), job.reason
        assert len(job.legs) == made.get("repeat", 1) * max(len(made.get("stages", ())), 1)
        for leg in job.legs:
            assert leg.outcome.totals.errors == 0, leg.outcome.errors.most_frequent()
            assert leg.outcome.totals.count > 0
        assert tree(data) == before


@few
@given(configurations())
def test_shares_are_those_of_the_weights(made):
    for entry in made["workload"]:
        entry.pop("selection", None)
    with tempfile.TemporaryDirectory() as where:
        outcome = run(made, where).outcome
        found = {name: outcome.totals.operation(name).count for name in outcome.totals.operations()}
        total = sum(entry["weight"] for entry in made["workload"])
        planned: dict[str, float] = {}
        for entry in made["workload"]:
            kind = "GET_RANGE" if "range" in entry else entry["op"].upper()
            planned[kind] = planned.get(kind, 0) + entry["weight"] / total
        pages = found.get("LIST", 0)
        # A listing of several pages is several calls, so that shares are only those of the rest where there is one.
        count = sum(found.values()) - pages
        rest = sum(share for kind, share in planned.items() if kind != "LIST")
        for kind, share in planned.items():
            if kind != "LIST" and rest:
                expected = count * share / rest
                assert abs(found.get(kind, 0) - expected) <= 5 * sqrt(expected + 1) + 6
