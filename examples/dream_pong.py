"""Learn to play Pong in the dream: collect, refit a world model, learn inside it, repeat.

    python examples/dream_pong.py --env-id wm/PongAtari-v0 --max-real-steps 100000 --seed 5 --output-dir out

At most `max_real_steps` steps of the real game are taken, counted from the first; everything else
happens in an `ObjectModel` served by `ImaginedVectorEnv`, in which PPO learns from short branches that
start in recorded states and end with a point. Observations are the positions of the objects, an
easier input than pixels: the score is not comparable with those of agents that see the screen. The
first steps are those of a scripted explorer, and the model's view of the
game is told much of its rules (`wm_agents.domains.pong.view.PongView` says what): not everything is
learned. Writes summary.json, rounds.json, the policy with its card, and view.json, without which it
sees nothing. The same command after an interruption goes on with the round that was interrupted.
"""

import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.vector import AutoresetMode

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.domains.pong.features import is_flying_to_enemy
from wm_agents.domains.pong.view import PongView
from wm_agents.evaluation.episodes import evaluate
from wm_agents.imagination.features import FeatureModel, RememberingAgent, feature_space
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.planning.collector import Collector
from wm_agents.policy_gradient.vector_ppo import VectorPPO, VectorPPOConfig
from wm_agents.training.cards import Card, save_with_card
from wm_agents.training.checkpoints import CheckpointManager, refusing_misfits
from wm_agents.training.summary import make_output_directory, write_summary
from wm_agents.world_models.objects import ObjectConfig, ObjectModel
from wm_envs.data.paths import expand_paths
from wm_envs.errors import OptionError
from wm_envs.pong.players import Explorer


@dataclass(frozen=True)
class Config:
    """What to run."""

    env_id: str = "wm/PongAtari-v0"
    """Either Pong."""
    seed: int = 0
    """Of the game, the model, the policy and everything drawn."""
    output_dir: Path = Path("runs/dream_pong")
    """Folder for summary.json, rounds.json, the policy with its card, and view.json."""
    max_real_steps: int = 100_000
    """Steps of the real game, evaluation apart."""
    repeat_action_probability: float = 0.25
    """Sticky actions, in training and evaluation."""
    is_measured: bool = True
    """Take the constants of paddle and walls from the first round's recording, unless it is too short; else they are
    told."""
    shares: tuple[float, ...] = (0.2, 0.2, 0.2, 0.4)
    """Of the real steps, by round.

    The first round explores with a scripted player, the others with the policy.
    """
    dream_updates: tuple[int, ...] = (120, 100, 100, 160)
    """Updates of PPO in the dream, by round."""
    num_dreams: int = 256
    """Imagined rows."""
    dream_horizon: int = 192
    """Steps after which a branch is cut off, if no point has ended it."""
    shaping: float = 0.2
    """Potential of a ball that flies to the enemy, in points."""
    learning_rate: tuple[float, float] = (7e-4, 2e-4)
    """Of PPO: in the first round, and at the end of the last."""
    entropy: tuple[float, float] = (0.01, 0.002)
    """Weight of the policy's entropy: in the first round, and at the end of the last."""
    model: ObjectConfig = field(default_factory=lambda: ObjectConfig(dropout=0.1, num_updates=600))
    """Of the world model."""
    ppo: VectorPPOConfig = field(
        default_factory=lambda: VectorPPOConfig(normalize_observations=False)
    )
    """Of the policy."""
    games: int = 20
    """Full games of the final evaluation, with sampled actions and random starts."""
    num_threads: int = 1
    """Threads of torch."""


def main(config: Config) -> dict[str, Any]:
    """Run all rounds and the evaluation; returns the summary that is written."""
    config = expand_paths(config)
    began = time.perf_counter()
    check(config)
    torch.set_num_threads(config.num_threads)
    make_output_directory(config.output_dir)
    checkpoints = CheckpointManager(config.output_dir / "unfinished", keep=1)
    run = Run(config)
    seconds_before = run.resume(checkpoints)
    for number in range(len(run.rounds), len(config.shares)):
        figures = run.play_round(number)
        print(json.dumps({name: round(value, 4) for name, value in figures.items()}), flush=True)
        (config.output_dir / "rounds.json").write_text(
            json.dumps(run.rounds, indent=2) + "\n", encoding="utf-8"
        )
        run.save(checkpoints, seconds_before + time.perf_counter() - began)
    seconds = seconds_before + time.perf_counter() - began
    summary = score(config, run.policy, run.view)
    summary |= {"real_steps": run.experience.num_steps, "seconds": seconds}
    summary["is_view_measured"] = run.is_view_measured
    write_summary(config.output_dir, summary)
    (config.output_dir / "view.json").write_text(
        json.dumps(run.view.to_json(), indent=2) + "\n", encoding="utf-8"
    )
    save_with_card(run.policy, config.output_dir, card_of(config, summary))
    shutil.rmtree(checkpoints.directory)
    print(json.dumps(summary, indent=2))
    return summary


