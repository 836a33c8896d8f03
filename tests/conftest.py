"""Hypothesis: the same examples in every run, so that a failure is the change's; `nightly` looks for new ones, for longer."""

import os

from hypothesis import settings

settings.register_profile("default", derandomize=True, deadline=None, max_examples=300)
settings.register_profile("nightly", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
