"""Label observations by hand, so that accuracy is measured against more than one reader.

    python examples/label_observations.py --labeller ada --output runs/labels/ada.jsonl
    python examples/label_observations.py --compare runs/labels/ada.jsonl runs/labels/ben.jsonl

Shows one observation at a time, in an order drawn for each labeller, and takes one key: 1 to 7 for
the tendency that it speaks of most, s to pass it over, q to stop. Each answer is a line of JSON,
written at once; started again it goes on with what is left. Nobody sees the labels of others, nor
what a scorer says. --compare reads two or more such files and prints, for each pair, the share of
equal labels and Cohen's kappa (Cohen 1960) with a 95% interval that resamples observations. The
labels that came with the observations take part as "given".
"""

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import wm_agents as wma
from wm_agents.domains.debate.validation import cohens_kappa, read_labels
from wm_envs.debate.observations import Observations, load_corpus
from wm_envs.debate.tendencies import TENDENCIES

MEANINGS = (
    "staying alive and safe",
    "standing among others",
    "what it is all for",
    "being close to somebody",
    "deciding for oneself",
    "ease and pleasure",
    "wanting to know",
)


@dataclass(frozen=True)
class Config:
    """Who labels what, or what to compare."""

    labeller: str = "reader"
    """Who labels; it stands in each line and draws the order."""
    observations: Path | None = None
    """A file {source, count, observations: [...]}; None takes the corpus's held-out persons."""
    output: Path = Path("runs/labels/labels.jsonl")
    """Where the answers go."""
    num_labels: int = 0
    """Stop after this many answers; 0 goes on to the end."""
    compare: tuple[Path, ...] = ()
    """Files of answers to compare; nothing is labelled then."""
    seed: int = 0
    """Of the order, and of the intervals."""


def main(config: Config, ask: Callable[[str], str] = input) -> dict[str, Any]:
    """Label, or compare; returns counts, or kappas by pair."""
    config = wma.expand_paths(config)
    observations = load_corpus("held-out")
    if config.observations is not None:
        observations = Observations.load(config.observations)
    if config.compare:
        return report(config, observations)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    done = read_labels(config.output) if config.output.exists() else {}
    seed = int(sha256(config.labeller.encode()).hexdigest()[:8], 16)
    order = np.random.default_rng([config.seed, seed]).permutation(len(observations))
    items = list(observations)
    left = [items[place] for place in order if items[place].id not in done]
    if config.num_labels:
        left = left[: config.num_labels]
    keys = "  ".join(f"{n} {name}: {MEANINGS[n - 1]}" for n, name in enumerate(TENDENCIES, 1))
    print(f"{keys}\ns pass over  q stop\n")
    num_new = 0
    with config.output.open("a", encoding="utf-8") as stream:
        for number, observation in enumerate(left, 1):
            key = one_key(ask, f"[{number}/{len(left)}] {observation.content}\n> ")
            if key == "q":
                break
            label = None if key == "s" else TENDENCIES[int(key) - 1].value
            line = {"id": observation.id, "label": label, "labeller": config.labeller}
            stream.write(json.dumps(line) + "\n")
            stream.flush()
            num_new += 1
    return {"num_new": num_new, "num_labels": len(done) + num_new}


def one_key(ask: Callable[[str], str], question: str) -> str:
    """An answer that is one of the keys; asks again until it is. The end of the input stops."""
    while True:
        try:
            key = ask(question).strip().lower()
        except EOFError:
            return "q"
        if key in ("s", "q") or (len(key) == 1 and key in "1234567"):
            return key
        print("one key: 1 to 7, s or q", file=sys.stderr)


def report(config: Config, observations: Observations) -> dict[str, Any]:
    """Agreement of each pair of labellers, the given labels among them."""
    given = {o.id: o.owner.value for o in observations if o.owner is not None}
    readers: dict[str, dict[str, Any]] = {"given": given} if given else {}
    readers |= {path.stem: read_labels(path) for path in config.compare}
    figures = {}
    for (one, first), (other, second) in itertools.combinations(readers.items(), 2):
        both = [name for name in first if first[name] and second.get(name)]
        if not both:
            raise wma.ConfigError(f"{one} and {other} have labelled nothing in common")
        pairs = [first[name] for name in both], [second[name] for name in both]
        kappa = cohens_kappa(*pairs, seed=config.seed)
        equal = float(np.mean([a == b for a, b in zip(*pairs, strict=True)]))
        figures[f"{one} / {other}"] = {
            "num_observations": len(both),
            "equal": equal,
            "kappa": kappa.estimate,
            "low": kappa.low,
            "high": kappa.high,
        }
        print(f"{one} / {other}: {len(both)} observations, {equal:.0%} equal, kappa {kappa}")
    picture = wma.plot_intervals(
        config.output.with_name("agreement.png"),
        {
            pair: wma.Interval(row["kappa"], row["low"], row["high"])
            for pair, row in figures.items()
        },
        "Cohen's kappa",
    )
    print(f"Written: {picture}")
    return figures


if __name__ == "__main__":
    main(tyro.cli(Config))