class Run:
    """What the rounds have made so far: experience, a view, a policy, and figures of each round."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.env = gym.make(config.env_id, **options(config))
        self.experience = Collector(self.env, config.seed)
        self.view, self.is_view_measured = PongView(), False
        self.policy = VectorPPO(
            feature_space(self.view), self.env.action_space, config.ppo, seed=config.seed
        )
        self.rounds: list[dict[str, float]] = []

    def play_round(self, number: int) -> dict[str, float]:
        """Collect, refit, learn in the dream; figures of it."""
        config, began = self.config, time.perf_counter()
        num_steps = steps_of_rounds(config)[number]
        self.experience.collect(num_steps, self.player())
        collected = time.perf_counter()
        if number == 0 and config.is_measured:
            self.view, self.is_view_measured = measured(self.experience)
        model, figures = fit(config, self.env, self.view, self.experience)
        fitted = time.perf_counter()
        env_of_dreams = dreams(config, model, self.view, self.experience, number)
        figures |= self.policy.learn(
            env_of_dreams, config.dream_updates[number], **schedule(config, number)
        )
        figures |= {"collect_seconds": collected - began, "fit_seconds": fitted - collected}
        figures |= {
            "dream_seconds": time.perf_counter() - fitted,
            "real_steps": self.experience.num_steps,
        }
        figures["real_points_won"] = points_won(self.experience, num_steps)
        self.rounds.append(figures)
        return self.rounds[-1]

    def player(self) -> Any:
        """Who collects.

        In the first round a player that explores, with FIRE when the ball is near.
        """
        return (
            RememberingAgent(self.policy, self.view)
            if self.rounds
            else Scripted(Explorer(self.config.seed))
        )

    def save(self, checkpoints: CheckpointManager, seconds: float) -> None:
        """Store everything between two rounds; of the game only what was done in it."""
        state = {
            "experience": self.experience.state(),
            "policy": self.policy.state(),
            "rounds": self.rounds,
        }
        state |= {
            "view": self.view.to_json(),
            "is_view_measured": self.is_view_measured,
            "seconds": seconds,
        }
        checkpoints.save_state(len(self.rounds), state, self.facts())

    def resume(self, checkpoints: CheckpointManager) -> float:
        """Go on after the last finished round of this very run, where there is one.

        The seconds that it took so far.
        """
        found = checkpoints.latest_state(self.facts())
        if found is None:
            return 0.0
        num_rounds, state = found
        print(
            f"going on after {num_rounds} rounds, of which the real steps are taken again",
            flush=True,
        )
        with refusing_misfits(checkpoints.directory):
            self.experience.replay(state["experience"])
            self.policy.restore(state["policy"])
            self.view, self.is_view_measured = (
                PongView.from_json(state["view"]),
                state["is_view_measured"],
            )
            self.rounds = state["rounds"]
            return float(state["seconds"])

    def facts(self) -> dict[str, Any]:
        """Which run this is; where its results go does not matter."""
        settings = asdict(self.config)
        del settings["output_dir"]
        return {"kind": "Pong's dream", **settings}


def options(config: Config) -> dict[str, Any]:
    """Those of the environment."""
    return {"repeat_action_probability": config.repeat_action_probability}


def check(config: Config) -> None:
    """Refuse before the first step what would fail after many."""
    if len(config.shares) != len(config.dream_updates) or not config.shares:
        raise SystemExit(
            f"each round has a share and dream updates, got {config.shares} and {config.dream_updates}"
        )
    if min(config.shares) <= 0 or sum(config.shares) > 1 + 1e-9:
        raise SystemExit(f"the shares are positive and at most 1 together, got {config.shares}")
    if min(steps_of_rounds(config)) < 1:
        raise SystemExit(
            f"every round takes a real step: raise max_real_steps, got {config.max_real_steps}"
        )
    for name in ("games", "num_dreams", "dream_horizon", "num_threads"):
        if getattr(config, name) < 1:
            raise SystemExit(f"{name} is at least 1, got {getattr(config, name)}")


def steps_of_rounds(config: Config) -> list[int]:
    """The real steps of each round, together at most max_real_steps."""
    ends = np.rint(np.cumsum(config.shares) * config.max_real_steps).astype(int)
    return [int(steps) for steps in np.diff(ends, prepend=0)]


def card_of(config: Config, summary: dict[str, Any]) -> Card:
    """What a stranger has to know about the policy."""
    return Card(
        title=f"PPO in the dream of {config.env_id}",
        env_id=config.env_id,
        env_kwargs={"repeat_action_probability": config.repeat_action_probability},
        scores=summary,
        command=f"python examples/dream_pong.py --env-id {config.env_id} --seed {config.seed} "
        f"--max-real-steps {config.max_real_steps} --repeat-action-probability {config.repeat_action_probability}",
        seeds=(config.seed,),
        evaluation=f"Points won less points lost, mean of {config.games} full games with sampled actions.",
        limits="It sees the positions of the objects, which is easier than pixels, through a view that is told the "
        "form of the game's rules; the first steps were those of a scripted explorer.",
        usage=(
            "import json",
            "from pathlib import Path",
            "",
            "from wm_agents.imagination.features import RememberingAgent",
            "from wm_agents.policy_gradient.vector_ppo import VectorPPO",
            "from wm_agents.domains.pong.view import PongView",
            "",
            'view = PongView.from_json(json.loads(Path("view.json").read_text(encoding="utf-8")))',
            'agent = RememberingAgent(VectorPPO.load("model.safetensors"), view)  # for evaluate(), or step by step',
        ),
    )


def measured(experience: Collector) -> tuple[PongView, bool]:
    """The view of the first round, on which the policy's features rest, and whether the recording gave its numbers."""
    seen = experience.trajectories()
    try:
        return PongView.measured(seen.observations, seen.actions, seen.lengths), True
    except OptionError as error:
        print(f"the view keeps the game's own numbers: {error}", flush=True)
        return PongView(), False


