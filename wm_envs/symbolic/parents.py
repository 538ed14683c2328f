"""Parents of the symbolic tasks: who says what follows from an action.

The deterministic parent is the task's own rules. A language model may take its place; where it
fails or contradicts the rules of the game, the deterministic parent answers. `check_consistency`
tells whether a parent's word can be used.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wm_envs.data.options import check_integer
from wm_envs.data.specs import spec_of
from wm_envs.environment import KernelEnv
from wm_envs.errors import LanguageModelError
from wm_envs.language_model import LanguageModelClient, is_number
from wm_envs.oracle import rollout, rules_of
from wm_envs.rules import Rules

State = NDArray[Any]
INSTRUCTIONS = """You are the rules of a small game with symbols. {about}
You get the current observation as a list of numbers, the action, and the number of the \
hidden instance.
Answer with JSON alone: {{"next_observation": [{size} numbers], "reward": one number}}."""
INSTANCE_INSTRUCTIONS = """You choose the next instance of a game with symbols. {about}
Answer with JSON alone: {{"instance": an integer from 0 to {last}}}."""


@dataclass(frozen=True)
class _Consequence:
    """What follows from an action: the next observation, float32 [O], and the reward."""

    next_observation: NDArray[np.float32]
    reward: float


class Parent(Protocol):
    """Answers for one task; states come from `clone_state()`."""

    env_id: str

    def transition(self, state: State, action: int) -> NDArray[np.float32]:
        """The next observation [O]."""
        ...

    def reward(self, state: State, action: int) -> float:
        """The reward of the action."""
        ...

    def instance(self, episode: int) -> int:
        """The hidden instance that an episode is played on."""
        ...


class DeterministicParent:
    """The rules themselves, with the randomness that the state carries.

    Args:
        env_id: A symbolic id such as "wm/PermPuzzle-v0".
        num_instances: Instances that `instance` goes through in turn.
        **options: Options of the environment.

    Raises:
        OptionError: The id has no native rules, or `num_instances` is below 1.
    """

    def __init__(self, env_id: str, num_instances: int = 1, **options: Any) -> None:
        self.num_instances = check_integer("num_instances", num_instances, 1)
        self.env_id = env_id
        self.options = options
        self.rules: Rules = rules_of(env_id, options)

    def consequence(self, state: State, action: int) -> _Consequence:
        """Transition and reward in one."""
        actions = np.array([[action]])
        observations, rewards, _ = rollout(
            self.env_id, np.stack([state]), actions, env_kwargs=self.options
        )
        return _Consequence(observations[0, 1], float(rewards[0, 0]))

    def transition(self, state: State, action: int) -> NDArray[np.float32]:
        """The next observation [O]."""
        return self.consequence(state, action).next_observation

    def reward(self, state: State, action: int) -> float:
        """The reward of the action."""
        return self.consequence(state, action).reward

    def instance(self, episode: int) -> int:
        """Instances in turn."""
        return episode % self.num_instances

    def observe(self, state: State) -> NDArray[np.float32]:
        """The observation [O] of a state."""
        rows = np.stack([state])
        observations = np.zeros((1, len(self.rules.observation_fields)), np.float32)
        self.rules.observe_rows(rows, self.rules.parameters, observations)
        return observations[0]


class LanguageModelParent:
    """A language model as the parent, with the deterministic one behind it.

    Answers are kept for each observation and action, so that the same question has one answer. An
    answer of the wrong shape, outside the observation space, or none at all, is counted in
    `num_fallbacks`, and the fallback answers.

    Args:
        client: The endpoint.
        fallback: The deterministic parent of the task.
    """

    def __init__(self, client: LanguageModelClient, fallback: DeterministicParent) -> None:
        self.client = client
        self.fallback = fallback
        self.env_id = fallback.env_id
        self.num_fallbacks = 0
        # By observation and not by state: the random stream in the state would make every question
        # new.
        self._known: dict[tuple[bytes, int], _Consequence] = {}
        self._space = fallback.rules.observation_space
        self._about = _about(fallback.env_id)

    def consequence(self, state: State, action: int) -> _Consequence:
        """What follows by the model's word, or by the rules where its word is no use."""
        observation = self.fallback.observe(state)
        key = (observation.tobytes(), int(action))
        # A model that is asked again may answer otherwise, and would not be one game.
        if key not in self._known:
            self._known[key] = self._ask(observation, state, action)
        return self._known[key]

    def transition(self, state: State, action: int) -> NDArray[np.float32]:
        """The next observation [O]."""
        return self.consequence(state, action).next_observation

    def reward(self, state: State, action: int) -> float:
        """The reward of the action."""
        return self.consequence(state, action).reward

    def instance(self, episode: int) -> int:
        """The instance that the model chooses, or the fallback's."""
        instructions = INSTANCE_INSTRUCTIONS.format(
            about=self._about, last=self.fallback.num_instances - 1
        )
        try:
            instance_number: int = self.client.ask(
                instructions, f"Episode {episode}.", self._checked_instance
            )
        except LanguageModelError:
            self.num_fallbacks += 1
            return self.fallback.instance(episode)
        return instance_number

    def _ask(self, observation: NDArray[np.float32], state: State, action: int) -> _Consequence:
        question = {
            "observation": observation.tolist(),
            "action": int(action),
            "instance": self.fallback.options.get("instance", 0),
        }
        instructions = INSTRUCTIONS.format(about=self._about, size=len(observation))
        try:
            consequence: _Consequence = self.client.ask(
                instructions, json.dumps(question), self._checked
            )
        except LanguageModelError:
            # Counted, so that a run says how much of it the model had a part in.
            self.num_fallbacks += 1
            return self.fallback.consequence(state, action)
        return consequence

    def _checked(self, answer: Any) -> _Consequence:
        if not isinstance(answer, dict) or set(answer) != {"next_observation", "reward"}:
            raise ValueError("expected next_observation and reward")
        numbers, reward = answer["next_observation"], answer["reward"]
        if (
            not isinstance(numbers, list)
            or not all(is_number(value) for value in numbers)
            or not is_number(reward)
        ):
            raise ValueError("next_observation is a list of numbers and reward a number")
        # As float32, since the space is asked whether it contains the array.
        # Python's numbers are float64, which the space would refuse.
        observation = np.array(numbers, np.float32)
        if not self._space.contains(observation):
            raise ValueError(f"next_observation is not in {self._space}")
        return _Consequence(observation, float(reward))

    def _checked_instance(self, answer: Any) -> int:
        if not isinstance(answer, dict) or set(answer) != {"instance"}:
            raise ValueError("expected instance")
        value = answer["instance"]
        if (
            # In Python True is an integer, too.
            isinstance(value, bool)
            or not isinstance(value, int)
            or not 0 <= value < self.fallback.num_instances
        ):
            raise ValueError(f"instance is an integer from 0 to {self.fallback.num_instances - 1}")
        return value


