"""Leaderboards: agents on many environments, normalized scores with intervals, and their table.

A score is the success rate where the environment reports one, else the mean return. The normalized
score puts random play at 0, and at 1 what is best: success always, or else the planner with the
true model. Cells are interquartile means over seeds with 95% bootstrap intervals.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import ConfigError
from wm_agents.evaluation.episodes import EpisodeResults
from wm_agents.evaluation.plots import COLOURS, GRID, INK, make_axes, save_figure
from wm_agents.evaluation.statistics import Interval, stratified_bootstrap
from wm_agents.training.config_checks import require_integers
from wm_agents.training.progress import progress
from wm_envs.data.files import replacing

RANDOM = "random"
ORACLE = "oracle planner"
LABELS = {"reinforce": "REINFORCE", "ppo": "PPO"}
MARKERS = ("o", "D", "s", "^", "v", "P", "X")


@dataclass(frozen=True)
class LeaderboardConfig:
    """Which agents are compared on which environments, and with how much experience."""

    env_ids: tuple[str, ...] = ()
    """Gymnasium ids."""
    agents: tuple[str, ...] = (RANDOM, ORACLE, "learned planner", "reinforce", "ppo")
    """Which of the agents."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of every agent each."""
    model_steps: int = 3_000
    """Real steps that the learned planner may take."""
    policy_steps: int = 50_000
    """Real steps that REINFORCE and PPO may take."""
    episodes: int = 100
    """Evaluation episodes of a run; planners play `planner_episodes`."""
    planner_episodes: int = 20
    """Evaluation episodes of a planner's run."""

    def check(self, known: Sequence[str]) -> None:
        """Refuse what cannot work before anything runs.

        Args:
            known: The agents that there are.

        Raises:
            ConfigError: Unknown agents, none that plays randomly, too few seeds, a size below 1.
        """
        if unknown := sorted(set(self.agents) - set(known)):
            raise ConfigError(f"no agents {unknown}: there are {', '.join(known)}")
        if RANDOM not in self.agents:
            raise ConfigError(
                "the normalized score is measured from random play: add random to the agents"
            )
        if len(set(self.seeds)) < 2:
            raise ConfigError(f"an interval needs at least two different seeds, got {self.seeds}")
        sizes = ("model_steps", "policy_steps", "episodes", "planner_episodes")
        require_integers(1, **{name: getattr(self, name) for name in sizes})


