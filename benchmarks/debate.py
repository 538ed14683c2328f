"""What the debate domain has to reach, one part at a time or all.

    python -m benchmarks.debate --part ownership
    python -m benchmarks.debate --part ownership --embeddings MODEL --endpoint URL --judge NAME
    python -m benchmarks.debate --part persons
    python -m benchmarks.debate --part speed
    python -m benchmarks.debate --part seat

`ownership`: held-out persons of the corpus, beside its baselines, against each reader's labels under
benchmarks/labels; with sentence embeddings (a name or folder that sentence-transformers knows) and a
language model (an OpenAI-compatible endpoint) where they are given. `persons`: drives of generated
persons found again, and persons without signal. `speed`: a training run, in CPU seconds. `seat`:
PPO in a seat beside every script. Each part writes benchmarks/results/debate_<part>.json.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
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
from wm_agents.domains.debate.validation import (
    ValidationResult,
    cohens_kappa,
    labelled_by,
    read_labels,
)
from wm_envs.debate.language_relevance import LanguageModelRelevance
from wm_envs.debate.lexicon import seed_words
from wm_envs.debate.observations import Observations, load_corpus
from wm_envs.debate.relevance import (
    EmbeddingRelevance,
    KeywordRelevance,
    Relevance,
    TfidfRelevance,
    default_relevance,
)
from wm_envs.debate.tendencies import TENDENCIES
from wm_envs.language_model import LanguageModelClient

LABELS = Path(__file__).parent / "labels"


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


def measure_ownership(options: argparse.Namespace) -> dict[str, Any]:
    """Accuracy on the 157 labelled observations of the five held-out persons."""
    train, held_out = load_corpus("train"), load_corpus("held-out")
    careful = WithoutSharedWords()
    scorers: dict[str, Relevance] = {
        "default": default_relevance(),
        "lexicon_alone": TfidfRelevance(has_corpus=False),
        "training_persons_alone": TfidfRelevance(has_lexicon=False),
        "without_words_of_held_out_texts_only": careful,
        "keyword_baseline": KeywordRelevance(),
    }
    if options.embeddings:
        scorers["sentence_embeddings"] = EmbeddingRelevance(options.embeddings)
    if options.endpoint:
        client = LanguageModelClient(options.endpoint, options.judge)
        scorers["language_model_judge"] = LanguageModelRelevance(client)
    figures = {name: _plain(ownership(held_out, scorer)) for name, scorer in scorers.items()}
    figures["readers"] = {
        path.stem: against_reader(held_out, read_labels(path), scorers, options.seed)
        for path in sorted(LABELS.glob("*.jsonl"))
    }
    figures["majority_baseline"] = _plain(majority_baseline(train, held_out))
    figures["words_left_out"] = {
        "number": len(careful.suspects),
        "of": sum(len(seed_words(t)) for t in TENDENCIES),
    }
    return figures


def against_reader(
    observations: Observations,
    labels: Mapping[str, str | None],
    scorers: Mapping[str, Relevance],
    seed: int,
) -> dict[str, Any]:
    """A reader's agreement with the labels of the corpus, and each scorer's with the reader."""
    theirs = labelled_by(observations, labels)
    given = {each.id: each.owner for each in observations if each.owner is not None}
    pairs = [(given[each.id], each.owner) for each in theirs if each.id in given]
    ours, others = (
        [str(pair[side].value) for pair in pairs if pair[1] is not None] for side in (0, 1)
    )
    return {
        "kappa": asdict(cohens_kappa(ours, others, seed=seed)),
        **{name: _plain(ownership(theirs, scorer)) for name, scorer in scorers.items()},
    }


def measure_persons(options: argparse.Namespace) -> dict[str, Any]:
    """Recovered drives by scorer and settings, and the verdicts on persons without signal."""
    seed = options.seed
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


def measure_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Five epochs on 165 observations.

    The first run loads the machine code, the next are the figure.
    """
    runs = [training_seconds(options.seed) for _ in range(6)]
    middle = {name: float(np.median([run[name] for run in runs[1:]])) for name in runs[0]}
    return middle | {"first_run_seconds": runs[0]["seconds"]}


def measure_seat(options: argparse.Namespace) -> dict[str, Any]:
    """PPO in a seat, with the default settings of examples/debate_agent.py."""
    torch.set_num_threads(1)
    _, figures = learn_seat(SeatConfig(), options.seed)
    return figures


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
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
    parser.add_argument("--embeddings", help="for ownership: a sentence-transformers model")
    parser.add_argument("--endpoint", help="for ownership: URL of a language model's endpoint")
    parser.add_argument("--judge", default="judge", help="the language model's name there")
    arguments = parser.parse_args()
    for name in PARTS if arguments.part == "all" else [arguments.part]:
        figures = PARTS[name](arguments)
        command = f"python -m benchmarks.debate --part {name} --seed {arguments.seed}"
        if name == "ownership" and arguments.embeddings:
            command += " --embeddings MODEL"
        path = write_result(f"debate_{name}", figures, seeds=arguments.seed, command=command)
        print(f"{name}: {figures}\nwritten to {path}", flush=True)


if __name__ == "__main__":
    main()
