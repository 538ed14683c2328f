"""Rows and bars of the tables of docs/benchmarks.md, from the figures of results.

Each function takes the figures of the results that its table in `benchmarks.themes` names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]
Row = tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """One line of a chart."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    is_ours: bool = True


def number(value: float | None, digits: int = 3) -> str:
    """With separators where it is large, with this many significant digits where it is not."""
    if value is None:
        return "none"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def fixed(value: float, digits: int = 2) -> str:
    """With this many decimals, and never a negative zero."""
    return f"{round(value, digits) + 0.0:,.{digits}f}"


def between(value: float, low: float, high: float, digits: int = 2) -> str:
    """An estimate with its interval."""
    return f"{fixed(value, digits)} [{fixed(low, digits)}, {fixed(high, digits)}]"


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.1f}%"


def one_agent_rows(figures: Figures) -> Iterator[Row]:
    """Each task with the one agent's score, what was asked for, and the other arms' scores."""
    for task, cells in figures["tasks"].items():
        ours = cells.get("world_model_agent")
        if ours is None:
            continue
        asked = ours["threshold"]
        others = (("ppo",), ("dqn", "sac"), ("recurrent_ppo",), ("random",))
        yield (
            task,
            "" if asked is None else fixed(asked),
            fixed(ours["score"]),
            str(ours["num_seeds"]),
            number(ours["cpu_seconds"]),
            *(
                next((fixed(cells[arm]["score"]) for arm in arms if arm in cells), "")
                for arms in others
            ),
        )


RECALL_ARMS = {
    "with": "with a world-model loss",
    "without": "without it",
    "placebo": "with shuffled targets",
}


def recall_rows(recall: Figures, solved: Figures) -> Iterator[Row]:
    """Arms after the same number of episodes, and the arm without a model after more."""
    for arm, words in RECALL_ARMS.items():
        interval = (recall[f"iqm_{arm}{end}"] for end in ("", "_low", "_high"))
        yield words, "64,000", between(*interval, 3)
    interval = (solved[f"iqm_without{end}"] for end in ("", "_low", "_high"))
    yield "without it, run on", number(solved["episodes_to_90_without"]), between(*interval, 3)


def recall_bars(recall: Figures, _: Figures) -> list[Bar]:
    """The three arms."""
    return [
        Bar(words, *(recall[f"iqm_{arm}{end}"] for end in ("", "_low", "_high")), arm == "with")
        for arm, words in RECALL_ARMS.items()
    ]


def null_rows(nulls: Figures) -> Iterator[Row]:
    """Tasks on which predicting cannot help."""
    for key, env_id in (("pattern_echo", "wm/PatternEcho-v0"), ("t_maze", "wm/TMaze-v0")):
        ends = ("", "_low", "_high")
        yield (
            env_id,
            *(
                between(*(nulls[f"{key}_{part}{end}"] for end in ends), 3)
                for part in ("iqm_with", "iqm_without", "difference")
            ),
        )


def auxiliary_rows(*tasks: Figures) -> Iterator[Row]:
    """Every arm of every task, with the seeds that solved it and the costs of a seed."""
    for task in tasks:
        where = task["env_id"]
        if task["scale_of_observations"] != 1.0:
            where += f", observations x {task['scale_of_observations']:g}"
        for arm, cell in task["arms"].items():
            episodes = cell["median_episodes_to_90"]
            mine = [row for row in task["rows"] if row["arm"] == arm]
            yield (
                where,
                arm,
                between(*(cell[f"iqm{end}"] for end in ("", "_low", "_high")), 3),
                f"{cell['runs_solved']} of {cell['runs']}",
                episodes if isinstance(episodes, str) else number(episodes),
                number(mine[0]["real_steps"]),
                number(cell["cpu_seconds"] / cell["runs"]),
            )


def simple_rows(simple: Figures, hard: Figures) -> Iterator[Row]:
    """Solved by REINFORCE with its defaults, and the one that is not solved."""
    for name in ("SequenceNext", "Conditional", "DelayedMatch", "Navigation"):
        score = fixed(simple[f"success_{name}_worst_seed"], 3)
        yield f"wm/{name}-v0", number(simple[f"updates_{name}"]), f"{score} in the worst seed"
    seeds = f"{hard['num_seeds_at_90']} of {len(hard['final'])} seeds at 0.9"
    yield "wm/RuleRecall-v0, hardest level", number(hard["updates"]), seeds


