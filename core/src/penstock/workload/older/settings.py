"""Settings of the older tools beside the workload: rates, errors, tuning."""

from __future__ import annotations

from penstock.errors import PenstockError
from penstock.options import describe
from penstock.plugins import default_host
from penstock.workload.documents import Mark, Node
from penstock.workload.older.drafts import Draft, Handler, keep, leave, number, scalar, section

__all__ = [
    "DEAD",
    "ERROR_TABLE",
    "OPTIMIZATION_TABLE",
    "PERF_LOG",
    "RANGE_TABLE",
    "RATE_TABLE",
    "REPLAY_KEYS",
    "finish_errors",
    "finish_rate",
    "optimization",
    "processes",
    "range_engine",
]

#: Said of keys that the older tools accept and never look at.
DEAD = leave("it did nothing in the older tools either")
_ARRIVALS = {"exponential": "poisson", "uniform": "uniform", "deterministic": "uniform"}
_OFF = ("false", "no", "off")
_MEBI = 1 << 20
#: Reads that are split, when nothing else is said.
_SPLIT = "16777216"


def _iops(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    if node.kind == "scalar" and (node.text in ("max", "0") or node.empty):
        draft.note(mark, path, "became rate: max, which is what it is unless said otherwise")
        draft.root.put("rate", scalar("max", node.mark), mark)
        return
    draft.root.put("rate.ops_per_second", node, mark)
    draft.note(mark, path, "became rate.ops_per_second: for the whole run, whatever the number of processes")


def _distribution(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    arrivals = _ARRIVALS.get(node.text) if node.kind == "scalar" else None
    if arrivals is None:
        draft.problem(node.mark, path, f"write {', '.join(_ARRIVALS)}, not {node.describe()}")
        return
    draft.root.put("rate.arrivals", scalar(arrivals, node.mark), mark)
    draft.note(mark, path, f"{node.text} became rate.arrivals: {arrivals}, planned ahead and never put off")


#: What becomes of each key of ``io_rate``.
RATE_TABLE: dict[str, Handler] = {"iops": _iops, "distribution": _distribution}


def finish_rate(draft: Draft, old: Node) -> None:
    """Without ``iops`` a distribution has no rate to follow."""
    if "iops" not in old.entries or draft.root.get("rate") is not None or old.entries["iops"].text in ("max", "0"):
        draft.root.drop("rate.arrivals")


def processes(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    """``single`` is one process."""
    if node.kind == "scalar" and node.text == "single":
        draft.note(mark, path, "single became 1")
        node = scalar("1", node.mark)
    draft.root.put("processes", node, mark)


#: What becomes of each key of ``perf_log``.
PERF_LOG: dict[str, Handler] = {
    "interval": keep("live_interval"),
    "path": leave("the time series is perf_log.tsv of the result directory"),
    "enabled": DEAD,
}


def _aside(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    """Looked at when the section has been read."""


#: What becomes of each key of ``error_handling``.
ERROR_TABLE: dict[str, Handler] = {
    "max_total_errors": keep("on_error.max_total_errors"),
    "error_rate_threshold": keep(
        "on_error.error_rate.errors_per_second", "above it the run stops and reports, or with action: continue goes on"
    ),
    "error_rate_window": keep("on_error.error_rate.window"),
    "backoff_duration": leave("a run with too many errors stops or goes on, it does not pause"),
    "retry_on_error": _aside,
    "max_retries": _aside,
    "initial_retry_delay_ms": _aside,
    "max_retry_delay_ms": _aside,
    "retry_backoff_multiplier": _aside,
    "retry_jitter_factor": _aside,
}
_RETRIES = {"max_retries": 3.0, "initial_retry_delay_ms": 100.0, "max_retry_delay_ms": 5000.0}


def finish_errors(draft: Draft, old: Node) -> None:
    """Retries, which several keys describe together."""
    here, root = "error_handling", draft.root
    if root.get("on_error.error_rate.window") is not None and "error_rate_threshold" not in old.entries:
        root.put("on_error.error_rate.errors_per_second", scalar("5", old.entries["error_rate_window"].mark))
    keys = [name for name in old.entries if ERROR_TABLE.get(name) is _aside]
    switch = old.entries.get("retry_on_error")
    if switch is None or switch.text.lower() in _OFF:
        for name in keys:
            draft.note(old.keys[name], f"{here}.{name}", "left out: nothing is repeated unless retry_on_error is true")
        return
    given = {name: number(draft, old.entries[name], f"{here}.{name}", "number") for name in _RETRIES if name in keys}
    values = {name: default if given.get(name) is None else given[name] for name, default in _RETRIES.items()}
    attempts, base, most = (float(values[name] or 0) for name in _RETRIES)
    retries = {"attempts": f"{attempts + 1:.0f}", "base_delay": f"{base / 1000:g}", "max_delay": f"{most / 1000:g}"}
    for name, text in retries.items():
        root.put(f"on_error.retries.{name}", scalar(text, switch.mark))
    for name in ("retry_on_error", *_RETRIES):
        if name in keys:
            draft.note(old.keys[name], f"{here}.{name}", f"became on_error.retries: {retries}".replace("'", ""))
    for name, what in (("retry_backoff_multiplier", "doubles"), ("retry_jitter_factor", "is drawn up to its length")):
        if name in keys:
            draft.note(old.keys[name], f"{here}.{name}", f"left out: the wait {what} with each repeat")


#: What becomes of each key of ``range_engine``.
RANGE_TABLE: dict[str, Handler] = {
    "enabled": _aside,
    "chunk_size": keep("range_engine.part_size"),
    "max_concurrent_ranges": keep("range_engine.concurrency"),
    "min_split_size": keep("range_engine.threshold"),
    "range_timeout_secs": leave("time-outs are options of the backend: operation_timeout, read_timeout"),
}


def range_engine(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    """The section, in which everything counts only when it is switched on."""
    switch = node.entries.get("enabled") if node.kind == "mapping" else None
    if switch is None or switch.text.lower() in _OFF:
        section({"enabled": _aside, **dict.fromkeys(set(RANGE_TABLE) - {"enabled"}, leave("range_engine is off"))})(
            draft, node, mark, path
        )
        draft.note(mark, path if switch is None else f"{path}.enabled", "left out: it is off")
        return
    section(RANGE_TABLE)(draft, node, mark, path)
    _switch_on(draft, switch, node.keys["enabled"], f"{path}.enabled", _SPLIT)


def _switch_on(draft: Draft, switch: Node, mark: Mark, path: str, threshold: str) -> None:
    if draft.root.get("range_engine.threshold") is None:
        draft.root.put("range_engine.threshold", scalar(threshold, switch.mark))
    draft.note(mark, path, "became range_engine, which is on where it stands")


def _mebibytes(to: str) -> Handler:
    def handle(draft: Draft, node: Node, mark: Mark, path: str) -> None:
        value = number(draft, node, path)
        if value is not None:
            draft.root.put(to, scalar(f"{value * _MEBI:.0f}", node.mark), mark)
            draft.note(mark, path, f"became {to}, in bytes")

    return handle


def _project(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    scheme, found, _ = draft.target.partition("://")
    if found and _has_project(scheme):
        draft.root.put(f"backend.{scheme}.project", node, mark)
        draft.note(mark, path, f"became backend.{scheme}.project")
    else:
        draft.note(mark, path, "left out: target is not on the store that has projects")


def _has_project(scheme: str) -> bool:
    try:
        kind = default_host().store_type(scheme)
    except PenstockError:
        # What is no backend is told where the target stands.
        return False
    return any(field.name == "project" for field in describe(kind.options))


_RANGES = ("range_threshold_mb", "chunk_size_mb", "range_concurrency")
#: What becomes of each key of ``s3dlio_optimization``; the switch is looked at by itself.
OPTIMIZATION_TABLE: dict[str, Handler] = {
    "range_threshold_mb": _mebibytes("range_engine.threshold"),
    "chunk_size_mb": _mebibytes("range_engine.part_size"),
    "range_concurrency": keep("range_engine.concurrency"),
    "gcs_channel_count": leave("requests go over one connection for each thread"),
    "gcs_rapid_mode": leave("the backend speaks HTTP alone"),
    "gcs_write_chunk_size_bytes": leave("parts are as large as multipart.part_size of a put says"),
    "gcs_project": _project,
    "h2c": leave("the backends speak HTTP/1.1"),
    "h2_adaptive_window": leave("the backends speak HTTP/1.1"),
    "h2_stream_window_mb": leave("the backends speak HTTP/1.1"),
    "h2_conn_window_mb": leave("the backends speak HTTP/1.1"),
    "s3dlio_rt_threads": leave("each operation in flight has a thread; concurrency says how many"),
    "auto_threads": leave("each operation in flight has a thread; concurrency says how many"),
    "enable_range_downloads": _aside,
}


def optimization(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    """The section, in which ranges count only when they are switched on."""
    switch = node.entries.get("enable_range_downloads") if node.kind == "mapping" else None
    on = switch is not None and switch.text.lower() not in _OFF
    off = {} if on else dict.fromkeys(_RANGES, leave("enable_range_downloads is not on"))
    section(OPTIMIZATION_TABLE | off)(draft, node, mark, path)
    if switch is not None:
        here, at = f"{path}.enable_range_downloads", node.keys["enable_range_downloads"]
        if on:
            _switch_on(draft, switch, at, here, str(64 * _MEBI))
        else:
            draft.note(at, here, "left out: it is off")


#: Keys of the file that the older tool's replay reads.
REPLAY_KEYS = ("lag_threshold", "recovery_threshold", "max_flaps_per_minute", "drain_timeout", "max_concurrent")
