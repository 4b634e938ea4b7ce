import gc
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture
def _coroutines_may_be_abandoned() -> Iterator[None]:
    """The executor leaves coroutines of values that nobody wants unawaited, and so does what equals it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
        gc.collect()