class Scripted:
    """A scripted player as an agent."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def predict(self, observation: Any, state: Any = None, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Its action for one observation."""
        return int(self.act(np.asarray(observation)[None])[0]), state


def fit(
    config: Config, env: gym.Env[Any, Any], view: PongView, experience: Collector
) -> tuple[ObjectModel, Any]:
    """A world model of all steps so far, from scratch."""
    model = ObjectModel(
        env.observation_space, env.action_space, view, config.model, seed=config.seed
    )
    return model, model.fit(experience.trajectories())


def dreams(
    config: Config, model: ObjectModel, view: PongView, experience: Collector, number: int
) -> ImaginedVectorEnv:
    """Branches from everything recorded, with rallies as episodes."""
    seen = FeatureModel(
        model,
        view,
        potential=lambda rows: config.shaping * is_flying_to_enemy(rows),
        discount=config.ppo.discount,
    )
    return ImaginedVectorEnv(
        seen,
        seen.seen(model.starts(experience.trajectories())),
        config.dream_horizon,
        config.num_dreams,
        autoreset_mode=AutoresetMode.DISABLED,
        seed=config.seed + 1000 * number,
    )


def schedule(config: Config, number: int) -> dict[str, tuple[float, float]]:
    """Learning rate and entropy of a round.

    The first values until the last round, in which they fall.
    """
    is_last = number == len(config.shares) - 1
    return {
        "learning_rate": (config.learning_rate[0], config.learning_rate[int(is_last)]),
        "entropy": (config.entropy[0], config.entropy[int(is_last)]),
    }


def points_won(experience: Collector, num_steps: int) -> float:
    """The share of the points that the collecting player won in the last steps."""
    rewards = experience.trajectories().rewards[-num_steps:]
    return float((rewards > 0).sum() / max((rewards != 0).sum(), 1))


def score(config: Config, policy: VectorPPO, view: PongView) -> dict[str, Any]:
    """Points won less points lost over full games."""
    agent = RememberingAgent(policy, view)
    results = evaluate(
        agent,
        config.env_id,
        config.games,
        seed=config.seed + 50_000,
        env_kwargs=options(config),
        deterministic=False,
    )
    return {
        "mean_score": results.mean_return,
        "worst_game": float(results.returns.min()),
        "games": len(results.returns),
        "mean_length": float(results.lengths.mean()),
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
