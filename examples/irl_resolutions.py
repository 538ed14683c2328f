"""What do countries vote for? Infer it from their votes, with intervals.

    python examples/irl_resolutions.py --output-dir runs/irl_known
    python examples/irl_resolutions.py --votes runs/un --features precedent --train-before 2012 --output-dir runs/irl

Without --votes, countries of the calibrated generator act by known utilities, and the summary says
how well these are recovered (cosine_median, cosine_worst_decile, coverage_90). With --votes, what
build_trajectories.py wrote, the weights of each country are inferred from roll calls before
--train-before, and the summary says how well later votes are predicted (log_loss beside
log_loss_baseline, the country's habits on the issue) and whether the map's first axis orders
countries like a spatial voting model fitted on other roll calls does (spearman_axis, beside
spearman_agreement: the share of agreement with one power). Writes summary.json, weights.json,
map.png and index.html with a card for each country.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

import wm_agents as wma
from wm_agents.domains.resolutions.resolution_mdp import recover_utilities, recovery_figures
from wm_agents.domains.resolutions.vote_rewards import (
    FeatureKind,
    VoteInference,
    infer_rewards,
    read_votes,
)
from wm_agents.irl.comparison import card
from wm_agents.irl.page import render_comparison, save_map


@dataclass(frozen=True)
class Config:
    """What to infer from what."""

    votes: Path | None = None
    """Trajectory file or folder, as build_trajectories.py writes it.

    Without it the generator with known utilities.
    """
    features: FeatureKind = "precedent"
    """What rewards are made of; for recorded votes."""
    countries: str = "all"
    """"all", or codes such as FR,US."""
    since: str = "1992-01-01"
    """Roll calls from this date on are demonstrations."""
    train_before: str = "2012-01-01"
    """And before this one; later votes are predicted."""
    num_trajectories: int = 200
    """Episodes of each country of the generator."""
    num_countries: int = 20
    """Countries of the generator, drawn at random."""
    num_resamples: int = 0
    """Of the bootstrap by episode."""
    seed: int = 0
    """Seed of the episodes, or of the split into demonstrations and other roll calls."""
    output_dir: Path = Path("runs/irl_resolutions")
    """Folder for summary.json, weights.json, map.png and index.html."""


def main(config: Config) -> dict[str, Any]:
    """Infer, check, write; returns the summary."""
    config = wma.expand_paths(config)
    started = time.perf_counter()
    folder = wma.make_output_directory(config.output_dir, has_pictures=True)
    if config.votes is None:
        recovery = recover_utilities(
            config.num_countries, config.num_trajectories, config.num_resamples, config.seed
        )
        summary: dict[str, Any] = recovery_figures([recovery])
    else:
        inference = infer_rewards(
            read_votes(config.votes),
            config.features,
            countries=config.countries,
            since=config.since,
            train_before=config.train_before,
            num_resamples=config.num_resamples,
            seed=config.seed,
        )
        summary = inference.figures
        write_page(config, folder, inference)
    summary |= {"seed": config.seed, "seconds": time.perf_counter() - started}
    wma.write_summary(folder, summary, is_printed=True)
    return summary


def write_page(config: Config, folder: Path, inference: VoteInference) -> None:
    """The weights as JSON, the map, and a page with a card for each country."""
    fits = inference.fits
    comparison = inference.comparison
    cards = {code: card(fit, comparison, code) for code, fit in fits.items()}
    (folder / "weights.json").write_text(json.dumps(cards, indent=1) + "\n", encoding="utf-8")
    save_map(folder / "map.png", comparison)
    period = f"{config.since[:4]} to {config.train_before[:4]}"
    notes = [
        f"{name.replace('_', ' ')}: {value:.3f}"
        for name, value in inference.figures.items()
        if isinstance(value, float)
    ]
    title = f"What {len(fits)} countries vote for, {period}"
    page = render_comparison(title, fits, comparison, notes=notes)
    (folder / "index.html").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Config))
