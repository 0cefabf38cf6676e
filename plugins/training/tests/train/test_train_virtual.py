"""Figures by arithmetic: one rank on a clock that passes only where storage or computation takes time."""

import pytest

from penstock.layers.timing import Timing
from penstock_training.train.batches import open_dataset
from penstock_training.train.metrics import checkpoint_figures, figures_of
from penstock_training.train.rank import Block, Rank, Saved, StoppedError
from penstock_training.train.taps import Taps

WORKLOAD = """
model: {{name: small, model_size: 1000000}}
workflow: {{generate_data: true, train: true, evaluation: true, checkpoint: true}}
dataset:
  data_folder: mem://{store}/data
  format: npz
  num_files_train: 40
  num_files_eval: 8
  record_length_bytes: 4096
reader: {{batch_size: 4, batch_size_eval: 2, read_threads: 0}}
train: {{epochs: 2, computation_time: 0.3}}
evaluation: {{eval_time: 0.05}}
checkpoint: {{checkpoint_folder: "mem://{store}/saved", epochs_between_checkpoints: -1, steps_between_checkpoints: 6}}
"""


class Alone:
    """The meeting of one rank. ``stop`` ends the job at the so many-th step."""

    def __init__(self, plan, stop=None):
        self.plan, self.told, self.places = plan, [], []
        self.stop = stop

    def meet(self, place):
        self.places.append(place)
        if self.stop is not None and self.places.count("step") == self.stop:
            raise StoppedError
        if place == "datasets":
            plan = self.plan
            return open_dataset(plan, plan.training), open_dataset(plan, plan.evaluation) if plan.evaluate else None
        return None

    def tell(self, what):
        self.told.append(what)


def run(plan, clock, stop=None):
    meeting, timing = Alone(plan, stop), Timing(clock=clock.read, sleep=clock.sleep)
    with Taps(faults=plan.faults, timing=timing) as taps:
        try:
            Rank(plan, 0, meeting, taps, timing=timing).run()
        except StoppedError:
            meeting.places.append("stopped")
    return meeting


def slowed(seconds):
    return f"penstock.faults={{rules: [{{delay: {{seconds: {seconds}}}, operations: [get]}}]}}"


def figures(meeting, plan):
    blocks = [what for what in meeting.told if isinstance(what, Block)]
    return figures_of(blocks, exclude_start=plan.exclude_start, exclude_end=plan.exclude_end)


@pytest.mark.parametrize("wait", [0.0, 0.01, 0.025, 0.5])
def test_slower_storage_lowers_utilization_as_arithmetic_says(plan, clock, wait):
    job = plan(WORKLOAD.format(store=f"slow{wait}"), slowed(wait))
    found = figures(run(job, clock), job)
    assert [(each.kind, each.epoch) for each in found] == [("train", 1), ("valid", 1), ("train", 2), ("valid", 2)]
    for each in found:
        batch, compute = (4, 0.3) if each.kind == "train" else (2, 0.05)
        # Nothing is read ahead: each sample is one request, and the computation begins when the last has come.
        assert each.au == pytest.approx(compute / (compute + batch * wait))
        assert each.samples_per_second == pytest.approx(batch / (compute + batch * wait))
        (rank,) = each.ranks
        assert rank.samples == rank.steps * batch == (40 if each.kind == "train" else 8)


def test_bytes_are_those_that_were_moved(plan, clock):
    job = plan(WORKLOAD.format(store="bytes"), slowed(0.1))
    meeting = run(job, clock)
    import penstock

    size = sum(info.size for info in penstock.list("mem://bytes/data/train/"))
    for each in figures(meeting, job):
        if each.kind == "train":
            assert each.nbytes == size
            assert each.mib_per_second == pytest.approx(size / 2**20 / (40 * 0.1 + 10 * 0.3))
            assert each.ranks[0].calls == 40


