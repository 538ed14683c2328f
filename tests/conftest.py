"""What all tests share: one thread per process, since pytest-xdist already uses every core."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

DOMAINS = ("debate", "driving", "pong", "resolution", "symbolic")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="the reliability tests with their full counts"
    )


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file, and of a domain, in one worker.

    Else each worker would fit the models that a file's tests share, and compile the domain's rules.
    """
    for item in items:
        path = item.location[0]
        group = next((domain for domain in DOMAINS if domain in path), path)
        item.add_marker(pytest.mark.xdist_group(group))
