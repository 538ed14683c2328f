"""Commands that learn, which need the extra `agents`; torch is loaded when one of them runs."""

import inspect
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from wm_envs.data.options import check_integer
from wm_suite.command_result import CommandResult

if TYPE_CHECKING:
    from wm_envs.data.trajectories import Trajectories

ModelName = Literal["auto", "deterministic", "ensemble", "recurrent", "latent", "token", "tabular"]
PlannerName = Literal[
    "auto",
    "random_shooting",
    "cem",
    "icem",
    "mppi",
    "categorical_cem",
    "breadth_first",
    "best_first",
    "mcts",
]
TRAIN, TEST = "train.npz", "test.npz"


def fit(
    source: Positional[str],
    /,
    *,
    model: ModelName = "auto",
    steps: int = 3000,
    num_updates: int = 2000,
    seed: int = 0,
    device: str = "cpu",
    output_dir: Path = Path("runs/fit"),
) -> CommandResult:
    """Fit a world model to random play or to recorded episodes, and look how far it can be trusted.

    Args:
        source: A Gymnasium id, or a file that `wm record` or `Trajectories.save` wrote.
        model: Which; "auto" takes tokens where observations are whole numbers, else a perceptron.
        steps: Of random play, for an id.
        num_updates: Optimizer steps at most.
        seed: Of everything.
        device: Where to fit: cpu, cuda or auto.
        output_dir: Folder for the model with its card, and the episodes of training and test.
    """
    wma = _learners()
    from wm_agents.evaluation.verdict import verdict

    folder = wma.make_output_directory(output_dir)
    env_id, train, test = _episodes(source, steps, seed)
    if train.observation_space is None or train.action_space is None:
        raise wma.ConfigError(
            f"{source} does not say which spaces it was recorded in: give "
            "Trajectories.from_arrays its observation_space and action_space"
        )
    fitted = wma.fit_model(
        train.observation_space,
        train.action_space,
        train,
        seed,
        name=model,
        num_updates=num_updates,
        device=device,
        progress=None,
    )
    held_out = wma.unseen_episodes(test, train)
    report = wma.open_loop_error(
        fitted,
        held_out,
        wma.fitting_horizons(held_out),
        train=train,
        num_samples=0,
        seed=seed,
    )
    train.save(folder / TRAIN)
    held_out.save(folder / TEST)
    result = {
        "folder": str(folder),
        "model": type(fitted).__name__,
        "train_steps": train.num_steps,
        "test_steps": held_out.num_steps,
        **report.summary(),
    }
    scores = {name: report.summary()[name] for name in ("trusted_steps", "tied_parts")}
    card = wma.Card(
        title=f"{type(fitted).__name__} of {env_id or Path(source).name}",
        env_id=env_id or Path(source).name,
        scores=scores,
        command=_typed(
            fit,
            source,
            model=model,
            steps=steps,
            num_updates=num_updates,
            seed=seed,
            device=device,
            output_dir=output_dir,
        ),
        seeds=(seed,),
        evaluation="Open-loop errors on held-out episodes.",
        tags=("world-model",),
    )
    wma.save_with_card(fitted, folder, card)
    wma.write_summary(folder, result)
    text = (
        f"{result['model']} of {train.num_steps:,} steps in {folder}. On held-out episodes: "
        f"{verdict(report)}\nNext: wm score {folder}"
    )
    return CommandResult(result, text)


