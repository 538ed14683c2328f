"""A model to which nothing is specified, printed as a program: how much of it is readable.

    python -m benchmarks.printed_forests

A `StackedForestModel` of random play is distilled into a few rules a column. For each moving column:
the share of steps of unseen episodes that the forest, its printed program and persistence predict
exactly, from the recorded step before. The program of the first seed is written for reading.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro

import wm_agents as wma
from benchmarks.report import write_result
from wm_agents.planning.collector import ActionRepeatAgent
from wm_agents.world_models.stacked_search import ForestConfig
from wm_envs import record


@dataclass(frozen=True)
class Config:
    """What to measure."""

    env_id: str = "wm/Pong-v0"
    """Whose observations are frames in a stack."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of recordings and trees."""
    train_episodes: int = 15
    """To fit and to distill on."""
    test_episodes: int = 5
    """To measure on."""
    max_repeat: int = 16
    """Steps for which a random action is held, at most."""
    max_rules: int = 8
    """Of each column."""
    forest: ForestConfig = field(default_factory=ForestConfig)
    """Of the model."""
    output: Path = Path("runs/printed_forest.txt")
    """Where the first seed's program is written."""


def main(config: Config) -> dict[str, Any]:
    """Fit, print and replay for each seed; returns the figures that are written."""
    torch.set_num_threads(1)
    rows = []
    for seed in config.seeds:
        began = time.process_time()
        program, row = printed(config, seed)
        rows.append({"seed": seed, **row, "cpu_seconds": time.process_time() - began})
        print(json.dumps(rows[-1]))
        if seed == config.seeds[0]:
            wma.make_output_directory(config.output.parent)
            config.output.write_text(f"{program}", encoding="utf-8")
    figures = {"env_id": config.env_id, "specified": "nothing", "rows": rows}
    write_result(
        "printed_forests",
        figures,
        seeds=config.seeds,
        command="python -m benchmarks.printed_forests",
    )
    return figures


def printed(config: Config, seed: int) -> tuple[wma.ProgramModel, dict[str, Any]]:
    """A model's program, and how exact both are on unseen episodes."""
    train = random_play(config, config.train_episodes, 1000 * seed)
    test = random_play(config, config.test_episodes, 1000 * seed + 500)
    model = wma.StackedForestModel.for_env(config.env_id, config.forest, seed=seed)
    model.fit(train)
    with gym.make(config.env_id) as env:
        fields: Any = env.unwrapped
        names = [field.name for field in fields.observation_fields]
    program = model.to_program(train, names, max_rules=config.max_rules)

    actions = torch.as_tensor(test.actions)
    before = test.observations[test.observation_of_step]
    after = test.observations[test.observation_of_step + 1]
    forest = model.step(model.starts(test), actions)[1].observations.numpy()
    rules = program.step(program.start(torch.as_tensor(before)), actions)[1].observations.numpy()
    newest = [chain[0] for chain in model.view.frames]
    predictions = {"forest": forest, "program": rules, "persistence": before}
    replay = program.replay(test)
    return program, {
        "train_steps": train.num_steps,
        "test_steps": test.num_steps,
        "lines": program.num_lines,
        "exact_steps": {
            name: float((rows == after).all(1).mean()) for name, rows in predictions.items()
        },
        "program_exact_with_reward_and_end": replay.num_exact / replay.num_transitions,
        "exact_by_column": {
            names[column]: {
                name: float((rows[:, column] == after[:, column]).mean())
                for name, rows in predictions.items()
            }
            for column in newest
        },
    }


class HeldActions:
    """Draws actions at random and holds them for random times, as a policy of one environment."""

    def __init__(self, action_space: gym.Space[Any], max_repeat: int, seed: int) -> None:
        action_space.seed(seed)
        self.agent = ActionRepeatAgent(action_space, max_repeat, seed)
        self.state: Any = None

    def __call__(self, observations: Any) -> Any:
        """The action [1] for observations [1, O]."""
        action, self.state = self.agent.predict(observations[0], self.state)
        return np.array([action])


def random_play(config: Config, episodes: int, seed: int) -> wma.Trajectories:
    """Episodes of one such player."""
    with gym.make(config.env_id) as env:
        player = HeldActions(env.action_space, config.max_repeat, seed)
    return record(
        config.env_id, episodes=episodes, policy=player, seed=seed, num_envs=1, progress=False
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