def open_question_rows(*questions: Figures) -> Iterator[Row]:
    """Every arm in every cell."""
    for figures in questions:
        for cell in figures["cells"]:
            task, arm = cell["arm"].split(", ", 1)
            setting = "" if cell["axis"] == "base" else f"{cell['axis']} {cell['value']:g}"
            interval = (cell[f"iqm{end}"] for end in ("", "_low", "_high"))
            yield task, arm, setting, between(*interval), number(cell["median_episodes_to_90"])


def control_rows(*tasks: Figures) -> Iterator[Row]:
    """One task each, with the number of seeds of each arm."""
    for task in tasks:
        cells = []
        for arm in ("learned", "oracle", "model_free", "random"):
            row = task[arm]
            interval = (row["mean_return"], row["mean_return_low"], row["mean_return_high"])
            cells.append(f"{between(*interval, 1)}, {row['num_seeds']} seeds")
        yield task["env_id"], number(task["real_steps"]), *cells


def puzzle_rows(*tasks: Figures) -> Iterator[Row]:
    """Steps to nine of ten puzzles solved, for each way of learning."""
    for task in tasks:
        steps = task["median_steps_to_90_percent"]
        level = ", 5,040 states" if task["env_kwargs"] else ""
        table = number(steps["table"]) if steps["table"] else "not within 3,000"
        dqn = "not measured"
        for budget, row in task.get("dqn_hindsight", {}).items():
            rate = between(row["success_rate"], row["low"], row["high"])
            dqn = f"{rate} after {int(budget):,} steps, {len(row['by_seed'])} seeds"
        yield f"{task['env_id']}{level}", number(steps["learned"]), table, dqn


def pong_dream_rows(figures: Figures) -> Iterator[Row]:
    """Players of the original game."""
    for name, row in figures["summary"].items():
        arm, sticky, _ = name.split(", ")
        yield (
            PONG_PLAYERS[arm],
            sticky.removeprefix("sticky "),
            fixed(row["mean_score"]),
            fixed(row["worst_seed"]),
            str(row["num_seeds"]),
        )


PONG_PLAYERS = {
    "dream": "PPO inside the world model",
    "ppo": "PPO on the real game, as many steps",
    "planner": "planner with the true rules",
    "random": "random actions",
}


def pong_dream_bars(figures: Figures) -> list[Bar]:
    """The same."""
    return [
        Bar(
            f"{PONG_PLAYERS[name.split(', ')[0]]}, {name.split(', ')[1]}",
            row["mean_score"],
            is_ours=name.startswith("dream"),
        )
        for name, row in figures["summary"].items()
    ]


def dream_rows(figures: Figures) -> Iterator[Row]:
    """Real steps that each arm took, and what it earned in the end."""
    for arm, words in (("dream", "SAC inside the world model"), ("model_free", "SAC without one")):
        yield (
            words,
            number(figures[f"{arm}_steps_to_threshold"]),
            number(figures[f"{arm}_real_steps"]),
            fixed(figures[f"{arm}_return"], 1),
        )


def dream_arm_rows(figures: Figures) -> Iterator[Row]:
    """What each arm earned in the end, when its mean curve crosses, and both costs."""
    names = {"dream": "SAC inside the world model", "no model": "SAC without one"}
    for arm, row in figures["arms"].items():
        crossed = row["mean_curve_steps"]["value"]
        ends = [row[f"mean_returns{end}"][-1] for end in ("", "_low", "_high")]
        yield (
            names[arm],
            f"{row['seeds_at_threshold']} of {row['num_seeds']}",
            "not within the budget" if crossed is None else number(crossed),
            between(*ends, 1),
            number(row["real_steps"]),
            number(row["cpu_seconds"]),
        )


def driving_dream_rows(figures: Figures) -> Iterator[Row]:
    """Returns of the dream, of SAC without it, and of the expert."""
    for arm, words in (("dream", "SAC inside the world model"), ("model_free", "SAC without one")):
        median, worst = figures[f"{arm}_return_median"], figures[f"{arm}_return_worst"]
        steps = [row[f"{arm}_real_steps"] for row in figures["rows"]]
        yield words, fixed(median, 1), fixed(worst, 1), number(max(steps))
    yield "the expert", fixed(figures["expert_return"], 1), "", ""


