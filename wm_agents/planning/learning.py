"""Learning to act from scratch by planning.

Random steps, then rounds of fit, plan, explore, and a last fit.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import gymnasium as gym
import torch

from wm_agents.planning.controller import PlanningAgent
from wm_agents.planning.experience import Experience
from wm_agents.planning.holding import HeldActionAgent
from wm_agents.planning.spaces import check_action_space
from wm_agents.protocols import Planner, WorldModel
from wm_agents.training.checkpoints import CheckpointManager, refusing_misfits
from wm_agents.training.config_checks import require_between, require_integers
from wm_agents.training.seeding import capture_random_state, restore_random_state
from wm_envs.data.trajectories import Trajectories

FitModel = Callable[[Trajectories, int], WorldModel]
"""(everything experienced, round) -> a model fitted to it."""

MakePlanner = Callable[[WorldModel, Trajectories, bool], Planner]
"""(model, everything experienced, is this planner to explore) -> a planner on the model."""


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """How a budget of real steps is spent.

    Attributes:
        max_real_steps: Steps in the real environment, all told.
        random_share: Share of them that are random, at the beginning.
        num_rounds: Rounds of fitting and planning over which the rest is spread.
        exploration: Action noise while collecting, see `PlanningAgent`.
        longest_hold: In the second half of the random steps each action is held for a random time
            of at most so many steps, which reaches what dithering never does; 1 leaves that out.
            Where all observations are whole numbers no action is held: tokens have no momentum.

    Raises:
        ConfigError: A value that cannot work.
    """

    max_real_steps: int
    random_share: float = 0.4
    num_rounds: int = 3
    exploration: float = 0.1
    longest_hold: int = 64

    def __post_init__(self) -> None:
        require_integers(1, max_real_steps=self.max_real_steps, longest_hold=self.longest_hold)
        require_integers(0, num_rounds=self.num_rounds)
        require_between(0, 1, random_share=self.random_share, exploration=self.exploration)

    @property
    def schedule(self) -> tuple[int, ...]:
        """Real steps at random and in each round; they sum to `max_real_steps`."""
        if self.num_rounds == 0:
            return (self.max_real_steps,)
        first = max(1, round(self.random_share * self.max_real_steps))
        each, rest = divmod(self.max_real_steps - first, self.num_rounds)
        return (first, *[each] * (self.num_rounds - 1), each + rest)


@dataclass(frozen=True)
class Learned:
    """What learning left.

    The model, the planner on it, the experience, and the returns of each round's episodes.
    """

    model: WorldModel
    planner: Planner
    trajectories: Trajectories
    num_real_steps: int
    rounds: list[dict[str, float]] = field(default_factory=list)


def learn_to_plan(
    env: gym.Env[Any, Any],
    config: LearningConfig,
    fit_model: FitModel,
    make_planner: MakePlanner,
    *,
    seed: int,
    on_round: Callable[[dict[str, float]], None] | None = None,
    checkpoints: CheckpointManager | None = None,
) -> Learned:
    """Learn a model and a planner within a budget of real steps.

    Args:
        env: Where the steps are taken.
        config: How the budget is spent.
        fit_model: Learns from everything so far.
        make_planner: Builds the planner that explores, and at the end the one that acts.
        seed: Of the environment, its random actions and the planner's samples.
        on_round: Called with the figures of each round.
        checkpoints: Where to save after the random steps and after each round. A run that was
            stopped goes on from the newest checkpoint there to the bit, if the environment repeats
            itself and `fit_model` and `make_planner` depend on their arguments alone; an
            interrupted round is begun again.

    Raises:
        SpaceError: Observations other than flat Box or Discrete, or actions that no planner serves;
            no step was taken.
        CheckpointError: The checkpoints are of another run, or the environment does not repeat
            itself.
    """
    check_action_space(env.action_space, "learn_to_plan")
    experience = Experience(env, seed)
    rounds: list[dict[str, float]] = []
    run = {"kind": "planning", "config": asdict(config), "seed": seed, "spaces": _spaces(env)}
    random_steps, *later = config.schedule
    num_done = _resume(experience, rounds, checkpoints, run)
    if num_done == 0:
        _collect_at_random(experience, env.action_space, random_steps, config.longest_hold, seed)
        _save(experience, rounds, checkpoints, run, 1)
    for number, num_steps in enumerate(later):
        if num_steps == 0 or number + 1 < num_done:
            continue
        trajectories = experience.trajectories()
        model = fit_model(trajectories, number)
        planner = make_planner(model, trajectories, True)
        agent = PlanningAgent(model, planner, exploration=config.exploration, seed=seed + number)
        experience.collect(num_steps, agent)
        rounds.append(_figures(experience, number))
        _save(experience, rounds, checkpoints, run, number + 2)
        if on_round is not None:
            on_round(rounds[-1])
    trajectories = experience.trajectories()
    model = fit_model(trajectories, len(later))
    return Learned(
        model, make_planner(model, trajectories, False), trajectories, experience.num_steps, rounds
    )


def _collect_at_random(
    experience: Experience,
    action_space: gym.Space[Any],
    num_steps: int,
    longest_hold: int,
    seed: int,
) -> None:
    num_dithering = (num_steps + 1) // 2
    experience.collect(num_dithering)
    if experience.trajectories().is_lattice:
        longest_hold = 1
    experience.collect(num_steps - num_dithering, HeldActionAgent(action_space, longest_hold, seed))


def _spaces(env: gym.Env[Any, Any]) -> list[str]:
    return [str(env.observation_space), str(env.action_space)]


def _save(
    experience: Experience,
    rounds: list[dict[str, float]],
    checkpoints: CheckpointManager | None,
    run: dict[str, Any],
    num_done: int,
) -> None:
    """Save what `num_done` phases left: the random steps are the first, each round is one more."""
    if checkpoints is not None:
        state = {
            "experience": experience.state(),
            "rounds": rounds,
            "random": capture_random_state(),
        }
        checkpoints.save_state(num_done, state, run)


def _resume(
    experience: Experience,
    rounds: list[dict[str, float]],
    checkpoints: CheckpointManager | None,
    run: dict[str, Any],
) -> int:
    """Bring back the newest checkpoint; the number of phases that it holds, 0 without one."""
    found = None if checkpoints is None else checkpoints.latest_state(run)
    if found is None:
        return 0
    num_done, state = found
    with refusing_misfits("a run of learn_to_plan"):
        experience.replay(state["experience"])
        rounds.extend(state["rounds"])
        restore_random_state(state["random"])
    return num_done


def _figures(experience: Experience, number: int) -> dict[str, float]:
    trajectories = experience.trajectories()
    recent = trajectories.returns[-5:]
    return {
        "round": number,
        "real_steps": experience.num_steps,
        "episodes": trajectories.num_episodes,
        "terminations": int(trajectories.terminations.sum()),
        "recent_return": float(recent.mean()),
    }


def start_states(trajectories: Trajectories) -> torch.Tensor:
    """The observations [S, O] from which steps were taken: where imagination may begin."""
    return torch.as_tensor(trajectories.observations[trajectories.observation_of_step])
