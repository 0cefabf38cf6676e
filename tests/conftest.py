"""What pytest leaves alone here: distributions of third parties have suites of their own, run where they are installed."""

from __future__ import annotations

collect_ignore = ["third_party"]
