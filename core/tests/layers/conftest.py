"""Lets these tests, and the kit's child processes, import what they share."""

from __future__ import annotations

import sys
from pathlib import Path

# The kit's children import a test's module by its name below the root.
sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[3])]