Play = Callable[[str, int], tuple[EpisodeResults, int] | str]
"""(env_id, seed) -> results and the real steps taken, or the reason why this agent cannot play."""


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        env_id: Where.
        agent: Who.
        seed: Of all randomness.
        score: None where the agent cannot play there.
        kind: "success" or "return"; empty without a score.
        real_steps: Taken in training.
        seconds: Wall time.
        remark: Why there is no score.
    """

    env_id: str
    agent: str
    seed: int
    score: float | None
    kind: str
    real_steps: int
    seconds: float
    remark: str = ""


def run_all(
    config: LeaderboardConfig,
    players: Mapping[str, Play],
    folder: Path,
    progress_bar: bool | None = None,
) -> list[Run]:
    """Run what is missing in a folder, one file each.

    Whole seeds one after the other, so that a run that was stopped holds a table of fewer seeds.
    """
    runs = []
    # Seeds first, so that a stopped table has whole columns of seeds.
    tasks = list(product(config.seeds, config.env_ids, config.agents))
    with progress(len(tasks), "leaderboard", progress_bar) as bar:
        for seed, env_id, agent in tasks:
            path = folder / "runs" / _file_name(config, env_id, agent, seed)
            if not path.exists():
                # Written when finished: a run that was killed is run again as a whole.
                run = _play(players[agent], env_id, agent, seed)
                with replacing(path, "w") as file:
                    file.write(json.dumps(asdict(run), indent=2) + "\n")
            # Read back, so that fresh and old runs are the same thing.
            runs.append(Run(**json.loads(path.read_text(encoding="utf-8"))))
            bar.advance(1)
    return runs


def _file_name(config: LeaderboardConfig, env_id: str, agent: str, seed: int) -> str:
    """A name that says what was run, so that other sizes are other files."""
    sizes = (config.model_steps, config.policy_steps, config.episodes, config.planner_episodes)
    name = f"{env_id}_{agent}_{seed}_{'_'.join(map(str, sizes))}.json"
    return name.replace("/", "-").replace(":", "-").replace(" ", "-")


def _play(play: Play, env_id: str, agent: str, seed: int) -> Run:
    started = time.perf_counter()
    outcome = play(env_id, seed)
    seconds = time.perf_counter() - started
    if isinstance(outcome, str):
        return Run(env_id, agent, seed, None, "", 0, seconds, outcome)
    results, real_steps = outcome
    if results.success_rate is None:
        return Run(env_id, agent, seed, results.mean_return, "return", real_steps, seconds)
    return Run(env_id, agent, seed, results.success_rate, "success", real_steps, seconds)


Cells = dict[tuple[str, str], Interval | None]


def rank(runs: Sequence[Run], config: LeaderboardConfig) -> Cells:
    """Normalized scores with intervals, by id and agent; None where an agent cannot play."""
    cells: Cells = {}
    for env_id in config.env_ids:
        scores = {agent: _scores(runs, env_id, agent) for agent in config.agents}
        # The scale's 0 is this very agent's mean.
        chance = scores[RANDOM]
        assert chance is not None, "random play is always possible"
        low = float(chance.mean())
        high = _best_score([run for run in runs if run.env_id == env_id])
        for agent, values in scores.items():
            cells[env_id, agent] = None
            # Where the best is no better than random play there is no scale.
            if values is not None and high > low:
                cells[env_id, agent] = stratified_bootstrap((values - low) / (high - low))
    return cells


def _best_score(runs: Sequence[Run]) -> float:
    """The score that counts as 1 in an environment; NaN where nobody knows."""
    # Success has a natural best.
    if any(run.kind == "success" for run in runs):
        return 1.0
    scores = [run.score for run in runs if run.agent == ORACLE]
    if not scores or None in scores:
        return float("nan")
    return float(np.mean(np.asarray(scores, np.float64)))


def _scores(runs: Sequence[Run], env_id: str, agent: str) -> NDArray[np.float64] | None:
    values = [run.score for run in runs if (run.env_id, run.agent) == (env_id, agent)]
    return None if None in values else np.asarray(values, np.float64)


def markdown(
    cells: Cells, config: LeaderboardConfig, links: Mapping[str, str] | None = None
) -> str:
    """The table, with what it stands on.

    Args:
        cells: Scores, from `rank`.
        config: What was run.
        links: By id, the address of its page.
    """
    lines = [
        "# Leaderboard",
        "",
        "Normalized scores, on which 0 is random play and 1 the best there is: interquartile means "
        f"over {len(config.seeds)} seeds,",
        f"with 95% intervals. The learned planner had {config.model_steps:,} real steps; REINFORCE "
        f"and PPO had {config.policy_steps:,} and their",
        f"default settings. A run was evaluated in {config.episodes} episodes, that of a planner in "
        f"{config.planner_episodes}. **Bold** is the best of those that",
        "learn, where it is above random play, and every other one whose interval reaches it.",
    ]
    if len(config.seeds) < 10:
        warning = "Fewer than ten seeds: this shows the protocol and is no claim about the methods."
        lines += ["", f"**{warning}**"]
    names = [LABELS.get(agent, agent) for agent in config.agents]
    lines += ["", f"| Id | {' | '.join(names)} |", f"|---|{'---:|' * len(config.agents)}"]
    for env_id in config.env_ids:
        best = _best_estimate(cells, config, env_id)
        shown = [_cell(cells[env_id, agent], agent, best) for agent in config.agents]
        link = f"[{env_id}]({links[env_id]})" if links and env_id in links else env_id
        lines.append(f"| {link} | {' | '.join(shown)} |")
    command = (
        f"python examples/leaderboard.py --env-ids {' '.join(config.env_ids)} "
        f"--seeds {' '.join(map(str, config.seeds))} --model-steps {config.model_steps} "
        f"--policy-steps {config.policy_steps} --episodes {config.episodes} "
        f"--planner-episodes {config.planner_episodes}"
    )
    lines += ["", "```console", f"$ {command}", "```"]
    return "\n".join(lines) + "\n"


def _best_estimate(cells: Cells, config: LeaderboardConfig, env_id: str) -> float:
    """The highest score of those that learn; infinity where none could play."""
    # References are not learners and cannot be best.
    learners = [cells[env_id, agent] for agent in config.agents if agent not in (RANDOM, ORACLE)]
    return max((cell.estimate for cell in learners if cell is not None), default=float("inf"))


def _cell(interval: Interval | None, agent: str, best: float) -> str:
    if interval is None:
        return "none"
    # Adding 0 makes a negative zero positive.
    estimate, low, high = (
        f"{round(value, 2) + 0.0:.2f}" for value in (interval.estimate, interval.low, interval.high)
    )
    is_best = agent not in (RANDOM, ORACLE) and float(low) > 0 and interval.high >= best
    return f"**{estimate}** [{low}, {high}]" if is_best else f"{estimate} [{low}, {high}]"


def draw(cells: Cells, config: LeaderboardConfig, path: Path) -> None:
    """Dots on their intervals, one row for each id, one color and marker for each agent."""
    num_rows, num_agents = len(config.env_ids), len(config.agents)
    figure, axes = make_axes(5.8, 1.6 + 0.5 * num_rows)
    for number, agent in enumerate(config.agents):
        color, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        offset = 0.7 * ((number + 0.5) / num_agents - 0.5)
        for row, env_id in enumerate(config.env_ids):
            cell = cells[env_id, agent]
            if cell is None:
                continue
            axes.plot([cell.low, cell.high], [row + offset] * 2, color=color, linewidth=2)
            axes.plot([cell.estimate], [row + offset], marker, color=color, markersize=5)
        axes.plot([], [], marker, color=color, label=LABELS.get(agent, agent))
    names = [env_id.split("/")[-1].removesuffix("-v0") for env_id in config.env_ids]
    axes.set_yticks(range(num_rows), names)
    axes.set_ylim(num_rows - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks([row + 0.5 for row in range(num_rows - 1)], minor=True)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="y", which="minor", color=GRID)
    axes.tick_params(axis="y", which="minor", length=0)
    axes.set_xlabel(f"normalized score, {len(config.seeds)} seeds, 95% intervals")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=10, labelcolor=INK)
    save_figure(figure, path)
