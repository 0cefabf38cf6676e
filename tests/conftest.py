"""What pytest leaves alone here: a third party's distribution has a suite of its own, run where it is installed."""

from __future__ import annotations

collect_ignore = ["third_party"]