def test_excluded_steps_take_their_whole_time_with_them(plan, clock):
    # The very first get is slow.
    slow = "penstock.faults={rules: [{delay: {seconds: 9}, operations: [get], nth: 1}]}"
    job = plan(WORKLOAD.format(store="first"), slow, "workflow.checkpoint=false")
    first, *_ = figures(run(job, clock), job)
    assert first.au == pytest.approx(1)
    job = plan(
        WORKLOAD.format(store="first"),
        slow,
        "workflow.checkpoint=false",
        "output.metric.exclude_start_steps=0",
    )
    first, *_ = figures(run(job, clock), job)
    assert first.au == pytest.approx(3 / 12)
    assert first.samples_per_second == pytest.approx(40 / 12)
    job = plan(WORKLOAD.format(store="first"), "output.metric.exclude_end_steps=9")
    assert figures(run(job, clock), job)[0].au is None


def test_checkpoints_come_every_so_many_steps_and_split_epochs_into_blocks(plan, clock):
    job = plan(WORKLOAD.format(store="blocks"), "workflow.evaluation=false")
    meeting = run(job, clock)
    blocks = [(what.epoch, what.number, len(what.steps)) for what in meeting.told if isinstance(what, Block)]
    assert blocks == [(1, 1, 6), (1, 2, 4), (2, 1, 2), (2, 2, 6), (2, 3, 2)]
    saved = checkpoint_figures(what for what in meeting.told if isinstance(what, Saved))
    assert [(each.epoch, each.step, each.nbytes) for each in saved] == [(1, 6, 10**6), (2, 12, 10**6), (2, 18, 10**6)]


def test_the_job_ends_after_its_total_of_steps(plan, clock):
    job = plan(WORKLOAD.format(store="total"), "train.total_training_steps=13", "workflow.checkpoint=false")
    found = figures(run(job, clock), job)
    assert [each.ranks[0].steps for each in found if each.kind == "train"] == [10, 3]


def test_what_was_measured_before_a_stop_is_told(plan, clock):
    job = plan(WORKLOAD.format(store="stop"), slowed(0.1))
    meeting = run(job, clock, stop=16)
    assert meeting.places[-1] == "stopped"
    found = figures(meeting, job)
    # The job ends in the second step of the second epoch, of which one is whole.
    assert [(each.kind, each.ranks[0].steps) for each in found] == [("train", 10), ("valid", 4), ("train", 1)]


@pytest.mark.parametrize(
    ("span", "mean"),
    [
        ("{mean: 0.2}", 0.2),
        ("{type: normal, mean: 0.3, stdev: 0.02}", 0.3),
        ("{mean: 0.3, stdev: 0.02}", 0.3),
        ("{type: uniform, min: 0.1, max: 0.3}", 0.2),
        ("{type: gamma, shape: 25, scale: 0.01}", 0.25),
        ("{type: exponential, scale: 0.2}", 0.2),
        ("{type: poisson, lam: 3}", 3),
    ],
)
def test_computation_is_drawn_from_its_distribution(plan, clock, span, mean):
    overrides = (
        "train.epochs=10",
        "workflow.evaluation=false",
        "workflow.checkpoint=false",
        "output.metric.exclude_start_steps=0",
    )
    job = plan(WORKLOAD.format(store="drawn"), f"train.computation_time={span}", *overrides)
    found = figures(run(job, clock), job)
    drawn = [step for each in found for step in [each.ranks[0].compute / 10]]
    assert sum(drawn) / len(drawn) == pytest.approx(mean, rel=0.35)
    again = figures(run(job, clock), job)
    assert [each.ranks[0].compute for each in again] == pytest.approx([each.ranks[0].compute for each in found])


def test_preprocessing_costs_each_sample(plan, clock):
    job = plan(WORKLOAD.format(store="pre"), "reader.preprocess_time=0.05", "workflow.evaluation=false")
    assert figures(run(job, clock), job)[0].au == pytest.approx(0.3 / (0.3 + 4 * 0.05))


def test_checkpoints_alone_are_written_and_then_read(plan, clock):
    job = plan(
        WORKLOAD.format(store="alone"),
        "workflow={train: false, checkpoint: true}",
        "checkpoint={checkpoint_folder: mem://alone/saved, num_checkpoints_write: 2, num_checkpoints_read: 3, "
        "time_between_checkpoints: 5}",
    )
    before = clock.now
    told = [what for what in run(job, clock).told if isinstance(what, Saved)]
    assert [(what.kind, what.step) for what in told] == [
        ("write", 1),
        ("write", 2),
        ("read", 1),
        ("read", 2),
        ("read", 1),
    ]
    assert clock.now - before == 5 * 5 * 10**9
