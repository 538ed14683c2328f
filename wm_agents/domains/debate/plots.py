"""Allocation trajectories as a picture."""

from pathlib import Path

from wm_agents.domains.debate.trainer import TrainHistory
from wm_envs.debate.tendencies import TENDENCIES

COLOURS = ("#d55e00", "#e1b428", "#785ec8", "#cc79a7", "#0072b2", "#009e73", "#56b4e9")


def plot_trajectories(
    history: TrainHistory, path: str | Path, title: str = "Allocations by epoch"
) -> None:
    """Write a PNG.

    One line for each tendency from before the first epoch, and validation below where there is any.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    has_validation = bool(history.validation_results)
    ratios = [3, 1] if has_validation else [1]
    size = (7.5, 6) if has_validation else (7.5, 4.2)
    figure, axes = pyplot.subplots(
        len(ratios), 1, figsize=size, sharex=True, squeeze=False, height_ratios=ratios
    )
    top = axes[0, 0]
    epochs = range(history.epochs_run + 1)
    first = history.metrics[0]
    for tendency, colour in zip(TENDENCIES, COLOURS, strict=True):
        start = first.allocations[tendency] - first.allocation_changes[tendency]
        shares = [
            100 * start,
            *(100 * metrics.allocations[tendency] for metrics in history.metrics),
        ]
        top.plot(
            epochs,
            shares,
            color=colour,
            marker="o",
            markersize=3,
            linewidth=2,
            label=tendency.value,
        )
    top.set(ylabel="allocation [%]", title=title)
    top.grid(alpha=0.3)
    top.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    if has_validation:
        bottom = axes[1, 0]
        accuracies = [100 * result.accuracy for result in history.validation_results]
        lows = [100 * (r.accuracy - r.interval.low) for r in history.validation_results]
        highs = [100 * (r.interval.high - r.accuracy) for r in history.validation_results]
        bottom.errorbar(
            list(epochs)[1:], accuracies, yerr=[lows, highs], color="#26292f", marker="o", capsize=3
        )
        bottom.axhline(100 / 7, color="#8c8f94", linestyle="--", label="chance 1/7")
        bottom.set(ylabel="held-out accuracy [%]", ylim=(0, 100))
        bottom.grid(alpha=0.3)
        bottom.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes[-1, 0].set_xlabel("epoch")
    axes[-1, 0].xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)
