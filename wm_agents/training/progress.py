"""What learners say of their progress; the bar itself is that of the data floor."""

import logging
import warnings

from wm_envs.data.progress import ProgressBar, progress

__all__ = ["ProgressBar", "progress", "say_nothing_left"]


def say_nothing_left(
    learner: str, done: int, total: int, unit: str, *, is_resumption: bool
) -> None:
    """Tell that a call of `learn` has nothing to do.

    Because its total counts from the very first step.

    Args:
        learner: Who was asked to learn, such as "Reinforce".
        done: How much was learned before, in `unit`.
        total: What the call asked for, counted from the first.
        unit: Such as "steps".
        is_resumption: The call was to go on from checkpoints; a run that finished there is no
            mistake, so that it is logged. Otherwise it is a warning.
    """
    message = (
        f"{learner}.learn has nothing left to do: {done} of {total} {unit} are done, and they "
        "count from the very "
        f"first; ask for more than {done} to go on"
    )
    if is_resumption:
        logging.getLogger(__name__).warning(message)
    else:
        warnings.warn(message, stacklevel=3)
