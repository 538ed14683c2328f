"""Pong learned in imagination: collect, refit the world model, improve the policy in it, repeat.

At most `max_real_steps` steps of the real game are taken, counted from the first; everything else
happens in an `ObjectModel` served by `ImaginedVectorEnv`, in which PPO learns from short branches that
start in recorded states and end with a point. The first steps are those of a scripted explorer, and
much of the game's rules is specified (`PongView` says what): not everything is learned.

With `specified="none"` nothing is: the model is a `StackedForestModel`, which finds the structure of
the observation in the recording, the first steps hold random actions for random times, rewards are
not shaped, and the policy reads what the view found. `specification` counts what is told.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.domains.pong.features import is_flying_to_enemy
from wm_agents.domains.pong.object_view import PongView, calibrated_view
from wm_agents.domains.pong.specification import Specified, specified_knowledge
from wm_agents.errors import ConfigError, SpaceError
from wm_agents.evaluation.episodes import evaluate
from wm_agents.imagination.features import FeatureAgent, FeatureModel, feature_space
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.planning.collector import ActionRepeatAgent, Collector
from wm_agents.policy_gradient.ppo import PPO, PPOConfig
from wm_agents.training.trainer import Callback, Checkpoints, FitReport, Trainer
from wm_agents.world_models.object_fitting import ObjectConfig
from wm_agents.world_models.objects import ObjectModel
from wm_agents.world_models.stacked import StackedView
from wm_agents.world_models.stacked_forest import StackedForestModel
from wm_agents.world_models.stacked_search import ForestConfig, PartSelection
from wm_envs.data.trajectories import Trajectories
from wm_envs.pong.players import Explorer

Array = NDArray[Any]

EVALUATION_SEED = 50_000  # added to a run's seed, so that its evaluation games are new ones
# Shares of the real steps and updates in imagination, by round. Forests on what was found know little
# of rare events, such as a ball on a paddle, before a policy that seeks them has met some: they take
# many short rounds.
_FOREST_ROUNDS = ((0.2, *(0.1,) * 8), (20, 20, 30, 30, 40, 40, 40, 40, 120))
ROUNDS: dict[Specified, tuple[tuple[float, ...], tuple[int, ...]]] = {
    "none": _FOREST_ROUNDS,
    "roles": _FOREST_ROUNDS,
    "everything": ((0.2, 0.2, 0.2, 0.4), (120, 100, 100, 160)),
}
DREAM_PPO = PPOConfig(
    widths=(96, 96),
    activation="relu",
    batch_size=2048,
    n_epochs=3,
    normalize_observations=False,  # the view's features are of one size already
)
# Tiles learn faster: larger steps, and fewer passes over what was imagined.
FOREST_PPO = replace(DREAM_PPO, n_epochs=2)
LEARNING_RATES: dict[Specified, tuple[float, float]] = {
    "none": (12e-4, 3e-4),
    "roles": (12e-4, 3e-4),
    "everything": (7e-4, 2e-4),
}


@dataclass(frozen=True)
class DreamConfig:
    """Learning in imagination."""

    env_id: str = "wm/PongAtari-v0"
    """Either Pong."""
    seed: int = 0
    """Of the game, the model, the policy and everything drawn."""
    max_real_steps: int = 100_000
    """Steps of the real game, evaluation apart."""
    repeat_action_probability: float = 0.25
    """Sticky actions, in training and evaluation."""
    specified: Specified = "everything"
    """What the model, the policy and the first player are told of the game."""
    is_measured: bool = True
    """Estimate the constants of paddle and walls from the first round's recording, unless it is too
    short; else they are specified."""
    shares: tuple[float, ...] = ()
    """Of the real steps, by round; none given takes those of what is specified.

    The first round explores, with a scripted player or at random, the others with the policy.
    """
    dream_updates: tuple[int, ...] = ()
    """Updates of PPO in imagination, by round; none given takes those of what is specified."""
    num_dreams: int = 256
    """Imagined rows."""
    dream_horizon: int = 192
    """Steps after which a branch is cut off, if no point has ended it."""
    shaping: float = 0.2
    """Potential of a ball that flies to the enemy, in points."""
    learning_rate: tuple[float, ...] = ()
    """Of PPO: at first, and at the end of the last round; none given takes those of what is
    specified."""
    entropy: tuple[float, float] = (0.01, 0.002)
    """Coefficient of the policy's entropy: at first, and at the end of the last round."""
    model: ObjectConfig = field(default_factory=lambda: ObjectConfig(dropout=0.1, num_updates=600))
    """Of the world model to which rules are specified."""
    forest: ForestConfig = field(
        default_factory=lambda: ForestConfig(
            num_trees=5, search_steps=6000, search_trees=3, searches_columns=False
        )
    )
    """Of the world model to which nothing is specified."""
    max_repeat: int = 16
    """The longest time for which the first random actions are held, if nothing is specified."""
    ppo: PPOConfig = DREAM_PPO
    """Of the policy; learning rate and entropy coefficient are those of the round. The default takes
    fewer passes where less than everything is specified."""

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """Options of the environment."""
        return {"repeat_action_probability": self.repeat_action_probability}

    @property
    def round_shares(self) -> tuple[float, ...]:
        """Of the real steps, by round."""
        return self.shares or ROUNDS[self.specified][0]

    @property
    def round_updates(self) -> tuple[int, ...]:
        """Updates in imagination, by round."""
        return self.dream_updates or ROUNDS[self.specified][1]

    @property
    def first_and_last_rate(self) -> tuple[float, float]:
        """Learning rates of PPO, at first and at the end."""
        first, last = self.learning_rate or LEARNING_RATES[self.specified]
        return first, last

    @property
    def policy_config(self) -> PPOConfig:
        """Of the policy at the level that is specified."""
        is_default = self.ppo == DREAM_PPO and self.specified != "everything"
        return FOREST_PPO if is_default else self.ppo

    def steps_of_rounds(self) -> list[int]:
        """The real steps of each round, together at most max_real_steps."""
        ends = np.rint(np.cumsum(self.round_shares) * self.max_real_steps).astype(int)
        return [int(steps) for steps in np.diff(ends, prepend=0)]

    def check(self) -> None:
        """Raise ConfigError before the first step for what would fail after many."""
        shares = self.round_shares
        updates = self.round_updates
        if len(self.learning_rate) not in (0, 2):
            raise ConfigError(f"learning_rate has a first and a last one, got {self.learning_rate}")
        if len(shares) != len(updates):
            raise ConfigError(
                f"each round has a share and dream updates, got {shares} and {updates}"
            )
        if min(shares) <= 0 or sum(shares) > 1 + 1e-9:
            raise ConfigError(f"the shares are positive and at most 1 together, got {shares}")
        if min(self.steps_of_rounds()) < 1:
            raise ConfigError(
                f"every round takes a real step: raise max_real_steps, got {self.max_real_steps}"
            )
        for name in ("num_dreams", "dream_horizon"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is at least 1, got {getattr(self, name)}")


# The only lines that know which PPO this is, beside the type of `DreamConfig.ppo`


def gamma_of(config: DreamConfig) -> float:
    """The policy's discount."""
    return config.ppo.gamma


def make_policy(
    config: DreamConfig, view: PongView | StackedView, action_space: gym.Space[Any]
) -> PPO:
    """A new policy on the features of a view."""
    return PPO((feature_space(view), action_space), config.policy_config, seed=config.seed)


def improve_policy(
    policy: PPO, env: ImaginedVectorEnv, config: DreamConfig, number: int
) -> dict[str, float]:
    """Learn in imagined episodes for the updates of a round; gives figures of it.

    Learning rate and entropy coefficient fall in the last round alone where there are few long
    rounds, and from the first to the last where there are many short ones.
    """
    num_rounds = len(config.round_shares)
    way = (number / num_rounds, (number + 1) / num_rounds)
    if config.specified == "everything":
        way = (0.0, float(number == num_rounds - 1))
    policy.config = replace(
        policy.config,
        learning_rate=_between(config.first_and_last_rate, way),
        ent_coef=_between(config.entropy, way),
    )
    policy.set_env(env)
    policy.learn(config.round_updates[number] * policy.config.n_steps * env.num_envs)
    assert policy.report is not None
    # The second half, where the policy is about what the round leaves behind.
    rows = policy.report.history[len(policy.report.history) // 2 :]
    names = ("reward", "entropy", "ended_share", "won_share")
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


def _between(ends: tuple[float, float], way: tuple[float, float]) -> tuple[float, float]:
    """The values at two parts of the way from one end to the other."""
    first, last = ((1 - part) * ends[0] + part * ends[1] for part in way)
    return first, last


class DreamTraining:
    """The rounds of a run, which can be interrupted between two of them.

    Attributes:
        experience: Real steps so far.
        view: How the game reads as objects; estimated in the first round.
        is_view_measured: Whether it was, or the recording was too short.
        policy: On the view's features.
        rounds: Figures of each round.
        seconds: Spent in rounds, those before an interruption included.
        cpu_seconds: Of the processor, likewise.
    """

    def __init__(self, config: DreamConfig) -> None:
        config.check()
        self.config = config
        self.env = gym.make(config.env_id, **config.env_kwargs)
        self.experience = Collector(self.env, config.seed)
        self.view: PongView | StackedView = PongView()
        self.is_view_measured = False
        # Where nothing is specified, the first recording says what a policy reads.
        self.policy = make_policy(config, self.view, self.env.action_space)
        self.rounds: list[dict[str, float]] = []
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self._selections: tuple[PartSelection, ...] = ()
        self._selected_steps = 0  # recorded when the selections were searched

    @property
    def agent(self) -> FeatureAgent:
        """The policy with the view through which it plays the real game."""
        return FeatureAgent(self.policy, self.view)

    def train(
        self, checkpoints: Checkpoints = None, callback: Callback | None = None
    ) -> list[dict[str, float]]:
        """Play all rounds, and give the figures of each.

        With checkpoints an interrupted run resumes after its last finished round, bitwise; of the
        game they hold only what was done in it, so that its real steps are taken again.

        Args:
            checkpoints: A manager, the path of a folder, or None for none.
            callback: Called with the number of rounds and the figures of the last one; False stops.
        """
        trainer = Trainer(
            self,
            len(self.config.round_shares),
            description="rounds",
            evaluate_every=1,
            checkpoints=checkpoints,
            checkpoint_every=1,
            callback=callback,
            first_update=len(self.rounds),
        )
        trainer.train()
        return self.rounds

    def step(self, update: int) -> dict[str, float]:
        """The next round, for the training loop."""
        began = time.perf_counter()
        cpu_began = time.process_time()
        figures = self.play_round(update)
        self.seconds += time.perf_counter() - began
        self.cpu_seconds += time.process_time() - cpu_began
        return figures

    def play_round(self, number: int) -> dict[str, float]:
        """Collect, refit, learn in imagination; figures of it."""
        config = self.config
        began = time.perf_counter()
        num_steps = config.steps_of_rounds()[number]
        self.experience.collect(num_steps, self.agent if self.rounds else self.first_player())
        trajectories = self.experience.trajectories()
        collected = time.perf_counter()
        model, report = self.fitted_model(trajectories, number)
        fitted = time.perf_counter()
        env = imagined_games(config, model, self.view, trajectories, number)
        figures = report.metrics | improve_policy(self.policy, env, config, number)
        figures |= {
            "collect_seconds": collected - began,
            "fit_seconds": fitted - collected,
            "dream_seconds": time.perf_counter() - fitted,
            "real_steps": self.experience.num_steps,
            "real_points_won": points_won(trajectories, num_steps),
        }
        self.rounds.append(figures)
        return figures

    def first_player(self) -> Any:
        """Who takes the first steps."""
        if self.config.specified == "none":
            action_space = self.env.action_space
            return ActionRepeatAgent(action_space, self.config.max_repeat, self.config.seed)
        return _Scripted(self.config.seed)

    def fitted_model(
        self, trajectories: Trajectories, number: int
    ) -> tuple[ObjectModel | StackedForestModel, FitReport]:
        """A world model of everything recorded, and the view that goes with it."""
        config = self.config
        if config.specified != "everything":
            return self._fitted_forest(trajectories)
        if number == 0 and config.is_measured:
            # Once: the policy's features rest on the view.
            self.view, self.is_view_measured = calibrated_view(trajectories)
        assert isinstance(self.view, PongView)
        model = ObjectModel.for_env(self.env, config.model, view=self.view, seed=config.seed)
        return model, model.fit(trajectories, progress=None)

    def _fitted_forest(self, trajectories: Trajectories) -> tuple[StackedForestModel, FitReport]:
        config = self.config
        view = self.view if isinstance(self.view, StackedView) else None
        # What is worth reading is searched again when twice as much is recorded: most of a fit.
        if trajectories.num_steps >= 2 * self._selected_steps:
            self._selections = ()
        model = StackedForestModel.for_env(self.env, config.forest, view=view, seed=config.seed)
        try:
            report = model.fit(trajectories, selections=self._selections)
        except SpaceError:
            # Something changes that never did before: the view and the policy begin again.
            model = StackedForestModel.for_env(self.env, config.forest, seed=config.seed)
            self._selections = ()
            report = model.fit(trajectories)
            view = None
        if not self._selections:
            self._selections = model.selections
            self._selected_steps = trajectories.num_steps
        if view is None:
            self.view = model.view
            self.is_view_measured = True
            self.policy = make_policy(config, self.view, self.env.action_space)
        return model, report

    def evaluate(self, num_games: int) -> dict[str, Any]:
        """Points won less points lost over full games with sampled actions, and what it took."""
        results = evaluate(
            self.agent,
            self.config.env_id,
            num_games,
            seed=self.config.seed + EVALUATION_SEED,
            env_kwargs=self.config.env_kwargs,
            deterministic=False,
        )
        return {
            "mean_score": results.mean_return,
            "worst_game": float(results.returns.min()),
            "games": len(results.returns),
            "mean_length": float(results.lengths.mean()),
            "real_steps": self.experience.num_steps,
            "seconds": self.seconds,
            "is_view_measured": self.is_view_measured,
            **specified_knowledge(self.config.specified).summary(),
        }

    def fingerprint(self) -> dict[str, Any]:
        """Which run this is."""
        names = DreamConfig.__dataclass_fields__
        settings = asdict(self.config)
        return {"kind": "Pong's dream"} | {name: settings[name] for name in names}

    def state_dict(self) -> dict[str, Any]:
        """Everything between two rounds; of the game only what was done in it."""
        return {
            "experience": self.experience.state(),
            "policy": self.policy.state(),
            "rounds": self.rounds,
            "view": self.view.to_json(),
            "is_view_measured": self.is_view_measured,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "selections": [selected.to_json() for selected in self._selections],
            "selected_steps": self._selected_steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the last finished round of this very run."""
        self.experience.replay(state["experience"])
        kind = PongView if self.config.specified == "everything" else StackedView
        self.view = kind.from_json(state["view"])
        self.policy = make_policy(self.config, self.view, self.env.action_space)
        self.policy.restore(state["policy"])
        self.is_view_measured = state["is_view_measured"]
        self.rounds = state["rounds"]
        self.seconds = float(state["seconds"])
        self.cpu_seconds = float(state["cpu_seconds"])
        self._selections = tuple(PartSelection.from_json(row) for row in state["selections"])
        self._selected_steps = int(state["selected_steps"])


class _Scripted:
    """The explorer, which presses FIRE when the ball is near, as an agent.

    Args:
        seed: Of its noise.
    """

    def __init__(self, seed: int) -> None:
        self.act = Explorer(seed)

    def predict(self, observation: Any, state: Any = None, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Its action for one observation."""
        return int(self.act(np.asarray(observation)[None])[0]), state


def imagined_games(
    config: DreamConfig,
    model: ObjectModel | StackedForestModel,
    view: PongView | StackedView,
    trajectories: Trajectories,
    number: int,
) -> ImaginedVectorEnv:
    """Branches from everything recorded, with rallies as episodes."""

    def potential(rows: Array) -> Array:
        return config.shaping * is_flying_to_enemy(rows)

    imagined = FeatureModel(
        model,
        view,
        # Where the ball flies is something that has to be told.
        potential=None if config.specified == "none" else potential,
        gamma=gamma_of(config),
    )
    return ImaginedVectorEnv(
        imagined,
        imagined.encode(model.starts(trajectories)),
        config.dream_horizon,
        config.num_dreams,
        autoreset_mode=AutoresetMode.DISABLED,
        seed=config.seed + 1000 * number,
    )


def points_won(trajectories: Trajectories, num_steps: int) -> float:
    """The share of the points that the collecting player won in the last steps."""
    rewards = trajectories.rewards[-num_steps:]
    return float((rewards > 0).sum() / max((rewards != 0).sum(), 1))
