"""Learning to act from scratch by planning.

Random steps, then rounds of fit, plan and explore, and a last fit.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import gymnasium as gym

from wm_agents.planning import defaults
from wm_agents.planning.collector import ActionRepeatAgent, Collector
from wm_agents.planning.controller import PlanningAgent
from wm_agents.planning.defaults import PlannerName
from wm_agents.planning.planner import planned_actions
from wm_agents.protocols import Planner, WorldModel
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.training.config_checks import renamed_settings, require_between, require_integers
from wm_agents.training.seeding import capture_random_state, restore_random_state
from wm_agents.training.trainer import Trainer
from wm_envs.data.trajectories import Trajectories

FitModel = Callable[[Trajectories, int], WorldModel]
"""(everything recorded, round) -> a model fitted to it."""

MakePlanner = Callable[[WorldModel, Trajectories, bool], Planner]
"""(model, everything recorded, is this planner to explore) -> a planner on the model."""


@renamed_settings(longest_hold="max_repeat")
@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """How a budget of real steps is spent.

    Attributes:
        max_real_steps: Steps in the real environment, all told.
        random_share: Share of them that are random, at the beginning.
        num_rounds: Rounds of fitting and planning over which the rest is spread.
        exploration: Action noise while collecting, see `PlanningAgent`.
        max_repeat: In the second half of the random steps each action is repeated for a random time
            of at most so many steps, which reaches what dithering never does; 1 leaves that out.
            Where all observations are whole numbers no action is repeated: tokens have no momentum.

    Raises:
        ConfigError: A value that cannot work.
    """

    max_real_steps: int
    random_share: float = 0.4
    num_rounds: int = 3
    exploration: float = 0.1
    max_repeat: int = 64

    def __post_init__(self) -> None:
        require_integers(1, max_real_steps=self.max_real_steps, max_repeat=self.max_repeat)
        require_integers(0, num_rounds=self.num_rounds)
        require_between(0, 1, random_share=self.random_share, exploration=self.exploration)

    @property
    def schedule(self) -> tuple[int, ...]:
        """Real steps at random and in each round; they sum to `max_real_steps`."""
        if self.num_rounds == 0:
            return (self.max_real_steps,)
        # At least one random step: no model can be fitted to nothing.
        first = max(1, round(self.random_share * self.max_real_steps))
        each, rest = divmod(self.max_real_steps - first, self.num_rounds)
        # The last round takes what division leaves over.
        return (first, *[each] * (self.num_rounds - 1), each + rest)


@dataclass(frozen=True)
class Learned:
    """What learning left.

    The model, the planner on it, all that was recorded, and the figures of each round.
    """

    model: WorldModel
    planner: Planner
    trajectories: Trajectories
    num_real_steps: int
    rounds: list[dict[str, float]] = field(default_factory=list)


def learn_to_plan(
    env: gym.Env[Any, Any],
    config: LearningConfig,
    fit_model: FitModel | None = None,
    make_planner: MakePlanner | None = None,
    *,
    seed: int,
    planner: PlannerName = "auto",
    on_round: Callable[[dict[str, float]], None] | None = None,
    checkpoints: CheckpointManager | None = None,
    progress: bool | None = False,
) -> Learned:
    """Learn a model and a planner within a budget of real steps.

    Args:
        env: Where the steps are taken.
        config: How the budget is spent.
        fit_model: Learns from everything so far; None takes a model that suits the spaces, see
            `wm_agents.planning.defaults.fit_model`.
        make_planner: Builds the planner that explores, and at the end the one that acts; None makes
            `planner`.
        seed: Of the environment, its random actions and the planner's samples.
        planner: A name for `wm_agents.planning.defaults.make_planner`.
        on_round: Called with the figures of each round.
        checkpoints: Where to save after the random steps and after each round. A run that was
            stopped resumes bitwise from the newest checkpoint there, if the environment repeats
            itself and `fit_model` and `make_planner` depend on their arguments alone; an
            interrupted round is begun again.
        progress: Of the fits and of the steps in each round: a bar on a terminal, elsewhere lines;
            None: there only of long work.

    Raises:
        SpaceError: Observations that no codec serves, or actions that no planner serves; no step
            was taken.
        CheckpointError: The checkpoints are of another run, or the environment does not repeat
            itself.
    """
    # Before the first real step, which may cost something.
    planned_actions(env.action_space, "learn_to_plan")
    fit_model = fit_model or _default_fit(env, seed, progress)
    make_planner = make_planner or _default_planner(planner, seed)
    run = _PlanningRun(env, config, fit_model, make_planner, seed, on_round, progress)
    Trainer(
        run,
        len(config.schedule),
        description="rounds",
        evaluate_every=1,
        checkpoints=checkpoints,
        checkpoint_every=1,
    ).train()
    trajectories = run.collector.trajectories()
    # Fitted again to everything, the last round's steps included.
    model = fit_model(trajectories, len(config.schedule) - 1)
    acting = make_planner(model, trajectories, False)
    return Learned(model, acting, trajectories, run.collector.num_steps, run.rounds)


def _default_fit(env: gym.Env[Any, Any], seed: int, progress: bool | None) -> FitModel:
    def fit(trajectories: Trajectories, _: int) -> WorldModel:
        model: WorldModel = defaults.fit_model(
            env.observation_space, env.action_space, trajectories, seed, progress=progress
        )
        return model

    return fit


def _default_planner(name: PlannerName, seed: int) -> MakePlanner:
    def plan(model: WorldModel, trajectories: Trajectories, is_exploring: bool) -> Planner:
        return defaults.make_planner(
            name, model, trajectories, seed=seed, is_exploring=is_exploring
        )

    return plan


class _PlanningRun:
    """The phases of learning as updates of the training loop: random steps, then one round each."""

    def __init__(
        self,
        env: gym.Env[Any, Any],
        config: LearningConfig,
        fit_model: FitModel,
        make_planner: MakePlanner,
        seed: int,
        on_round: Callable[[dict[str, float]], None] | None,
        progress: bool | None,
    ) -> None:
        self.collector = Collector(env, seed)
        self.rounds: list[dict[str, float]] = []
        self._env = env
        self._config = config
        self._fit_model = fit_model
        self._make_planner = make_planner
        self._seed = seed
        self._on_round = on_round
        self._progress = progress

    def step(self, update: int) -> dict[str, float]:
        """Collect at random first, then fit, plan and explore."""
        num_steps = self._config.schedule[update]
        if update == 0:
            self._collect_at_random(num_steps)
            return {}
        # Every round has its number all the same, so that seeds do not shift.
        if num_steps == 0:  # a budget that is smaller than the number of rounds
            return {}
        figures = self._explore(update - 1, num_steps)
        self.rounds.append(figures)
        if self._on_round is not None:
            self._on_round(figures)
        return figures

    def state_dict(self) -> dict[str, Any]:
        """What was done in the environment, and what came of it."""
        return {
            "experience": self.collector.state(),
            "rounds": self.rounds,
            "random": capture_random_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do the same steps again."""
        self.collector.replay(state["experience"])
        self.rounds.extend(state["rounds"])
        restore_random_state(state["random"])

    def fingerprint(self) -> dict[str, Any]:
        """The configuration, the seed and the spaces."""
        return {
            "kind": "planning",
            "config": asdict(self._config),
            "seed": self._seed,
            "spaces": [str(self._env.observation_space), str(self._env.action_space)],
        }

    def _collect_at_random(self, num_steps: int) -> None:
        """Half of the steps with independent actions, half with repeated ones."""
        # Independent actions show the effects of single ones, repeated ones get somewhere.
        num_independent = (num_steps + 1) // 2
        self.collector.collect(num_independent, progress=self._progress)
        max_repeat = self._config.max_repeat
        # In worlds of tokens a repeated action often just undoes itself or stays.
        if self.collector.trajectories().is_lattice:
            max_repeat = 1
        agent = ActionRepeatAgent(self._env.action_space, max_repeat, self._seed)
        self.collector.collect(num_steps - num_independent, agent, progress=self._progress)

    def _explore(self, number: int, num_steps: int) -> dict[str, float]:
        """One round; its figures."""
        trajectories = self.collector.trajectories()
        model = self._fit_model(trajectories, number)
        planner = self._make_planner(model, trajectories, True)
        agent = PlanningAgent(
            # Another seed in each round: the same noise would explore the same way again.
            model,
            planner,
            exploration=self._config.exploration,
            seed=self._seed + number,
        )
        self.collector.collect(num_steps, agent, progress=self._progress)
        trajectories = self.collector.trajectories()
        return {
            "round": number,
            "real_steps": self.collector.num_steps,
            "episodes": trajectories.num_episodes,
            "terminations": int(trajectories.terminations.sum()),
            "recent_return": float(trajectories.returns[-5:].mean()),
        }
