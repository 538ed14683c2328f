"""A world model judged by its worst part.

Each group of features, the reward and the termination by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wm_agents.evaluation.error_tables import (
    Array,
    ErrorCurve,
    FeatureGroup,
    episode_limits,
    paired_ratios,
)
from wm_agents.evaluation.windows import EvaluationWindows
from wm_envs.data.display import counted

EXACT = 0.01
"""An error below this share of the spread is right.

No rule that is righter still counts against it.
"""

AS_GOOD = 1.05
"""A simple rule does as well as a model up to this ratio of their errors.

What differs by less is a tie, however many episodes can tell the two apart.
"""

REFERENCES = ("persistence", "mean")
"""The reference forecasts, persistence and climatology.

They know nothing of actions or dynamics. A prediction that is no better has no skill (Murphy 1988,
Skill scores based on the mean square error and their relationships to the correlation coefficient).
"""

_GROUPS_AT_ONCE = 64


@dataclass(frozen=True)
class JudgedPart:
    """One thing that a model predicts, and how well at every step.

    Attributes:
        name: A feature, a group of them, "reward" or "termination".
        columns: Of the observation; none for reward and termination.
        curves: By method the error at every step [H], in standard deviations of what is predicted;
            limits are those of the model, and infinite for the rules. For the termination it is the
            root of the Brier score over that of a constant guess.
        ratios: By rule the model's error over the rule's, and the lower and upper limit of its 95%
            band [3, H]; see `error_tables.paired_ratios`.
        is_good: Whether the model is good at every step [H]; see `trusted_steps`.
        has_skill: Whether the model is clearly better than both reference forecasts after some of
            the H steps.
    """

    name: str
    columns: tuple[int, ...]
    curves: dict[str, ErrorCurve]
    ratios: dict[str, Array]
    is_good: NDArray[np.bool_]
    has_skill: bool

    def __repr__(self) -> str:
        steps = counted(len(self.is_good), "step")
        return f"JudgedPart({self.name!r}, good for {self.trusted_steps} of {steps})"

    @property
    def trusted_steps(self) -> int:
        """The last step up to which the model is good at every step: 0 when it fails at once."""
        return len(self.is_good) if self.is_good.all() else int(np.argmin(self.is_good))

    @property
    def is_tied(self) -> bool:
        """Whether a reference forecast predicts this about as well as the model.

        The model is clearly better after no step, and not clearly worse after the first. What both
        get right to a hundredth of a standard deviation is no tie but easy.
        """
        is_easy = bool((self.curves["model"].rmse < EXACT).all())
        # A single episode tells nothing: its limits are infinite.
        is_known = any(np.isfinite(high[0]) for _, _, high in self.ratios.values())
        return not self.has_skill and not is_easy and is_known and not self.better_rule(1)

    @property
    def reference(self) -> str:
        """The better of the reference forecasts, after one step."""
        known = [name for name in REFERENCES if name in self.curves]
        return min(known, key=lambda name: float(self.curves[name].rmse[0]))

    def better_rule(self, step: int) -> str | None:
        """The best of the simple rules that are clearly better than the model after `step` steps.

        None where there is none.
        """
        better = [name for name in self.ratios if self._is_beaten_by(name, step)]
        if not better:
            return None
        return min(better, key=lambda name: float(self.curves[name].rmse[step - 1]))

    def _is_beaten_by(self, rule: str, step: int) -> bool:
        least = 1.0 if self.is_termination else AS_GOOD
        ratio, low, _ = self.ratios[rule][:, step - 1]
        return bool(low > 1 and ratio > least)

    @property
    def is_termination(self) -> bool:
        """Whether this is the end of episodes, which is judged by probabilities."""
        return not self.columns and self.name == "termination"

    def best_rule(self, step: int) -> tuple[str, float]:
        """Name and error of the best simple rule after `step` steps."""
        errors = {
            name: float(curve.rmse[step - 1])
            for name, curve in self.curves.items()
            if name != "model"
        }
        name = min(errors, key=errors.__getitem__)
        return name, errors[name]


def trusted_steps(parts: Sequence[JudgedPart]) -> int:
    """The last step up to which the model is good at every step in every part.

    0 when it fails at once, and when it has no skill in any part.

    Good means that the upper confidence limit of its error is at most the tolerance, and that no
    simple rule is clearly better, unless the model is right to a hundredth of a standard deviation.
    Clearly means beyond what the differences between episodes explain (a paired bootstrap of whole
    episodes, at all steps at once) and by more than a twentieth. A feature that is tied with a reference forecast at
    every step has to be no worse than that only, whatever its error: nobody can predict a random
    walk. It is named beside the number. The reward is held to the tolerance even so, since a plan is made
    by it. Of terminations good means that the probabilities are not worse, beyond chance, than a
    constant guess of how often episodes end.
    """
    if not any(part.has_skill for part in parts):
        return 0
    return min(part.trusted_steps for part in parts)


def worst_part(parts: Sequence[JudgedPart]) -> JudgedPart:
    """The part that fails first, and among those the one with the largest error there."""
    steps = min(part.trusted_steps for part in parts)
    # Parts that fail first, all at the same step.
    failing = [part for part in parts if part.trusted_steps == steps]
    place = min(steps, len(parts[0].is_good) - 1)
    # What is tied and does not fail says nothing of the model, and an unsure probability is no error
    # in the sense of the others: both come last among equals.
    return max(
        failing,
        key=lambda part: (
            not (part.is_tied and part.is_good.all()),
            not part.is_termination,
            float(part.curves["model"].rmse[place]),
        ),
    )


def rules_as_good(parts: Sequence[JudgedPart]) -> tuple[str, ...]:
    """The simple rules that do as well as the model in every part that they predict.

    At every trusted step.
    """
    steps = max(trusted_steps(parts), 1)
    rules = [name for name in parts[0].curves if name != "model"]
    return tuple(rule for rule in rules if all(_is_as_good(part, rule, steps) for part in parts))


def _is_as_good(part: JudgedPart, rule: str, steps: int) -> bool:
    if part.is_termination:  # rules say nothing of ends but how often they come
        # The mean rule for an end is the rate at which episodes end.
        rule = "mean"
    own, other = part.curves["model"].rmse[:steps], part.curves[rule].rmse[:steps]
    return bool((other <= np.maximum(AS_GOOD * own, EXACT)).all())


def group_parts(
    groups: Sequence[FeatureGroup],
    errors: Mapping[str, Array],
    scale: Array,
    varies: NDArray[np.bool_],
    windows: EvaluationWindows,
    tolerance: float,
    seed: int,
) -> list[JudgedPart]:
    """Each group that varies as a part.

    Args:
        groups: Of the O features.
        errors: By method [W, H, O].
        scale: Standard deviation of each feature [O].
        varies: Features that vary [O]; what never does cannot be judged.
        windows: What was recorded.
        tolerance: Largest trusted error.
        seed: Of the bootstrap.
    """
    groups = [group for group in groups if varies[list(group.columns)].any()]
    parts = []
    for first in range(0, len(groups), _GROUPS_AT_ONCE):
        chunk = groups[first : first + _GROUPS_AT_ONCE]
        # Chunks bound the memory: windows x steps x groups x methods.
        squares = {
            name: np.stack([_group_squares(group, error, scale, varies) for group in chunk], 2)
            for name, error in errors.items()
        }
        parts += _parts_of(
            [(group.name, group.columns) for group in chunk], squares, windows, tolerance, seed
        )
    return parts


def reward_part(
    errors: Mapping[str, Array],
    scale: float,
    windows: EvaluationWindows,
    tolerance: float,
    seed: int,
) -> list[JudgedPart]:
    """The reward as a part, from errors [W, H] by method; none where it never varies (scale 0)."""
    if scale == 0:
        return []
    squares = {name: (error[..., None] / scale) ** 2 for name, error in errors.items()}
    return _parts_of([("reward", ())], squares, windows, tolerance, seed)


def _group_squares(
    group: FeatureGroup, errors: Array, scale: Array, varies: NDArray[np.bool_]
) -> Array:
    """Mean squared error [W, H] of a group, in units of its spread."""
    columns = np.array(group.columns)
    # The length of an angle's or a one-hot's error against the length of its spread.
    if group.has_one_unit:
        total: Array = (errors[..., columns] ** 2).sum(axis=2)
        return total / float((scale[columns][varies[columns]] ** 2).sum())
    columns = columns[varies[columns]]
    mean: Array = ((errors[..., columns] / scale[columns]) ** 2).mean(axis=2)
    return mean


def _parts_of(
    labels: Sequence[tuple[str, tuple[int, ...]]],
    squares: Mapping[str, Array],
    windows: EvaluationWindows,
    tolerance: float,
    seed: int,
) -> list[JudgedPart]:
    """Parts from squared errors [W, H, G] by method."""
    is_scored = windows.is_scored[..., None]
    counts = windows.is_scored.sum(axis=0)[:, None]
    rmse = {
        name: np.sqrt((values * is_scored).sum(axis=0) / counts) for name, values in squares.items()
    }
    low, high = (
        np.sqrt(limit)
        for limit in episode_limits(squares["model"], windows.is_scored, windows.episodes, seed)
    )
    ratios = {
        name: paired_ratios(squares["model"], values, windows.is_scored, windows.episodes, seed)
        for name, values in squares.items()
        if name != "model"
    }
    is_beaten = np.any([(low > 1) & (ratio > AS_GOOD) for ratio, low, _ in ratios.values()], axis=0)
    is_no_worse = ~is_beaten | (rmse["model"] < EXACT)
    # An infinite upper limit is a single episode, which tells nothing of others.
    is_known = np.isfinite(high)
    references = [ratios[name] for name in REFERENCES if name in ratios]
    is_better = is_known & np.all(
        [(high < 1) & (ratio < 1 / AS_GOOD) for ratio, _, high in references], axis=0
    )
    has_skill = is_better.any(axis=0)
    # A feature without skill is judged by the comparison alone.
    may_exceed = ~has_skill & np.array([bool(columns) for _, columns in labels])
    is_good = is_known & is_no_worse & ((high <= tolerance) | may_exceed)
    parts = []
    for place, (label, columns) in enumerate(labels):
        curves = {name: _rule_curve(values[:, place]) for name, values in rmse.items()}
        curves["model"] = ErrorCurve(rmse["model"][:, place], low[:, place], high[:, place])
        own_ratios = {name: values[:, :, place] for name, values in ratios.items()}
        parts.append(
            JudgedPart(
                label, columns, curves, own_ratios, is_good[:, place], bool(has_skill[place])
            )
        )
    return parts


def _rule_curve(rmse: Array) -> ErrorCurve:
    return ErrorCurve(rmse, np.zeros_like(rmse), np.full_like(rmse, np.inf))


def termination_part(
    probabilities: Array,
    windows: EvaluationWindows,
    base_rates: Array,
    seed: int,
) -> list[JudgedPart]:
    """The termination as a part, by Brier score (a proper score).

    None where no episode ends by itself.

    Args:
        probabilities: That a window ends by itself within h steps [W, H].
        windows: What was recorded.
        base_rates: A constant guess of the same [H], from other episodes where there are some.
        seed: Of the bootstrap.
    """
    mask = windows.is_end_scored
    # An end stays one: "within h steps".
    outcomes = (np.cumsum(windows.terminations, axis=1) > 0).astype(np.float64)
    counts = mask.sum(axis=0)
    share = (outcomes * mask).sum(axis=0) / counts
    if not (share > 0).any():
        return []
    own, constant = (probabilities - outcomes) ** 2, (base_rates - outcomes) ** 2
    # Without a spread, as where every start ends in time, nothing can be told apart.
    spread = np.sqrt(share * (1 - share))
    # The interval of the ratio: a model is kept unless it is worse beyond chance.
    ratios = paired_ratios(own[..., None], constant[..., None], mask, windows.episodes, seed)[
        ..., 0
    ]
    _, low, high = ratios
    is_good = (low <= 1) | (spread == 0)
    has_skill = bool(((high < 1) & (spread > 0)).any())
    curves = {}
    for name, squares in (("model", own), ("mean", constant)):
        # In standard deviations of the outcome, like all other errors.
        rmse = np.sqrt((squares * mask).sum(axis=0) / counts) / np.where(spread > 0, spread, 1.0)
        curves[name] = _rule_curve(rmse)
    return [JudgedPart("termination", (), curves, {"mean": ratios}, is_good, has_skill)]