def score(
    folder: Positional[Path],
    /,
    *,
    data: Path | None = None,
    planning_episodes: int = 3,
    ignored: tuple[str, ...] = (),
    seed: int = 0,
) -> CommandResult:
    """Write the scorecard of a fitted model, one page that says how far it can be trusted.

    Where the true dynamics are at hand, those of the wm/ ids and of classic control, it says what
    planning in the model loses, and whether the model knows what another action changes.

    Args:
        folder: What `wm fit` wrote; scorecard.html and scorecard.json go there, too.
        data: Held-out episodes; by default those that `wm fit` kept apart.
        planning_episodes: Of each arm of the planning gap, which may take minutes; 0 leaves it out.
        ignored: Features that are not judged, such as noise from outside that nobody can predict.
        seed: Of starts and samples.
    """
    wma = _learners()
    check_integer("planning_episodes", planning_episodes, 0)
    folder, model, train, test, env = _fitted(folder, data)
    from wm_agents.evaluation.verdict import gap_sentence

    gap = counterfactual = None
    rates: dict[str, float] = {}
    try:
        if env is not None:
            from wm_agents.domains.true_dynamics import ask_what_if, measure_gap

            env_id = env.spec.id
            counterfactual = ask_what_if(env_id, env, model, test, seed=seed)
            gap, rates = measure_gap(
                env_id,
                env,
                model,
                lambda dynamics: wma.make_planner("auto", dynamics, train, seed=seed),
                episodes=planning_episodes,
                seed=seed,
                progress=None,
            )
        card = wma.scorecard(
            model,
            test,
            folder,
            title=f"{type(model).__name__}, {train.num_steps:,} steps",
            horizons=wma.fitting_horizons(test),
            gap=gap,
            counterfactual=counterfactual,
            train=train,
            env=env,
            ignored=ignored,
            seed=seed,
        )
    finally:
        if env is not None:
            env.close()
    result = {"page": str(card.page_path), "verdict": card.verdict, **card.summary, **rates}
    lines = [card.verdict]
    if counterfactual is not None:
        lines.append(str(counterfactual))
    if gap is not None:
        lines.append(gap_sentence(gap))
    text = "\n".join([*lines, f"{card.page_path} shows why."])
    return CommandResult(result, text)


def view(
    folder: Positional[Path], /, *, data: Path | None = None, horizon: int = 50
) -> CommandResult:
    """Write a page in which one can play with a fitted model in a browser.

    Args:
        folder: What `wm fit` wrote; look.html goes there, too.
        data: Episodes to show; by default those that `wm fit` kept apart.
        horizon: Steps of a window.
    """
    wma = _learners()
    folder, model, _, test, env = _fitted(folder, data)
    try:
        page = wma.viewer(model, test, folder / "look.html", env=env, horizon=horizon)
    finally:
        if env is not None:
            env.close()
    result = {"page": str(page), "kilobytes": page.stat().st_size / 1000}
    return CommandResult(result, f"Open {page} in a browser.")


def plan(
    env_id: Positional[str],
    /,
    *,
    model: Path | None = None,
    planner: PlannerName = "auto",
    max_real_steps: int = 3000,
    num_rounds: int = 2,
    episodes: int = 20,
    seed: int = 0,
    output_dir: Path = Path("runs/plan"),
) -> CommandResult:
    """Act by planning, in a fitted model or in one that is learned from scratch.

    Args:
        env_id: Any Gymnasium id.
        model: What `wm fit` wrote; without it a model is learned within the budget of real steps.
        planner: Which; "auto" takes one that suits the spaces.
        max_real_steps: The budget.
        num_rounds: Rounds of planning and refitting after random steps.
        episodes: Of the evaluation.
        seed: Of everything; evaluation starts from seed + 10,000 on.
        output_dir: Folder for summary.json.
    """
    import gymnasium as gym

    wma = _learners()
    check_integer("episodes", episodes, 1)
    folder = wma.make_output_directory(output_dir)
    if model is not None:
        _, learned_model, train, _, env = _fitted(model, None)
        if env is not None:
            env.close()
        selected = wma.make_planner(planner, learned_model, train, seed=seed)
        num_real_steps = train.num_steps
    else:
        budget = wma.LearningConfig(max_real_steps=max_real_steps, num_rounds=num_rounds)
        with gym.make(env_id) as env:
            learned = wma.learn_to_plan(
                env, budget, seed=seed, planner=planner, on_round=_say, progress=None
            )
        learned_model, selected = learned.model, learned.planner
        num_real_steps = learned.num_real_steps
    agent = wma.PlanningAgent(learned_model, selected, seed=seed)
    results = wma.evaluate(agent, env_id, episodes, seed=seed + 10_000, progress=None)
    result = {
        "env_id": env_id,
        "model": type(learned_model).__name__,
        "planner": type(selected).__name__,
        "real_steps": num_real_steps,
        **results.summary(),
    }
    wma.write_summary(folder, result)
    text = f"{result['planner']} in a {result['model']}: {results}{_few(episodes)}"
    return CommandResult(result, text)