def certified_rows(figures: Figures) -> Iterator[Row]:
    """Promised risk .1, and what is left of the measured horizon."""
    names = {
        "cart_pole": "CartPole-v1",
        "driving": "wm/Driving-v0",
        "pendulum": "Pendulum-v1",
        "perm_puzzle": "wm/PermPuzzle-v0",
        "pong": "wm/Pong-v0",
    }
    for key, row in figures["summary"].items():
        yield (
            names.get(key, key),
            fixed(row["violations"], 3),
            number(row["certified_median"]),
            number(row["measured_median"]),
            percent(row["interval_coverage_mean"]),
        )


def pong_model_rows(figures: Figures) -> Iterator[Row]:
    """Open-loop errors after 6 and 30 steps."""
    for name, row in figures["summary"].items():
        env_id, sticky, player = name.split(", ")
        yield (
            f"{env_id}, {player}'s games, {sticky}",
            fixed(row["exact_share_step6"], 3),
            fixed(row["exact_share_step30"], 3),
            number(row["mse14_step6"]),
            number(row["mse14_step30"]),
            str(row["num_seeds"]),
        )


MODELS = {
    "persistence": "nothing changes",
    "regression": "network of differences",
    "absolute": "network of values",
    "weighted": "weighted features",
    "rounding": "rounded outputs",
    "multi_step": "loss over several steps",
    "curriculum": "growing horizon",
    "ensemble": "ensemble",
    "recurrent": "recurrent network",
    "latent": "latent state",
    "tokens": "tokens",
    "history": "memorized windows",
    "situations": "objects and situations",
}


def pong_idea_rows(figures: Figures) -> Iterator[Row]:
    """One short run of each idea."""
    for name, row in figures["wm/PongAtari-v0"]["table"].items():
        yield (
            MODELS.get(name, name),
            fixed(row["exact_share_step6"], 3),
            number(row["mse14_step6"]),
            number(row["mse14_step30"]),
        )


def pong_idea_bars(figures: Figures) -> list[Bar]:
    """Shares of windows that are exact."""
    table = figures["wm/PongAtari-v0"]["table"].items()
    ends = ("", "_low", "_high")
    return [
        Bar(
            MODELS.get(name, name),
            *(row[f"exact_share_step6{end}"] for end in ends),
            name == "situations",
        )
        for name, row in table
    ]


CAR = {"vx": "forward", "vy": "sideways", "yaw_rate": "yaw rate", "offset": "offset"}


def driving_model_rows(figures: Figures) -> Iterator[Row]:
    """Root mean squares as shares of persistence's, two horizons."""
    for model, words in (
        ("car", "the car's model"),
        ("car, one member", "one member of it"),
        ("plain layout", "a network of all numbers"),
        ("kinematics layout", "a network with map and kinematics"),
    ):
        for steps in ("16", "50"):
            cells = (fixed(figures[model][steps][name]["rmse"], 3) for name in CAR)
            yield words, steps, *cells


def lap_rows(planning: Figures, scratch: Figures) -> Iterator[Row]:
    """Drivers on circuits that no model has seen."""
    for driver, words in (
        ("learned", "planner in the learned model"),
        ("oracle", "planner with the true rules"),
        ("racer", "the racer that plans disturb, alone"),
        ("policy", "the careful policy at 0.90 of the grip, alone"),
        ("expert", "expert"),
    ):
        clean = f"{planning[f'{driver}_clean_drives']} of {planning['drives']}"
        yield words, clean, fixed(planning[f"{driver}_mean_lap"])
    clean = f"{scratch['learned_clean_drives']} of {scratch['drives']}"
    yield "planner in the learned model, without that policy", clean, "none"


def from_scratch_rows(figures: Figures) -> Iterator[Row]:
    """The policy by itself and with foresight, for each arm."""
    for arm, row in figures["arms"].items():
        for driver in ("policy", "with foresight"):
            for kind in ("random", "real"):
                found = row[f"{kind}, {driver}"]
                clean = f"{found['clean']} of {found['circuits']}"
                speed = found["speed_of_expert"]
                words = "none" if speed is None else fixed(speed, 3)
                yield f"{driver}, {arm}", kind, clean, words


def shift_rows(figures: Figures) -> Iterator[Row]:
    """Models of the car where the grip is not what it was."""
    summary = figures["summary"]
    for name, words in (
        ("usual model", "learned at the usual grip"),
        ("plain model", "learned at drawn grips, untold"),
        ("adaptive model", "estimates the grip"),
        ("adaptive model, grip told", "the same, told the grip"),
        ("true rules", "true rules"),
    ):
        cells = (
            summary[figure].get(name)
            for figure in ("loss_rmse", "loss_median", "auroc", "departures_removed")
        )
        yield words, *("" if cell is None else fixed(cell, 3) for cell in cells)


