"""What `open_loop_error` found: as arrays, as flat names and as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.evaluation.calibration import Calibration
from wm_agents.evaluation.error_tables import ErrorCurve, ErrorTable
from wm_agents.evaluation.judged_parts import JudgedPart, rules_as_good, worst_part
from wm_envs.data.display import counted, short_repr


@dataclass(frozen=True)
class RewardErrors:
    """Root mean squared error of the reward.

    Attributes:
        rmse: By method ("model", the baselines, and "mean", the mean reward of training) one number
            per horizon.
        std: Standard deviation of the rewards.
    """

    rmse: dict[str, NDArray[np.float64]]
    std: float

    __repr__ = short_repr


@dataclass(frozen=True)
class EndPrediction:
    """How well it is told whether an episode ends by itself within h steps, one number per horizon.

    Attributes:
        auroc: Chance that an ending start got the higher probability; None where all or none end.
        average_precision: Area under precision against recall; None where none end.
        brier: Mean squared error of the probability.
        base_brier: The same for a constant guess of the share that ends.
        share: Share of starts that end.
        mean_probability: Mean predicted probability.
    """

    auroc: tuple[float | None, ...]
    average_precision: tuple[float | None, ...]
    brier: tuple[float, ...]
    base_brier: tuple[float, ...]
    share: tuple[float, ...]
    mean_probability: tuple[float, ...]


@dataclass(frozen=True)
class OpenLoopReport:
    """The open-loop error of a model on held-out episodes.

    Attributes:
        horizons: Steps ahead that the tables report.
        feature_names: Names of the O features.
        scale: Standard deviation of each feature [O], the unit of all totals.
        is_integer: Which features hold whole numbers only [O].
        num_windows: Starts per horizon.
        num_episodes: Held-out episodes.
        was_checked_for_duplicates: Whether it was made sure that none of them was seen in training.
        share_non_finite: Share of predicted numbers that were not finite.
        tables: Errors by method: "model", "persistence", "constant_velocity", and "ridge" where
            there was `train`.
        curves: Total error at every step, by method.
        trusted_steps: How many steps the model can be trusted for, but for what is `tied`; see
            `judged_parts.trusted_steps`.
        parts: What is judged by itself: groups of features, reward, termination; without those that
            never vary.
        tolerance: The error that is still trusted, in standard deviations.
        ignored: Parts that were not judged, as was asked.
        rewards: Reward prediction.
        ends: Termination prediction.
        calibration: Interval calibration, for stochastic models.
    """

    horizons: tuple[int, ...]
    feature_names: tuple[str, ...]
    scale: NDArray[np.float64]
    is_integer: NDArray[np.bool_]
    num_windows: tuple[int, ...]
    num_episodes: int
    was_checked_for_duplicates: bool
    share_non_finite: float
    tables: dict[str, ErrorTable]
    curves: dict[str, ErrorCurve]
    trusted_steps: int
    parts: tuple[JudgedPart, ...]
    tolerance: float
    ignored: tuple[str, ...]
    rewards: RewardErrors
    ends: EndPrediction
    calibration: Calibration | None

    def __repr__(self) -> str:
        return (
            f"OpenLoopReport(trusted for {self.trusted_steps} of "
            f"{counted(self.max_horizon, 'step')}, worst part {self.worst_part.name!r}, "
            f"{counted(self.num_episodes, 'held-out episode')})"
        )

    @property
    def max_horizon(self) -> int:
        """The largest horizon examined."""
        return self.horizons[-1]

    @property
    def worst_part(self) -> JudgedPart:
        """The part that decides how many steps the model can be trusted for."""
        return worst_part(self.parts)

    @property
    def tied(self) -> tuple[JudgedPart, ...]:
        """The parts that a reference forecast predicts about as well as the model."""
        return tuple(part for part in self.parts if part.is_tied)

    @property
    def rules_as_good(self) -> tuple[str, ...]:
        """The simple rules that do as well as the model in every part."""
        return rules_as_good(self.parts)

    def error(self, horizon: int, method: str = "model") -> float:
        """Total root mean squared error after `horizon` steps.

        In standard deviations of the features.
        """
        return float(self.curves[method].rmse[horizon - 1])

    def summary(self) -> dict[str, float]:
        """Flat names to numbers.

        Trusted_steps, worst_error_h16, error_h16, persistence_h16, reward_error_h16, ...

        `worst_error` is that of the part that decides, `error` the total over features.
        `trusted_steps_features`, `_reward` and `_termination` are those of each kind of part.
        """
        numbers = {
            "trusted_steps": float(self.trusted_steps),
            "tied_parts": float(len(self.tied)),
        }
        for part in self.parts:
            kind = "features" if part.columns else part.name.replace(" ", "_")
            name = f"trusted_steps_{kind}"
            # The worst of several features of one kind.
            numbers[name] = min(numbers.get(name, np.inf), float(part.trusted_steps))
        for rule in self.curves:
            if rule != "model":
                numbers[f"{rule}_does_as_well"] = float(rule in self.rules_as_good)
        worst = self.worst_part.curves["model"]
        for index, step in enumerate(self.horizons):
            curve = self.curves["model"]
            numbers[f"worst_error_h{step}"] = float(worst.rmse[step - 1])
            numbers[f"error_h{step}"] = self.error(step)
            numbers[f"error_h{step}_low"] = float(curve.low[step - 1])
            numbers[f"error_h{step}_high"] = float(curve.high[step - 1])
            numbers |= {
                f"{name}_h{step}": self.error(step, name) for name in self.curves if name != "model"
            }
            numbers |= {
                f"median_h{step}": float(self.tables["model"].median[index, -1]),
                f"p95_h{step}": float(self.tables["model"].p95[index, -1]),
                f"exact_h{step}": float(self.tables["model"].exact[index, -1]),
                f"reward_error_h{step}": float(self.rewards.rmse["model"][index]),
                f"termination_brier_h{step}": self.ends.brier[index],
                f"termination_auroc_h{step}": _number(self.ends.auroc[index]),
                f"termination_average_precision_h{step}": _number(
                    self.ends.average_precision[index]
                ),
            }
            if self.calibration is not None:
                for level, coverage in zip(
                    self.calibration.levels, self.calibration.coverage[index], strict=True
                ):
                    numbers[f"coverage_{round(100 * level)}_h{step}"] = float(coverage)
        # What does not apply is left out and not written as NaN.
        return {name: value for name, value in numbers.items() if np.isfinite(value)}

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and numbers; what does not apply or is not finite is None."""
        plain = to_plain(asdict(self))
        for name, table in self.tables.items():
            plain["tables"][name]["rmse"] = to_plain(table.rmse)
        for part, judged in zip(plain["parts"], self.parts, strict=True):
            part |= {"trusted_steps": judged.trusted_steps, "is_tied": judged.is_tied}
            part["ratios"] = self._ratios(judged)
            # The rules have no limits of their own here.
            part["curves"] = {
                name: curve if name == "model" else {"rmse": curve["rmse"]}
                for name, curve in part["curves"].items()
            }
        return {
            **plain,
            "total_is_column": len(self.feature_names),
            "worst_part": self.worst_part.name,
            "tied_parts": [part.name for part in self.tied],
            "rules_as_good": list(self.rules_as_good),
        }

    def _ratios(self, part: JudgedPart) -> dict[str, dict[str, list[float]]]:
        """By rule the model's error over the rule's and its limits, a number per horizon."""
        places = np.array(self.horizons) - 1
        names = ("estimate", "low", "high")
        return {
            rule: {name: to_plain(row[places]) for name, row in zip(names, rows, strict=True)}
            for rule, rows in part.ratios.items()
        }


def to_plain(value: Any) -> Any:
    """Nested values as JSON has them, without NaN and infinities."""
    if isinstance(value, dict):
        return {name: to_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [
            to_plain(part) for part in (value.tolist() if isinstance(value, np.ndarray) else value)
        ]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
