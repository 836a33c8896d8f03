"""What every test starts from.

- Hypothesis gives the same examples in every run, so that a failure is the change's; `nightly` looks for new ones, for longer,
  and `quick` takes fewer of them.
- A child inherits the signals that its parent ignores, and a job in the background of a shell ignores some. The processes that
  tests start must not depend on how the tests were started.
"""

import gc
import os
import signal

from hypothesis import settings

settings.register_profile("default", derandomize=True, deadline=None, max_examples=300)
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("nightly", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

for _signal in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Thousands of tests stay in memory, and a full collection of garbage would look at all that they hold: it took a third of a
    second and more, in which the event loop of a test stands still."""
    gc.collect()
    gc.freeze()