def expert_rows(figures: Figures) -> Iterator[Row]:
    """Real and generated circuits, of both experts."""
    for driver, of_driver in (("", figures), (", wm/Driving-v1", figures["mended"])):
        for kind, words in (("real", "15 real circuits"), ("random", "30 generated circuits")):
            row = of_driver[kind]
            clean = f"{row['clean_circuits']} of {row['circuits']}"
            yield words + driver, clean, fixed(row["total_of_second_laps"]), fixed(row["ratio"], 3)


def crash_rows(figures: Figures) -> Iterator[Row]:
    """The model's risk beside the same with the true rules, and the time to the boundary."""
    for end, words in (
        ("", "learned model"),
        ("_oracle", "true rules"),
        ("_ttb", "time to the boundary"),
    ):
        yield words, fixed(figures[f"ap_1s{end}"], 3), fixed(figures[f"auroc_1s{end}"], 3)


def crash_baseline_rows(figures: Figures) -> Iterator[Row]:
    """What warns without imagining anything, beside what imagines."""
    for name, row in figures["warnings"]["rows"].items():
        yield name, fixed(row["average_precision"], 3), fixed(row["auroc"], 3)


def shield_rows(figures: Figures) -> Iterator[Row]:
    """Rules of handing over, with the share of the time that they drive and what they cost."""
    for name, row in figures["shield"].items():
        yield (
            name,
            percent(row["share_handed_over"]),
            percent(row["departures_removed"]),
            percent(row["lap_time_cost"]),
            percent(row["lap_time_cost_by_noise"]["0.0"]),
        )


def pong_arm_rows(figures: Figures) -> Iterator[Row]:
    """Each arm's score with both of its costs."""
    for arm, row in figures["summary"].items():
        yield (
            arm,
            between(*(row[f"mean_score{end}"] for end in ("", "_low", "_high"))),
            str(row["num_seeds"]),
            number(row["real_steps"]),
            number(row["cpu_seconds"]),
            row["specified"],
        )


def fidelity_rows(figures: Figures) -> Iterator[Row]:
    """Games that were compared frame by frame."""
    for key, words in (("repeat 0", "no sticky actions"), ("repeat 0.25", "sticky actions")):
        row = figures[key]
        equal = f"{row['games_equal_in_every_frame']} of {row['games']}"
        yield f"complete games, {words}", equal, number(row["frames"])
    rally = figures["rally"]
    equal = "1 of 1" if rally["first_difference"] is None else "0 of 1"
    yield "a rally that the console ends", equal, number(rally["frames"])


def speed_rows(figures: Figures) -> Iterator[Row]:
    """Single environments and batches of 4,096, beside CartPole in the same run.

    CartPole's batches reset in the next step; ours also in the same one, which some libraries need.
    """
    rows = {row["name"]: row for row in figures["rows"]}
    ids = dict.fromkeys(name.split()[0] for name in rows)
    for env_id in ids:
        single, batch = rows[f"{env_id} single"], rows[f"{env_id} x 4096 NextStep"]
        same_step = rows.get(f"{env_id} x 4096 SameStep")
        yield (
            env_id,
            number(single["steps_per_cpu_second"]),
            fixed(single["ratio"], 1),
            number(batch["steps_per_cpu_second"]),
            fixed(batch["ratio"], 1),
            fixed(same_step["ratio"], 2) if same_step else "",
        )


def speed_bars(figures: Figures) -> list[Bar]:
    """Batches of 4,096."""
    return [
        Bar(row["name"].split()[0], row["steps_per_cpu_second"], is_ours=row["name"][:3] == "wm/")
        for row in figures["rows"]
        if row["name"].endswith("x 4096 NextStep")
    ]


def domain_speed_rows(domains: Figures, pong: Figures, driving: Figures) -> Iterator[Row]:
    """The larger environments, beside what others offer of the same."""
    for name, row in domains.items():
        yield name.replace(" x 4096 NextStep", ", 4,096 rows"), number(row["steps_per_cpu_second"])
    for row in pong["rows"]:
        if row.get("steps_per_cpu_second"):
            name = row["name"].replace(" x ", ", ").replace("4096", "4,096 rows")
            yield name, number(row["steps_per_cpu_second"])
    yield "wm/Driving-v0 single", number(driving["single_steps_per_cpu_second"])
    yield "wm/Driving-v0, 1,024 rows", number(driving["batch_1024_steps_per_cpu_second"])
    for name, value in driving.items():
        peer, _, unit = name.partition(", ")
        if unit == "steps_per_cpu_second":
            yield peer, number(value)


