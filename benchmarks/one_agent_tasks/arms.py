"""The learners that are compared, with their own defaults and the same number of real steps."""

import time
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from gymnasium import spaces

import wm_agents as wma
from benchmarks.one_agent_tasks.adapters import (
    BudgetSpent,
    CountedEnv,
    DmEnv,
    for_stable_baselines,
)
from wm_agents.evaluation.episodes import RandomAgent
from wm_agents.learners.imagined_frames import ImaginedFramesConfig
from wm_agents.learners.imagined_policy import ImaginedPolicyConfig
from wm_agents.learners.memory_policy import MemoryPolicyConfig
from wm_agents.learners.race import RaceConfig
from wm_agents.learners.replay_values import ReplayValuesConfig
from wm_agents.learners.search import SearchLearnerConfig
from wm_agents.learners.table import TableConfig
from wm_agents.protocols import Agent

IMAGINED = ImaginedPolicyConfig(), ImaginedFramesConfig()
MEMORY, REPLAY = MemoryPolicyConfig(), ReplayValuesConfig()


class NotApplicable(Exception):  # noqa: N818  (no error: the arm has no row there)
    """An arm cannot run: its package is missing, or it does not take such actions."""


@dataclass(frozen=True)
class Learned:
    """What an arm made of its budget.

    Attributes:
        agent: What acts now.
        real_steps: Taken in the environment.
        cpu_seconds: Of this process, in learning.
        seeds: All that the environment was reset with.
        decisions: What the learner says of itself.
    """

    agent: Agent
    real_steps: int
    cpu_seconds: float
    seeds: frozenset[int] = frozenset()
    decisions: dict[str, str] = field(default_factory=dict)


Learner = Callable[[CountedEnv, int, int], tuple[Agent, dict[str, str]]]
"""(environment, seed, budget) -> agent and its decisions."""


def learn(arm: str, env: gym.Env[Any, Any], seed: int, budget: int) -> Learned:
    """Let an arm learn in an environment.

    Args:
        arm: One of `ARMS`.
        env: One environment; it is not closed.
        seed: Of the arm and of the environment's first episode.
        budget: Real steps.

    Raises:
        NotApplicable: The arm does not take such actions, or its package is missing.
    """
    # Our own agent is asked to keep its word; the libraries round budgets up and are held to it.
    is_ours = arm in OURS
    counted = CountedEnv(env, None if is_ours else budget)
    started = time.process_time()
    agent, decisions = ARMS[arm](counted, seed, budget)
    seconds = time.process_time() - started
    # An agent that builds more environments for itself says how many steps it took in all.
    reported = int(getattr(agent, "num_timesteps", 0))
    steps = max(counted.num_steps, reported) if is_ours else counted.num_steps
    return Learned(agent, steps, seconds, frozenset(counted.seeds), decisions)


def takes_flat_observations(arm: str) -> bool:
    """Whether the arm needs `for_stable_baselines` where it acts as well."""
    return arm in ("ppo", "dqn", "sac", "recurrent_ppo")


def _world_model_agent(*learners: Any) -> Learner:
    """Our agent; with settings of its ways of acting an agent that lacks something."""
    race = RaceConfig(learners=learners) if learners else RaceConfig()

    def train(env: CountedEnv, seed: int, budget: int) -> tuple[Agent, dict[str, str]]:
        config = wma.WorldModelAgentConfig(race=race)
        agent = wma.WorldModelAgent(env, seed=seed, config=config)
        agent.learn(budget, progress_bar=False)
        return agent, {str(name): str(reason) for name, reason in agent.decisions.items()}

    return train


def _random(env: CountedEnv, seed: int, budget: int) -> tuple[Agent, dict[str, str]]:
    """Uniform actions; the steps are taken only where bsuite counts what happens in them."""
    if isinstance(env.unwrapped, DmEnv):
        space = deepcopy(env.action_space)
        space.seed(seed)
        env.reset(seed=seed)
        for _ in range(budget):
            _, _, terminated, truncated, _ = env.step(space.sample())
            if terminated or truncated:
                env.reset()
    return RandomAgent(env.action_space, seed), {}


def _stable_baselines(name: str) -> Learner:
    def train(env: CountedEnv, seed: int, budget: int) -> tuple[Agent, dict[str, str]]:
        algorithm, policy, options = _algorithm(name, env, budget)
        options |= {"seed": seed, "device": "cpu"}
        model = algorithm(policy, for_stable_baselines(env), **options)
        # The last rollout, which would go beyond the budget, is broken off.
        with suppress(BudgetSpent):
            model.learn(budget)
        return model, {"algorithm": algorithm.__name__, "policy": policy}

    return train


def _algorithm(name: str, env: CountedEnv, budget: int) -> tuple[Any, str, dict[str, Any]]:
    """Class, policy, and what of the defaults has to be said."""
    import stable_baselines3

    if name == "ppo":
        return stable_baselines3.PPO, "MlpPolicy", {}
    if name == "recurrent_ppo":
        try:
            import sb3_contrib
        except ImportError:
            raise NotApplicable("sb3-contrib is not installed") from None
        return sb3_contrib.RecurrentPPO, "MlpLstmPolicy", {}
    wanted = spaces.Discrete if name == "dqn" else spaces.Box
    if not isinstance(env.action_space, wanted):
        raise NotApplicable(f"{name} does not take actions of {env.action_space}")
    # A memory of the default million steps would stay empty beyond the budget.
    options = {"buffer_size": min(1_000_000, budget)}
    algorithm = stable_baselines3.DQN if name == "dqn" else stable_baselines3.SAC
    return algorithm, "MlpPolicy", options


OURS: dict[str, Learner] = {
    "world_model_agent": _world_model_agent(),
    "without_memory": _world_model_agent(
        TableConfig(),
        SearchLearnerConfig(),
        *IMAGINED,
        MemoryPolicyConfig(context_length=1),
        REPLAY,
    ),
    "without_imagination": _world_model_agent(TableConfig(), SearchLearnerConfig(), MEMORY, REPLAY),
    "without_prediction": _world_model_agent(
        TableConfig(),
        SearchLearnerConfig(),
        MemoryPolicyConfig(world_model_coef=0.0),
        ReplayValuesConfig(model_coef=0.0),
    ),
    "without_search": _world_model_agent(TableConfig(), *IMAGINED, MEMORY, REPLAY),
    "without_planning": _world_model_agent(*IMAGINED, MEMORY, REPLAY),
    "without_exploration": _world_model_agent(
        TableConfig(is_optimistic=False),
        SearchLearnerConfig(),
        ImaginedPolicyConfig(noise=0.0),
        ImaginedFramesConfig(ent_coef=(0.0, 0.0)),
        MemoryPolicyConfig(ent_coef=0.0),
        ReplayValuesConfig(max_repeat=1),
    ),
}
"""The agent with its one configuration, and agents that lack a part of it.

Without planning neither the table's values nor search is there, and without prediction there is no
model to imagine in. Without exploration the table takes
what it knows but for one random step in ten, the policy has no entropy to keep, and exploring
actions are not held."""

ARMS: dict[str, Learner] = OURS | {
    "ppo": _stable_baselines("ppo"),
    "dqn": _stable_baselines("dqn"),
    "sac": _stable_baselines("sac"),
    "recurrent_ppo": _stable_baselines("recurrent_ppo"),
    "random": _random,
}
