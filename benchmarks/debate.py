"""What the debate domain has to reach, one part at a time or all.

    python -m benchmarks.debate --part ownership
    python -m benchmarks.debate --part persons
    python -m benchmarks.debate --part speed
    python -m benchmarks.debate --part seat

`ownership`: held-out persons of the corpus, beside its baselines. `persons`: drives of generated
persons found again, and persons without signal. `speed`: a training run, in CPU seconds. `seat`:
PPO in a seat beside every script. Each part writes benchmarks/results/debate_<part>.json.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from benchmarks.report import write_result
from wm_agents.domains.debate.history import DebateConfig
from wm_agents.domains.debate.seat import SeatConfig, learn_seat
from wm_agents.domains.debate.studies import (
    adapted_relevance,
    majority_baseline,
    null_study,
    ownership,
    recovery_study,
    training_seconds,
)
from wm_agents.domains.debate.validation import ValidationResult
from wm_envs.debate.lexicon import seed_words
from wm_envs.debate.observations import load_corpus
from wm_envs.debate.relevance import KeywordRelevance, Relevance, TfidfRelevance, default_relevance
from wm_envs.debate.tendencies import TENDENCIES


class WithoutSharedWords:
    """The default scorer without the seed words that held-out texts have and training texts do not.

    Corpus and lexicon are by the same hand: what is left is safe from a lexicon that knows its
    examination.
    """

    def __init__(self) -> None:
        train, held_out = (_words(load_corpus(split).texts) for split in ("train", "held-out"))
        self.suspects = {w for t in TENDENCIES for w in seed_words(t)} & (held_out - train)
        corpus = load_corpus("train")
        examples = [(o.content, o.owner.index) for o in corpus if o.owner is not None]
        examples += [
            (w, t.index) for t in TENDENCIES for w in seed_words(t) if w not in self.suspects
        ]
        texts, owners = zip(*examples, strict=True)
        self._scorer = TfidfRelevance(texts, owners, has_lexicon=False, has_corpus=False)

    def score(self, texts: Any) -> Any:
        """Relevance [N, 7]."""
        return self._scorer.score(texts)


def measure_ownership(seed: int) -> dict[str, Any]:
    """Accuracy on the 157 labelled observations of the five held-out persons."""
    del seed  # nothing is drawn
    train, held_out = load_corpus("train"), load_corpus("held-out")
    careful = WithoutSharedWords()
    scorers: dict[str, Relevance] = {
        "default": default_relevance(),
        "lexicon_alone": TfidfRelevance(has_corpus=False),
        "training_persons_alone": TfidfRelevance(has_lexicon=False),
        "without_words_of_held_out_texts_only": careful,
        "keyword_baseline": KeywordRelevance(),
    }
    figures = {name: _plain(ownership(held_out, scorer)) for name, scorer in scorers.items()}
    figures["majority_baseline"] = _plain(majority_baseline(train, held_out))
    figures["words_left_out"] = {
        "number": len(careful.suspects),
        "of": sum(len(seed_words(t)) for t in TENDENCIES),
    }
    return figures


def measure_persons(seed: int) -> dict[str, Any]:
    """Recovered drives by scorer and settings, and the verdicts on persons without signal."""
    adapted = adapted_relevance()
    figures: dict[str, Any] = {}
    for name, scorer, num_observations, config in (
        ("adapted", adapted, 400, None),
        ("adapted_165_observations", adapted, 165, None),
        ("adapted_default_config", adapted, 400, DebateConfig()),
        ("default_scorer", default_relevance(), 400, None),
    ):
        options = {} if config is None else {"config": config}
        study = recovery_study(scorer, 100, num_observations, seed=seed, **options)
        figures[f"spearman_{name}"] = asdict(study.median) | {
            "lower_quartile": float(np.quantile(study.correlations, 0.25))
        }
    num_silent, results = null_study(adapted, 100, seed=seed)
    figures["null_persons_not_above_chance"] = num_silent
    figures["null_persons_mean_accuracy"] = float(np.mean([result.accuracy for result in results]))
    return figures


def measure_speed(seed: int) -> dict[str, Any]:
    """Five epochs on 165 observations.

    The first run loads the machine code, the next are the figure.
    """
    runs = [training_seconds(seed) for _ in range(6)]
    middle = {name: float(np.median([run[name] for run in runs[1:]])) for name in runs[0]}
    return middle | {"first_run_seconds": runs[0]["seconds"]}


def measure_seat(seed: int) -> dict[str, Any]:
    """PPO in a seat, with the default settings of examples/debate_agent.py."""
    torch.set_num_threads(1)
    _, figures = learn_seat(SeatConfig(), seed)
    return figures


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "ownership": measure_ownership,
    "persons": measure_persons,
    "speed": measure_speed,
    "seat": measure_seat,
}


def _plain(result: ValidationResult | None) -> dict[str, Any]:
    assert result is not None
    return result.to_plain()


def _words(texts: list[str]) -> set[str]:
    return {
        word
        for text in texts
        for word in "".join(c if c.isalpha() else " " for c in text.lower()).split()
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for name in PARTS if arguments.part == "all" else [arguments.part]:
        figures = PARTS[name](arguments.seed)
        command = f"python -m benchmarks.debate --part {name} --seed {arguments.seed}"
        path = write_result(f"debate_{name}", figures, seeds=arguments.seed, command=command)
        print(f"{name}: {figures}\nwritten to {path}", flush=True)


if __name__ == "__main__":
    main()
