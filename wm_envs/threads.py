"""Threads that work side by side and survive a fork or a pickle of what holds them."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class ThreadPool:
    """A pool that starts its threads when it is first used, and anew in each process.

    A fork copies the pool but none of its threads, so that a child which waited for them would wait
    for ever.

    Args:
        num_threads: At most.
    """

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._executor: ThreadPoolExecutor | None = None
        self._process_id = 0  # of the process that started the threads

    def __getstate__(self) -> dict[str, Any]:
        return {"_num_threads": self._num_threads, "_executor": None, "_process_id": 0}

    def run(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> None:
        """Call a function with the arguments of each task, side by side, and wait for all of them."""
        if self._executor is None or self._process_id != os.getpid():
            self._executor, self._process_id = ThreadPoolExecutor(self._num_threads), os.getpid()
        for future in [self._executor.submit(function, *arguments) for arguments in tasks]:
            future.result()

    def stop(self) -> None:
        """End the threads of this process; may be called twice."""
        if self._executor is not None and self._process_id == os.getpid():
            self._executor.shutdown()
        self._executor = None
