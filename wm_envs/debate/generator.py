"""Persons whose drives are known: observations in varied wording, with distractors and contradictions.

The wording is written apart from the lexicon of the scorers, as scenes of an ordinary life; the
label of an observation is the drive that it was drawn for.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wm_envs.data.options import check_integer, check_seed
from wm_envs.debate import phrases
from wm_envs.debate.allocations import check_allocations
from wm_envs.debate.observations import LABEL, Observation, Observations
from wm_envs.debate.tendencies import NUM_TENDENCIES, TENDENCIES
from wm_envs.errors import OptionError

MAX_TRIES = 200


@dataclass(frozen=True)
class Person:
    """A generated person.

    Attributes:
        name: A plain label such as "person 12".
        drives: The true drives, float64 [7], summing to 1.
        observations: Labelled observations.
    """

    name: str
    drives: NDArray[np.float64]
    observations: Observations


def generate_person(
    seed: int,
    num_observations: int = 165,
    drives: NDArray[np.float64] | None = None,
    *,
    distractor_share: float = 0.1,
    contradiction_share: float = 0.1,
    has_signal: bool = True,
) -> Person:
    """Draw a person.

    Args:
        seed: Equal seeds give equal persons.
        num_observations: Number of different observations.
        drives: The true drives; None draws them uniformly from the simplex.
        distractor_share: Share of observations that say nothing of any drive (weather, errands);
            labelled at random.
        contradiction_share: Share of observations of a drive that tell of acting against it for
            once.
        has_signal: False draws each label uniformly and apart from the text, so that nothing can
            predict it.

    Raises:
        OptionError: A number out of range, or more observations than there are different ones.
    """
    seed = check_seed(seed)
    num_observations = check_integer("num_observations", num_observations, 1)
    _check_shares(distractor_share, contradiction_share)
    generator = np.random.default_rng([seed, 0xD3BA7E])
    true = (
        generator.dirichlet(np.ones(NUM_TENDENCIES))
        if drives is None
        else check_allocations(drives)
    )
    rows: list[Observation] = []
    seen: set[str] = set()
    for number in range(num_observations):
        owner = int(generator.choice(NUM_TENDENCIES, p=true))
        is_distractor = generator.random() < distractor_share
        is_contrary = generator.random() < contradiction_share
        # The owner stays while the wording is drawn anew, so that no repetition shifts the shares
        # of the drives.
        text = _new_text(
            owner, generator, seen, is_distractor=is_distractor, is_contrary=is_contrary
        )
        label = (
            owner if has_signal and not is_distractor else int(generator.integers(NUM_TENDENCIES))
        )
        metadata = {
            LABEL: str(TENDENCIES[label]),
            "is_distractor": is_distractor,
            "is_contrary": is_contrary,
        }
        rows.append(Observation(f"{seed}-{number:04d}", text, f"person {seed}", None, metadata))
    return Person(f"person {seed}", true, Observations(rows, "generated"))


def _new_text(
    owner: int,
    generator: np.random.Generator,
    seen: set[str],
    *,
    is_distractor: bool,
    is_contrary: bool,
) -> str:
    for _ in range(MAX_TRIES):
        text = (
            phrases.distractor(generator)
            if is_distractor
            else phrases.scene(owner, generator, is_contrary)
        )
        if text not in seen:
            seen.add(text)
            return text
    raise OptionError(
        f"nothing new to say of {TENDENCIES[owner]} after {len(seen)} observations: ask for fewer"
    )


def _check_shares(distractor_share: float, contradiction_share: float) -> None:
    for name, share in (
        ("distractor_share", distractor_share),
        ("contradiction_share", contradiction_share),
    ):
        if not 0.0 <= share < 1.0:
            raise OptionError(f"{name} is in [0, 1), got {share!r}")
