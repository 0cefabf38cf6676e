"""Settings for every test: property tests are repeatable and never fail for being slow.

``HYPOTHESIS_PROFILE=nightly`` looks further, and elsewhere each time.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