@dataclass(frozen=True)
class _Consistency:
    """How a parent fares against the rules.

    Attributes:
        num_questions: States and actions asked.
        num_unequal_repeats: Questions that got another answer the second time.
        num_wrong_transitions: Next observations other than those of the rules.
        num_wrong_rewards: Rewards other than those of the rules.
    """

    num_questions: int
    num_unequal_repeats: int
    num_wrong_transitions: int
    num_wrong_rewards: int

    @property
    def is_consistent(self) -> bool:
        """Whether nothing was found."""
        return self.num_unequal_repeats == self.num_wrong_transitions == self.num_wrong_rewards == 0


def check_consistency(
    parent: Parent, rules: DeterministicParent, num_steps: int = 50, seed: int = 0
) -> _Consistency:
    """Ask a parent along random episodes, each question twice, and compare with the rules.

    Only tasks whose next observation follows from the shown one are decidable this way; where the
    next symbol is drawn at random, a parent that does not know the stream is wrong by chance.
    """
    counts = np.zeros(3, np.int64)
    steps = _random_steps(rules, num_steps, seed)
    for state, action in steps:
        first = parent.transition(state, action), parent.reward(state, action)
        # Asked twice, so that a parent that answers at random shows.
        second = parent.transition(state, action), parent.reward(state, action)
        truth = rules.consequence(state, action)
        counts[0] += not (np.array_equal(first[0], second[0]) and first[1] == second[1])
        counts[1] += not np.array_equal(first[0], truth.next_observation)
        # Rewards of a language model come from text, in which 0.1 is not the float32 of the rules.
        counts[2] += not np.isclose(first[1], truth.reward, atol=1e-6)
    return _Consistency(len(steps), *counts.tolist())


def _random_steps(
    rules: DeterministicParent, num_steps: int, seed: int
) -> Sequence[tuple[State, int]]:
    env = gym.make(rules.env_id, **rules.options)
    generator = np.random.default_rng(seed)
    single: Any = env.unwrapped
    # The state is cloned before the step: it is what the question is about.
    assert isinstance(single, KernelEnv)
    assert isinstance(rules.rules.action_space, spaces.Discrete)  # as in every symbolic task
    num_actions = int(rules.rules.action_space.n)
    steps, is_over = [], True
    for number in range(num_steps):
        if is_over:
            env.reset(seed=seed + number)
        action = int(generator.integers(num_actions))
        steps.append((single.clone_state(), action))
        _, _, terminated, truncated, _ = env.step(action)
        is_over = terminated or truncated
    env.close()
    return steps


def _about(env_id: str) -> str:
    """What the documentation of a task says of its rules."""
    from gymnasium.envs.registration import load_env_creator

    load: Callable[[str], Any] = load_env_creator
    vector_class = load(str(spec_of(env_id).vector_entry_point))
    text = vector_class.env_class.__doc__ or ""
    return " ".join(text.partition("## Rewards")[0].split())