def ray_rows(figures: Figures) -> Iterator[Row]:
    """Recording with one worker and with two."""
    for name, row in figures["workers"].items():
        policy, workers = name.split(", ")
        words = "a network" if policy == "network" else "random actions"
        yield words, workers, number(row["steps_per_second"])


def planning_speed_rows(figures: Figures) -> Iterator[Row]:
    """Planners on the same model."""
    for name, value in figures["plans_per_cpu_second"].items():
        share = percent(figures["share_of_model_alone"][name])
        yield name.replace("wm ", "wm-suite "), fixed(value, 1), share


def planning_speed_bars(figures: Figures) -> list[Bar]:
    """The same."""
    return [
        Bar(name.replace("wm ", "wm-suite "), value, is_ours=name.startswith("wm "))
        for name, value in figures["plans_per_cpu_second"].items()
    ]


def curve_rows(figures: Figures) -> Iterator[Row]:
    """The same for several budgets of each planner, with intervals over episodes."""
    for planner, budgets in figures["curves"].items():
        for budget, row in budgets.items():
            interval = (row["mean_return"], row["mean_return_low"], row["mean_return_high"])
            yield planner, budget, between(*interval, 1), fixed(row["cpu_ms_per_decision"], 1)


def training_speed_rows(reinforce: Figures, ensemble: Figures) -> Iterator[Row]:
    """Updates of policies, samples of ensembles."""
    words = {
        "plain": "REINFORCE by nn.TransformerEncoder and Adam",
        "reinforce, 1 seeds": "Reinforce, one seed",
        "reinforce, 10 seeds": "Reinforce, ten seeds stacked",
    }
    several = reinforce["episodes_of_14_steps"]
    for length, figures in (("one step", reinforce), ("14 steps", several)):
        for name, value in figures["seed_updates_per_cpu_second"].items():
            yield f"{words.get(name, name)}, episodes of {length}", f"{number(value)} updates"
    for key, name in (
        ("separate_networks", "ensemble as separate networks"),
        ("one_program_float32", "EnsembleModel, float32"),
        ("one_program_bfloat16", "EnsembleModel, bfloat16"),
    ):
        yield name, f"{number(ensemble[f'{key}_samples_per_cpu_second'])} samples"


def branch_rows(figures: Figures) -> Iterator[Row]:
    """Of each id the outcomes of conditions that its recording met."""
    for name, row in figures["coverage"].items():
        yield name, f"{row['steps']:,}", f"{row['exercised']} of {row['outcomes']}"


def take_away_rows(figures: Figures) -> Iterator[Row]:
    """Models as web pages and as ONNX."""
    for name, row in figures["pages"].items():
        size, error = number(row["kilobytes"]), number(row["largest_difference"], 2)
        yield f"{name}, web page", size, error
    for name, row in figures["onnx"].items():
        size, error = number(row["kilobytes"]), number(row["largest_difference"], 2)
        yield f"{name}, ONNX", size, error


def printed_forest_rows(figures: Figures) -> Iterator[Row]:
    """Of each moving column, and of all at once, how many steps are predicted exactly."""
    seeds = figures["rows"]
    by_column = {
        name: [row["exact_by_column"][name] for row in seeds]
        for name in seeds[0]["exact_by_column"]
    }
    for name, rows in (by_column | {"all of them": [row["exact_steps"] for row in seeds]}).items():
        yield (
            name,
            *(
                percent(sum(row[kind] for row in rows) / len(rows))
                for kind in ("forest", "program", "persistence")
            ),
        )


