"""Learn inside a forest model of stacked frames: repeated fits, imagined branches, PPO in them.

What Pong's dreams (`wm_agents.domains.pong.dreaming`) and `WorldModelAgent` share: both collect,
fit a `StackedForestModel` to everything recorded, and improve a policy in branches from recorded
states, round after round. Nothing here knows an environment.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from wm_agents.errors import SpaceError
from wm_agents.imagination.features import FeatureModel, FeatureView, feature_space
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.policy_gradient.ppo import PPO, PPOConfig
from wm_agents.training.trainer import FitReport
from wm_agents.world_models.objects import ObjectModel
from wm_agents.world_models.stacked import StackedView
from wm_agents.world_models.stacked_forest import StackedForestModel
from wm_agents.world_models.stacked_search import ForestConfig, PartSelection
from wm_envs.data.trajectories import Trajectories

Array = NDArray[Any]

DREAM_PPO = PPOConfig(
    widths=(96, 96),
    activation="relu",
    batch_size=2048,
    n_epochs=3,
    normalize_observations=False,  # the view's features are of one size already
)
# A stack's view reads tiles, which learn faster: larger steps, and fewer passes over what was imagined.
FOREST_PPO = replace(DREAM_PPO, n_epochs=2)
FOREST_RATES = (12e-4, 3e-4)
"""Learning rates of `FOREST_PPO`, at first and at the end."""
FOREST = ForestConfig(num_trees=5, search_steps=6000, search_trees=3, searches_columns=False)


class ForestRefits:
    """Fits of a `StackedForestModel` to a recording that grows.

    What is worth reading is most of a fit: it is searched again only when twice as much is recorded.

    Args:
        observation_space: One-dimensional Box.
        action_space: Discrete.
        config: Of the model.
        seed: Of the model.

    Attributes:
        view: The structure found in the first fit; None before it. A policy reads it, so that it
            stays what it is until a column changes that never did before.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: ForestConfig,
        seed: int,
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.config = config
        self.seed = seed
        self.view: StackedView | None = None
        self._selections: tuple[PartSelection, ...] = ()
        self._selected_steps = 0  # recorded when the selections were searched

    def fit(self, trajectories: Trajectories) -> tuple[StackedForestModel, FitReport, bool]:
        """A model of everything recorded, its report, and whether its view is a new one.

        Raises:
            TrajectoryError: A column lies on no lattice, or nothing changes.
        """
        if trajectories.num_steps >= 2 * self._selected_steps:
            self._selections = ()
        model = self._model()
        try:
            report = model.fit(trajectories, selections=self._selections)
        except SpaceError:
            # Something changes that never did before: the structure is found again.
            self.view = None
            self._selections = ()
            model = self._model()
            report = model.fit(trajectories)
        if not self._selections:
            self._selections = model.selections
            self._selected_steps = trajectories.num_steps
        is_new = self.view is None
        self.view = model.view
        return model, report, is_new

    def _model(self) -> StackedForestModel:
        return StackedForestModel(
            self.observation_space, self.action_space, self.config, view=self.view, seed=self.seed
        )

    def state_dict(self) -> dict[str, Any]:
        """What was searched, and when; the view is kept by whoever acts through it."""
        return {
            "selections": [selected.to_json() for selected in self._selections],
            "selected_steps": self._selected_steps,
        }

    def load_state_dict(self, state: Mapping[str, Any], view: StackedView | None) -> None:
        """Take over what was searched with this view."""
        self.view = view
        self._selections = tuple(PartSelection.from_json(row) for row in state["selections"])
        self._selected_steps = int(state["selected_steps"])


def feature_policy(
    view: FeatureView | StackedView, action_space: gym.Space[Any], config: PPOConfig, seed: int
) -> PPO:
    """A new policy on the features of a view."""
    return PPO((feature_space(view), action_space), config, seed=seed)


def imagined_branches(
    model: ObjectModel | StackedForestModel,
    view: FeatureView | StackedView,
    trajectories: Trajectories,
    *,
    horizon: int,
    num_rows: int,
    seed: int,
    gamma: float,
    potential: Callable[[Array], Array] | None = None,
    ends_at_rewards: bool = True,
    cuts_at_rewards: bool = False,
    reward_scale: float = 1.0,
) -> ImaginedVectorEnv:
    """Branches from every recorded state, as the view's features show them.

    Args:
        model: A fitted model.
        view: Its view.
        trajectories: Whose states are starts.
        horizon: Steps after which a branch is cut off.
        num_rows: Branches side by side.
        seed: Of starts and outcomes.
        gamma: The learner's discount.
        potential: See `FeatureModel`.
        ends_at_rewards: Whether nothing counts after a reward.
        cuts_at_rewards: Whether the learner's value stands for what follows a reward.
        reward_scale: Factor on rewards.
    """
    imagined = FeatureModel(
        model,
        view,
        potential=potential,
        gamma=gamma,
        ends_at_rewards=ends_at_rewards,
        reward_scale=reward_scale,
    )
    return ImaginedVectorEnv(
        imagined,
        imagined.encode(model.starts(trajectories)),
        horizon,
        num_rows,
        cuts_at_rewards=cuts_at_rewards,
        autoreset_mode=AutoresetMode.DISABLED,
        seed=seed,
    )


def improve_policy(
    policy: PPO,
    env: ImaginedVectorEnv,
    num_updates: int,
    learning_rate: tuple[float, float],
    ent_coef: tuple[float, float],
) -> dict[str, float]:
    """Learn in imagined episodes for so many updates; means of figures over their second half.

    By then the policy is about what is left behind in the end.
    """
    policy.config = replace(policy.config, learning_rate=learning_rate, ent_coef=ent_coef)
    policy.set_env(env)
    policy.learn(num_updates * policy.config.n_steps * env.num_envs)
    assert policy.report is not None
    rows = policy.report.history[len(policy.report.history) // 2 :]
    names = ("reward", "entropy", "ended_share", "won_share")
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


def between(ends: tuple[float, float], way: tuple[float, float]) -> tuple[float, float]:
    """The values at two parts of the way from one end to the other."""
    first, last = ((1 - part) * ends[0] + part * ends[1] for part in way)
    return first, last
