"""The tables of docs/benchmarks.md by theme: which figures of which results, under which headings.

A table takes the figures of its results, in order, and gives rows of text. What has no table here
is shown by `benchmarks.page` in a plain form, and so is a result whose figures have changed their
form.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks import theme_rows as rows
from benchmarks.theme_rows import Bar, Row


@dataclass(frozen=True)
class Table:
    """One table, with the chart above it where there is one.

    Attributes:
        title: Its heading.
        results: Names of the results, whose figures `rows` and `bars` take in this order.
        columns: Headings, with units.
        rows: From figures to rows.
        text: What a reader has to know.
        bars: From figures to the lines of the chart.
        axis: What the chart measures, with its unit.
        is_log: Whether the axis is logarithmic.
    """

    title: str
    results: tuple[str, ...]
    columns: Row
    rows: Callable[..., Iterable[Row]]
    text: str = ""
    bars: Callable[..., list[Bar]] | None = None
    axis: str = ""
    is_log: bool = False


@dataclass(frozen=True)
class Theme:
    """Tables that belong together, and the page that explains them."""

    title: str
    text: str
    tables: tuple[Table, ...]


CONTROL = ("cart_pole", "pendulum", "acrobot", "mountain_car")
QUESTIONS = ("scaling", "structure", "scalarization", "parents", "targets")
PUZZLES = ("perm_puzzle", "perm_puzzle_7", "lights_out", "token_automaton")

THEMES = (
    Theme(
        "One agent for any environment",
        "One configuration that is told nothing but the spaces. See [one agent](agent.md).",
        (
            Table(
                "Scores by task",
                ("one_agent",),
                (
                    "Task",
                    "Asked for",
                    "World model agent",
                    "Seeds",
                    "CPU-seconds",
                    "PPO",
                    "DQN or SAC",
                    "Recurrent PPO",
                    "Random",
                ),
                rows.one_agent_rows,
                "Success rates on the symbolic ids, returns elsewhere: interquartile means over "
                "seeds. An empty cell was not measured.",
            ),
        ),
    ),
    Theme(
        "Remembering with a world model",
        "Does a loss that predicts the next observation help a policy to remember? See "
        "[REINFORCE with a world model](reinforce.md).",
        (
            Table(
                "Rule recall",
                ("symbolic_learning_recall", "symbolic_learning_solved"),
                ("Arm", "Episodes", "Success rate"),
                rows.recall_rows,
                "`wm/RuleRecall-v0`, ten seeds, greedy actions, interquartile means. The arm "
                "without a model has the best of three learning rates.",
                rows.recall_bars,
                "success rate after 64,000 episodes",
            ),
            Table(
                "Which loss helps",
                ("auxiliary_tasks_rulerecall",),
                (
                    "Id",
                    "Arm",
                    "Success rate",
                    "Seeds at 90%",
                    "Median episodes to 90%",
                    "Real steps a seed",
                    "CPU-seconds a seed",
                ),
                rows.auxiliary_rows,
                "Arms that are tuned alike; the network and curriculum that they share were found for "
                "the first of them before. Interquartile means of greedy success on seeds that nothing "
                "was tuned on.",
            ),
            Table(
                "Where it cannot help",
                ("symbolic_learning_nulls",),
                ("Id", "With", "Without", "Difference"),
                rows.null_rows,
                "What follows is noise, so that predicting it should change nothing. 32 seeds.",
            ),
            Table(
                "Where it cannot help, in other units",
                ("auxiliary_tasks_patternecho", "auxiliary_tasks_patternecho_x10"),
                (
                    "Id",
                    "Arm",
                    "Success rate",
                    "Seeds at 90%",
                    "Median episodes to 90%",
                    "Real steps a seed",
                    "CPU-seconds a seed",
                ),
                rows.auxiliary_rows,
                "Both arms tuned alike, four trials each. What follows is noise, shown as it is and ten "
                "times as large.",
            ),
            Table(
                "The other tasks",
                ("symbolic_learning_simple", "symbolic_learning_hard"),
                ("Id", "Updates", "Success rate"),
                rows.simple_rows,
            ),
            Table(
                "The open questions",
                tuple(f"open_questions_{question}" for question in QUESTIONS),
                ("Task", "Arm", "Setting", "Success rate", "Episodes to 90%"),
                rows.open_question_rows,
                "Interquartile means with 95% intervals; see [the open questions]"
                "(open-questions.md).",
            ),
        ),
    ),
    Theme(
        "Planning in learned models",
        "A planner in a model that was learned from few real steps, beside the same planner on the "
        "true dynamics. See [planners](planning.md).",
        (
            Table(
                "Classic control",
                tuple(f"control_{task}" for task in CONTROL),
                (
                    "Task",
                    "Real steps",
                    "Learned model",
                    "True dynamics",
                    "Model-free, same steps",
                    "Random",
                ),
                rows.control_rows,
                "Mean returns. The planner was developed on these tasks; the model-free agents, SAC "
                "on Pendulum and DQN elsewhere, have one configuration each.",
            ),
            Table(
                "Puzzles",
                tuple(f"puzzles_{task}" for task in PUZZLES),
                (
                    "Puzzle",
                    "Token model, steps to 0.9",
                    "Table, steps to 0.9",
                    "DQN with hindsight",
                ),
                rows.puzzle_rows,
                "Median real steps until nine of ten puzzles are solved, ten seeds of the first two; the "
                "table is given what is rewarded, the token model begins with a guess that holds here. "
                "TokenAutomaton has no structure to find and is the control.",
            ),
        ),
    ),
    Theme(
        "Learning inside a world model",
        "An agent trains in an imagined environment and is tested in the real one. See "
        "[dreams](dreams.md), [Pong](pong.md) and [driving](driving.md).",
        (
            Table(
                "The original Pong",
                ("pong_dream",),
                ("Player", "Sticky actions", "Mean score", "Worst seed", "Seeds"),
                rows.pong_dream_rows,
                "Points of 21 in 20 games a seed, after 100,000 real steps for those that learn. The "
                "input is the positions of the objects, and much of the rules is specified.",
                rows.pong_dream_bars,
                "mean score in games to 21",
            ),
            Table(
                "What the model adds in Pong",
                ("pong_arms",),
                ("Player", "Mean score", "Seeds", "Real steps", "CPU-seconds", "Told"),
                rows.pong_arm_rows,
                "PPO without a model has the dream's features, shaping, points as ends and scripted "
                "first steps, and six trials of its settings; so has the rule. The dream was not "
                "tuned here. Brackets around two seeds are these two.",
            ),
            Table(
                "SAC on Pendulum, tuned alike",
                ("dream_arms",),
                (
                    "Arm",
                    "Seeds at the threshold",
                    "Real steps, mean curve",
                    "Return at the end",
                    "Real steps in all",
                    "CPU-seconds a seed",
                ),
                rows.dream_arm_rows,
                "Both arms have the same networks, held random actions and number of trials; without "
                "a model SAC had 1, 4 or 20 gradient steps a real step to choose, and dropout. The "
                "threshold, -234, is that of the table below.",
            ),
            Table(
                "SAC on Pendulum",
                ("dream_sac",),
                ("Arm", "Real steps to the threshold", "Real steps in all", "Return at the end"),
                rows.dream_rows,
                "Medians of five seeds; the threshold is 90% of what SAC reaches without a model. "
                "The dream takes 20 gradient steps for each real step and SAC takes one.",
            ),
            Table(
                "SAC on Driving",
                ("driving_dream",),
                ("Arm", "Return, median", "Return, worst seed", "Real steps"),
                rows.driving_dream_rows,
                "The dream knows the map, the rules of the reward and noisy laps of the expert.",
            ),
        ),
    ),
    Theme(
        "How far a model can be trusted",
        "Open-loop errors on episodes that training never saw. See [world models](world-models.md) "
        "and [trust](trust.md).",
        (
            Table(
                "Certified horizons",
                ("certified_horizon",),
                (
                    "Task",
                    "Violations, 0.1 allowed",
                    "Certified, steps",
                    "Measured, steps",
                    "Coverage of 90% intervals",
                ),
                rows.certified_rows,
                "Three seeds with 50 random halves each.",
            ),
            Table(
                "The world model of Pong",
                ("pong_world_model",),
                (
                    "Games",
                    "Exact after 6 steps",
                    "Exact after 30",
                    "Squared error after 6",
                    "After 30",
                    "Seeds",
                ),
                rows.pong_model_rows,
                "Shares of windows in which every feature is exact, and mean squared errors over the "
                "features of one frame.",
            ),
            Table(
                "Which idea makes the difference in Pong",
                ("pong_models",),
                ("Model", "Exact after 6 steps", "Squared error after 6", "After 30"),
                rows.pong_idea_rows,
                "One short run of a single seed each; networks would be better after more updates.",
                rows.pong_idea_bars,
                "share of windows that are exact after 6 steps",
            ),
            Table(
                "The model of a car",
                ("driving_models",),
                ("Model", "Steps", *(f"{name}" for name in rows.CAR.values())),
                rows.driving_model_rows,
                "Root mean squared errors on five unseen circuits, as shares of the error of "
                "persistence: below 1 is better than predicting no change.",
            ),
            Table(
                "What random play sees of the rules",
                ("branch_coverage",),
                ("Id", "Steps replayed", "Outcomes of the rules' conditions"),
                rows.branch_rows,
                "A replay without the compiler; all ids together take 5 processor seconds.",
            ),
            Table(
                "Models as files",
                ("take_away",),
                ("Model", "Size, kB", "Largest difference to PyTorch"),
                rows.take_away_rows,
            ),
            Table(
                "A model printed as a program",
                ("printed_forests",),
                ("Next value of", "Forest", "Its program", "Persistence"),
                rows.printed_forest_rows,
                "Share of unseen steps of random play in wm/Pong-v0 that each predicts exactly from "
                "the recorded step before; mean of the seeds. See [a model with memory as a "
                "program](trust.md#what-a-forest-knows).",
            ),
        ),
    ),
    Theme(
        "Driving",
        "See [driving](driving.md).",
        (
            Table(
                "Laps on unseen circuits",
                ("driving_planning", "driving_planning_from_scratch"),
                ("Driver", "Clean drives", "Mean second lap, s"),
                rows.lap_rows,
            ),
            Table(
                "Driving from scratch",
                ("driving_from_scratch",),
                ("Driver", "Circuits never driven", "Clean", "Times the expert's speed"),
                rows.from_scratch_rows,
                "Learned without an expert or recorded laps, one seed; speed on the clean circuits.",
            ),
            Table(
                "The expert",
                ("driving_expert",),
                ("Circuits", "Clean", "Second laps in all, s", "Times the physical limit"),
                rows.expert_rows,
            ),
            Table(
                "Warnings a second before a car leaves the road",
                ("crash_prediction",),
                ("Risk from", "Average precision", "AUROC"),
                rows.crash_rows,
            ),
            Table(
                "The same warnings without imagination",
                ("crash_baselines",),
                ("Risk from", "Average precision", "AUROC"),
                rows.crash_baseline_rows,
                "Baselines that know the driver as the rollouts do; rows that say *committed* are "
                "those of the table above, on the same drives.",
            ),
            Table(
                "A shield beside one that always drives",
                ("crash_baselines",),
                (
                    "The careful expert drives",
                    "Share of the time",
                    "Departures removed, per metre",
                    "Time per metre",
                    "The same, drivers without noise",
                ),
                rows.shield_rows,
            ),
            Table(
                "A road of unknown grip",
                ("driving_shift",),
                (
                    "Model",
                    "Loss of accuracy 16 steps ahead, root mean square",
                    "The same, median",
                    "AUROC one second ahead",
                    "Departures that its shield removes",
                ),
                rows.shift_rows,
                "Against a model of the usual grip at the usual grip; on unseen circuits at grips "
                "of .7 to 1.1 of it.",
            ),
        ),
    ),
    Theme(
        "Inferring rewards",
        "See [inverse reinforcement learning](irl.md).",
        (
            Table(
                "Known rewards, inferred again",
                ("irl_recovery", "irl_bootstrap", "irl_sampled", "irl_gridworld"),
                ("Task and measure", "Median", "Worst", "Truth in 90% intervals"),
                rows.recovery_rows,
            ),
            Table(
                "Imitation from ten episodes",
                ("irl_adversarial", "irl_from_nothing", "irl_in_world_model"),
                ("Task", "Method", "Share of the expert's return, median", "Worst seed"),
                rows.imitation_rows,
                "0 is random play, 1 the expert.",
            ),
            Table(
                "A reward of states where the mass has changed",
                ("irl_transfer",),
                ("Mass", "Agent", "Share of PPO on the true reward, median", "Worst seed"),
                rows.transfer_rows,
                "0 is random play; at the expert's own mass, 1, shares are of its return.",
            ),
            Table(
                "What countries vote for",
                ("irl_votes",),
                (
                    "Features and split",
                    "Spearman, first axis",
                    "Spearman, agreement with the US",
                    "Log loss, nats",
                    "Log loss of habits",
                ),
                rows.preference_rows,
                "191 countries; Spearman correlations with a spatial model of the other roll calls.",
            ),
        ),
    ),
    Theme(
        "Votes and debates",
        "See [United Nations resolutions](resolutions.md) and [debate](debate.md).",
        (
            Table(
                "Votes of 2012 to 2016",
                ("forecast_votes",),
                ("Method", "Accuracy", "Always-yes errors removed", "Macro-F1", "Log loss, nats"),
                rows.forecast_rows,
            ),
            Table(
                "Who would say that?",
                ("debate_ownership", "debate_persons"),
                ("Question", "Value"),
                rows.debate_rows,
                "Corpus and lexicon were written by the same hand.",
            ),
            Table(
                "A seat in a debate",
                ("debate_seat",),
                ("Player", "Mean return, points"),
                rows.seat_rows,
            ),
        ),
    ),
    Theme(
        "Speed of environments",
        "Steps per CPU-second, by turns in one run. The rules differ: TMaze is less work than "
        "CartPole, and compiled rules are less work than an emulator.",
        (
            Table(
                "Puzzles of symbols",
                ("throughput",),
                (
                    "Id",
                    "Single, steps/s",
                    "Times CartPole-v1",
                    "4,096 rows, steps/s",
                    "Times CartPoleVectorEnv",
                    "The same, reset in the same step",
                ),
                rows.speed_rows,
                "The last column is what Stable-Baselines3 gets: it needs batches that reset a row in "
                "the step that ends its episode. CartPoleVectorEnv is always in its own mode, which "
                "resets in the next step.",
                bars=rows.speed_bars,
                axis="steps per CPU-second, 4,096 rows",
                is_log=True,
            ),
            Table(
                "Domains and their peers",
                ("domain_throughput", "pong_throughput", "driving_speed"),
                ("Environment", "Steps per CPU-second"),
                rows.domain_speed_rows,
            ),
            Table(
                "Fidelity of the compiled Pong",
                ("pong_fidelity",),
                ("Compared", "Equal in every frame", "Frames"),
                rows.fidelity_rows,
            ),
            Table(
                "Recording on a cluster",
                ("ray_scaling",),
                ("Policy", "Workers", "Steps per second of wall time"),
                rows.ray_rows,
            ),
        ),
    ),
    Theme(
        "Speed of agents",
        "The same model or task on both sides of each comparison.",
        (
            Table(
                "Planners",
                ("planning_speed",),
                ("Planner", "Plans per CPU-second", "Share of the model alone"),
                rows.planning_speed_rows,
                "A state of 34 numbers, a network of 256 x 256, horizon 16, 500 samples, 5 "
                "iterations. *Model alone* only evaluates the network.",
                rows.planning_speed_bars,
                "plans per CPU-second",
            ),
            Table(
                "Training",
                ("reinforce_speed", "model_training_speed"),
                ("What", "Per CPU-second"),
                rows.training_speed_rows,
            ),
            *(
                Table(
                    f"Budgets with a warm start, {task}",
                    (f"warm_start_{name}",),
                    ("Planner", "Samples x iterations", "Mean return", "CPU-ms a decision"),
                    rows.curve_rows,
                    "With the true dynamics.",
                )
                for name, task in (
                    ("pendulum", "Pendulum"),
                    ("cart_pole_swing_up", "swinging a pole up"),
                    ("driving", "driving the oval"),
                )
            ),
        ),
    ),
    Theme(
        "Reliability and code",
        "See [reliability](reliability.md) and [architecture](architecture.md).",
        (
            Table("Promises", ("reliability",), ("Promise", "Tried", "Failed"), rows.promise_rows),
            Table("The code", ("house",), ("Count", "Before", "Now"), rows.house_rows),
        ),
    ),
)
