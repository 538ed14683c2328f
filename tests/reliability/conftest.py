"""What the reliability tests share.

Whether they run at full length, and the counts that the report adds up.
"""

import numpy as np
import pytest


@pytest.fixture
def is_long(request):
    return request.config.getoption("--long")


@pytest.fixture
def counted(record_property):
    """`counted("bit flips", "reinforce", tried=1000, failed=0)`: one row of the report.

    `failed` is what went wrong.
    """

    def count(promise, subject, *, tried, failed, **others):
        assert tried > 0, f"{promise}, {subject}: nothing was tried"
        record_property(
            "counts",
            {"promise": promise, "subject": subject, "tried": tried, "failed": failed, **others},
        )

    return count


@pytest.fixture
def random():
    return np.random.default_rng(20240117)
