"""Results: what a run found, the files that hold it, the report in HTML, and the live view."""

from __future__ import annotations

from penstock.report.files import results_directory, write_job, write_results

__all__ = ["results_directory", "write_job", "write_results"]