def recovery_rows(
    recovery: Figures, bootstrap: Figures, sampled: Figures, grid: Figures
) -> Iterator[Row]:
    """Rewards that are known, inferred again."""
    yield (
        "20 generated countries, cosine to the truth",
        fixed(recovery["cosine_median"], 3),
        f"{fixed(recovery['cosine_worst_decile'], 3)} (worst decile)",
        percent(recovery["coverage_90"]),
    )
    yield (
        "... intervals by bootstrap of episodes",
        "",
        "",
        percent(bootstrap["coverage_90_bootstrap"]),
    )
    for key, name in (("pendulum", "Pendulum-v1"), ("driving", "wm/Driving-v0")):
        yield (
            f"{name}, cosine to the truth",
            fixed(sampled[f"{key}_cosine_median"], 3),
            fixed(sampled[f"{key}_cosine_worst"], 3),
            percent(sampled[f"{key}_coverage_90"]),
        )
    yield (
        "8 x 8 gridworld, value of the inferred policy as a share of the best",
        fixed(grid["value_ratio_median"], 3),
        fixed(grid["value_ratio_worst"], 3),
        "",
    )


def imitation_rows(clone: Figures, nothing: Figures, world: Figures) -> Iterator[Row]:
    """Shares of the expert's return."""
    arms = {"airl": "AIRL, from a clone", "cloning": "behavioral cloning"}
    for task in ("CartPole-v1", "Pendulum-v1"):
        for arm, words in arms.items():
            yield task, words, *_shares(clone, f"{task} share_{arm}")
        yield task, "AIRL, from nothing", *_shares(nothing, f"{task} share_airl")
        if task in world["runs"]:
            yield task, "AIRL, in a world model alone", *_shares(world, f"{task} share_airl")


def transfer_rows(figures: Figures) -> Iterator[Row]:
    """By mass of the pendulum, who learned or did what."""
    agents = {
        "inferred_reward": "PPO on AIRL's reward",
        "cloning": "behavioral cloning",
        "airl_policy": "AIRL's own policy",
        "expert": "the expert's rule",
    }
    for mass, shares in figures["runs"][0]["shares"].items():
        for agent, words in agents.items():
            if agent in shares:
                yield mass, words, *_shares(figures, f"mass {mass} share_{agent}")


def _shares(figures: Figures, name: str) -> tuple[str, str]:
    """Median and worst seed."""
    return fixed(figures[f"{name} median"], 3), fixed(figures[f"{name} worst"], 3)


def preference_rows(figures: Figures) -> Iterator[Row]:
    """Splits of the roll calls, and other features of the texts."""
    for name, run in figures["runs"].items():
        yield (
            f"{run['features']}, split {name.rpartition('_')[2]}",
            fixed(run["spearman_axis"], 3),
            fixed(run["spearman_agreement"], 3),
            fixed(run["log_loss"], 3),
            fixed(run["log_loss_baseline"], 3),
        )


def forecast_rows(figures: Figures) -> Iterator[Row]:
    """What is known before the vote, and after ten countries."""
    names = ("accuracy", "errors_removed", "macro_f1", "log_loss")
    yield "VoteModel, before the vote", *(fixed(figures[name], 3) for name in names)
    known = (fixed(figures[f"{name}_after_10"], 3) for name in names)
    yield "VoteModel, ten countries known", *known
    for label, row in figures["baselines"].items():
        yield label.replace("_", " "), *(fixed(row[name], 3) for name in names)


def debate_rows(ownership: Figures, persons: Figures) -> Iterator[Row]:
    """Owners of observations, and drives of generated persons."""
    words = {
        "default": "owner of a held-out observation, accuracy",
        "without_words_of_held_out_texts_only": "... without words that only held-out texts use",
        "training_persons_alone": "... without any seed word",
        "keyword_baseline": "... by counting keywords",
        "majority_baseline": "... always the commonest",
    }
    for name, what in words.items():
        row = ownership[name]
        yield what, between(row["accuracy"], *row["interval"], 3)
    for name, what in (
        ("spearman_adapted", "drives of generated persons, Spearman"),
        ("spearman_default_scorer", "... by a scorer that has seen none of them"),
    ):
        row = persons[name]
        yield what, between(row["estimate"], row["low"], row["high"], 3)


def seat_rows(figures: Figures) -> Iterator[Row]:
    """PPO and the scripts in one seat."""
    yield "PPO", fixed(figures["ppo_return"])
    for name, value in figures.items():
        if name.startswith("return_"):
            yield f"script: {name.removeprefix('return_')}", fixed(value)


def promise_rows(figures: Figures) -> Iterator[Row]:
    """What was tried, and how often it failed."""
    for name, row in figures["promises"].items():
        yield name, number(row["tried"]), number(row["failed"])


def house_rows(figures: Figures) -> Iterator[Row]:
    """The code before and after it was put in order."""
    for name, value in figures["now"].items():
        yield name, number(figures["before"][name]), number(value)
