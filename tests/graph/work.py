"""Work that is counted, where a clock would count what other processes do too."""

import sys
from contextlib import contextmanager


@contextmanager
def counted():
    """Has an item for each call of a Python function meanwhile: the work that was done, on however busy a machine."""
    calls, before = [], sys.getprofile()
    sys.setprofile(lambda _frame, event, _arg: calls.append(None) if event == "call" else None)
    try:
        yield calls
    finally:
        sys.setprofile(before)