def train(
    env_id: Positional[str],
    /,
    *,
    total_timesteps: int = 20_000,
    episodes: int = 20,
    seed: int = 0,
    output_dir: Path = Path("runs/train"),
) -> CommandResult:
    """Train the one agent, which is told nothing but the spaces; run again, it resumes.

    Args:
        env_id: Any Gymnasium id.
        total_timesteps: Real steps in all. The same command resumes; with another number it needs
            another folder, since schedules depend on it.
        episodes: Of the evaluation.
        seed: Of everything.
        output_dir: Folder for agent.safetensors, summary.json and checkpoints.
    """
    wma = _learners()
    check_integer("episodes", episodes, 1)
    # Before the folder is made: a misspelt id leaves none.
    agent = wma.WorldModelAgent(env_id, seed=seed)
    folder = wma.make_output_directory(output_dir)
    agent.learn(total_timesteps, progress_bar=True, checkpoints=folder / "checkpoints")
    path = agent.save(folder / "agent")
    results = agent.evaluate(episodes, progress=None)
    result = {
        "env_id": env_id,
        "real_steps": agent.num_timesteps,
        "agent": str(path),
        "decisions": agent.decisions,
        **results.summary(),
    }
    wma.write_summary(folder, result)
    return CommandResult(
        result, f"{agent}\n{results}{_few(episodes)}\nwma.load({str(path)!r}) reads it."
    )


def _learners() -> Any:
    """The public names of the learners, with one thread for torch: the networks are small."""
    import wm_agents
    import wm_envs  # noqa: F401 - registers the ids

    _use_one_thread()
    return wm_agents


def _use_one_thread() -> None:
    """Apart from the import above, which says what to install where there is no torch."""
    import torch

    torch.set_num_threads(1)


def _episodes(
    source: str, steps: int, seed: int
) -> tuple[str | None, "Trajectories", "Trajectories"]:
    """The id, if it is one, and episodes for training and test."""
    import wm_envs
    from wm_envs.data.trajectories import Trajectories

    if not source.endswith(".npz"):
        return source, *wm_envs.record_split(source, steps, seed=seed)
    train, test = Trajectories.load(source).split((0.8, 0.2), seed=seed)
    return None, train, test


def _fitted(
    folder: Path, data: Path | None
) -> tuple[Path, Any, "Trajectories", "Trajectories", Any]:
    """What `wm fit` wrote: folder, model, episodes of training and test, and the environment if there is one."""
    from wm_envs.data.paths import user_path
    from wm_envs.data.trajectories import Trajectories

    wma = _learners()
    folder = user_path(folder)
    if not (folder / TRAIN).is_file():
        raise wma.ConfigError(f"{folder} is no folder of `wm fit`: run `wm fit ID` first")
    model = wma.load(folder, device="cpu")
    train = Trajectories.load(folder / TRAIN)
    test = Trajectories.load(folder / TEST if data is None else data)
    env_id = json.loads((folder / "config.json").read_text(encoding="utf-8"))["env_id"]
    return folder, model, train, test, _environment(env_id)


def _environment(name: str) -> Any:
    """The environment of an id; None for a file, and for a module that is not at hand."""
    import gymnasium as gym

    from wm_envs.data.specs import spec_of
    from wm_envs.errors import OptionError

    try:
        spec = spec_of(name)
    except (gym.error.Error, OptionError):
        return None
    return gym.make(spec)


def _few(episodes: int) -> str:
    """What limits of few episodes are not: nobody told them which returns are possible."""
    if not 1 < episodes < 10:
        return ""
    return "\nLimits of so few episodes may lie beyond any return that is possible."


def _say(figures: dict[str, float]) -> None:
    """Figures of a round, on the way."""
    text = "  ".join(f"{name} {value:.6g}" for name, value in figures.items())
    print(text, file=sys.stderr, flush=True)


def _typed(command: Callable[..., Any], *words: str, **options: Any) -> str:
    """What was typed to call a command: options at their defaults are left out, the seed is not."""
    typed = ["wm", command.__name__, *words]
    for name, value in options.items():
        if name == "seed" or value != inspect.signature(command).parameters[name].default:
            typed += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(typed)
