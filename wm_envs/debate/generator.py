"""Persons whose drives are known.

Observations in varied wording, with distractors and contradictions.

The wording is written apart from the lexicon of the scorers, as scenes of an ordinary life; the
label of an observation is the drive that it was drawn for.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wm_envs.data.options import check_integer, check_seed
from wm_envs.debate.allocations import check_allocations
from wm_envs.debate.observations import LABEL, Observation, Observations
from wm_envs.debate.tendencies import NUM_TENDENCIES, TENDENCIES
from wm_envs.errors import OptionError

TIMES = (
    "On Monday",
    "Last week",
    "In March",
    "After the shift",
    "Before the trip",
    "At thirty",
    "On the way back",
    "Twice this year",
    "During the renovation",
    "The day before the move",
    "When the office closed",
    "Around noon",
)

# For each tendency in order: deeds, then reasons.
DEEDS: tuple[tuple[str, ...], ...] = (
    (
        "checked the locks three times",
        "stocked the cellar with rice and canned beans",
        "had the smoke alarm tested",
        "went to the doctor about the chest pain",
        "kept the car below the limit on the icy bridge",
        "put half the wages aside for bad months",
        "carried the inhaler and the pills everywhere",
        "moved the family out of the flood plain",
        "took a second job to cover the rent",
        "left the bar when knives came out",
        "skipped lunch because the money had to last until Friday",
        "read the evacuation plan by the door",
        "boiled the water before drinking it",
        "asked for a vaccine against the fever",
    ),
    (
        "mentioned the award again",
        "bought the same watch as the director",
        "refreshed the page to count the likes",
        "asked for a bigger title rather than more pay",
        "sat next to the minister at the banquet",
        "put the diploma where visitors see it",
        "corrected a colleague in front of the whole board",
        "parked the new car right by the entrance",
        "practised the acceptance speech in the mirror",
        "felt sick on hearing that a classmate was promoted first",
        "hired a photographer for the profile picture",
        "ran the race again to beat the neighbour's time",
        "dropped the names of three celebrities",
        "left the club after being placed at the worst table",
    ),
    (
        "sat in the chapel for an hour",
        "gave up the bonus because the deal felt wrong",
        "volunteered at the hospice every Sunday",
        "wrote down what the years had been for",
        "apologised for a lie told long ago",
        "fasted through the holy month",
        "joined the march against the new law",
        "read the psalms aloud at dawn",
        "taught refugees for nothing",
        "kept a promise that nobody else remembered",
        "asked the priest about evil",
        "turned down the advertising contract on principle",
        "visited the grave to think about how to live",
        "gave a tenth of everything to the poor",
    ),
    (
        "drove six hours to see an old friend",
        "called her mother and talked until midnight",
        "cooked for the whole family",
        "kept his sister's letters in a drawer",
        "sat by the bed of the sick uncle and held his hand",
        "cried at the airport after the goodbye",
        "organised a reunion of the old team",
        "gave up the window seat to be beside her husband",
        "knitted a scarf for the baby",
        "missed the children terribly",
        "invited the lonely neighbour to the party",
        "made up with a brother after years",
        "carried a photo of the dog in the wallet",
        "danced at the wedding of her best friend",
    ),
    (
        "quit because the boss dictated every email",
        "refused to sign the form",
        "travelled alone without telling anyone the route",
        "started a one-person company",
        "built the cabin with no contractor",
        "returned the loan early so as to owe nothing",
        "ignored the dress code",
        "would not let anybody choose the school",
        "moved out against the advice of everyone",
        "kept a separate bank account",
        "told the committee that nobody gives the orders here",
        "turned down the franchise to stay independent",
        "rewrote the rules instead of obeying them",
        "decided about the operation without asking",
    ),
    (
        "slept until ten",
        "took a long warm bath",
        "ordered the softest mattress in the shop",
        "stayed on the sofa under a blanket",
        "booked a quiet hotel with a heated pool",
        "had hot chocolate by the stove",
        "took the lift rather than the stairs",
        "spent the afternoon in the hammock",
        "went back to the usual café for the usual cake",
        "put on slippers and turned off the phone",
        "asked for a cushion and a footrest",
        "cancelled the hike and napped",
        "bought the noise-cancelling headphones",
        "let the rain fall and stayed in with tea",
    ),
    (
        "took the radio apart to see how it works",
        "read about octopus nerves until three",
        "asked the plumber why the pipes sing",
        "signed up for a course in old Norse",
        "counted the species in one square metre of lawn",
        "tried the recipe at five temperatures and wrote down the results",
        "followed a stranger's footprints to find out where they led",
        "visited the observatory",
        "looked up where the word came from",
        "learned to read maps of the deep sea",
        "bought a microscope at the flea market",
        "compared two translations line by line",
        "wandered into a part of town not seen before",
        "tested whether the ants prefer honey",
    ),
)
REASONS: tuple[tuple[str, ...], ...] = (
    (
        "to be on the safe side",
        "for fear of another accident",
        "since one illness could ruin everything",
        "because the roof might not hold",
        "so that nobody would go hungry",
        "after hearing of the burglary",
        "as the danger had not passed",
    ),
    (
        "so that everyone would notice",
        "to outdo the others",
        "since people were watching",
        "for the sake of reputation",
        "because being second hurts",
        "to be admired for once",
        "as rank is what counts in that company",
    ),
    (
        "because it was the right thing",
        "to serve something greater",
        "since life has to be for something",
        "out of faith",
        "to answer to conscience",
        "for the good of strangers",
        "as a kind of prayer",
    ),
    (
        "just to be together",
        "out of love",
        "because friends matter most",
        "so that nobody would feel alone",
        "since family is family",
        "to hear a dear voice",
        "for old friendship",
    ),
    (
        "to be free of them all",
        "because nobody else should decide",
        "on nobody's permission but their own",
        "rather than depend on anyone",
        "since taking orders is unbearable",
        "to stay independent",
        "as it was their own choice to make",
    ),
    (
        "because it was so pleasant",
        "to rest a little",
        "since there was no hurry",
        "for the sheer ease of it",
        "to be warm and undisturbed",
        "and enjoyed every minute",
        "as comfort comes first",
    ),
    (
        "just to know",
        "out of curiosity",
        "to find out what would happen",
        "because the question would not go away",
        "since nobody could explain it",
        "to understand the cause",
        "and took notes on all of it",
    ),
)
DISTRACTORS = (
    "the bus was four minutes late",
    "it rained on and off",
    "the shop had no large envelopes",
    "the meeting was moved to room twelve",
    "the screen needed a new cable",
    "the invoice had two pages",
    "the printer was out of paper",
    "the parcel came with the second delivery",
    "the traffic lights on the corner were off",
    "the form was blue instead of green",
    "the calendar showed the wrong month",
    "the elevator stopped at every floor",
)
CONTRARY = (
    "For once did not do the usual thing, which is: {}",
    "Almost {}, then let it be",
    "Never {} again after that",
)
# Scenes that give their reason; the others leave it to the deed.
REASON_SHARE = 0.5


def scene(owner: int, generator: np.random.Generator, is_contrary: bool = False) -> str:
    """A scene in which a tendency is at work, or against which the person acts for once."""
    # One draw after the other in a fixed order: a seed means the same person in every version.
    deed = _any(DEEDS[owner], generator)
    if is_contrary:
        return f"{_any(TIMES, generator)}: {_any(CONTRARY, generator).format(deed)}."
    reason = f" {_any(REASONS[owner], generator)}" if generator.random() < REASON_SHARE else ""
    return f"{_any(TIMES, generator)} {deed}{reason}."


def distractor(generator: np.random.Generator) -> str:
    """Something that says nothing of any drive."""
    first, second = generator.permutation(len(DISTRACTORS))[:2]
    return f"{_any(TIMES, generator)} {DISTRACTORS[first]}, and {DISTRACTORS[second]}."


def _any(choices: tuple[str, ...], generator: np.random.Generator) -> str:
    return choices[int(generator.integers(len(choices)))]


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
    # A constant beside the seed, so that persons share no stream with anything else that is seeded
    # alike.
    generator = np.random.default_rng([seed, 0xD3BA7E])
    true = (
        # Uniform over all drives.
        generator.dirichlet(np.ones(NUM_TENDENCIES))
        if drives is None
        else check_allocations(drives)
    )
    rows: list[Observation] = []
    used_texts: set[str] = set()
    for number in range(num_observations):
        owner = int(generator.choice(NUM_TENDENCIES, p=true))
        is_distractor = generator.random() < distractor_share
        is_contrary = generator.random() < contradiction_share
        # The owner stays while the wording is drawn anew, so that no repetition shifts the shares
        # of the drives.
        text = _new_text(
            owner, generator, used_texts, is_distractor=is_distractor, is_contrary=is_contrary
        )
        # A label without a signal is drawn: the control in which nothing can be learned.
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
    used_texts: set[str],
    *,
    is_distractor: bool,
    is_contrary: bool,
) -> str:
    # Deeds and reasons are finite; of a small set nothing new may be left.
    for _ in range(MAX_TRIES):
        text = distractor(generator) if is_distractor else scene(owner, generator, is_contrary)
        if text not in used_texts:
            used_texts.add(text)
            return text
    raise OptionError(
        f"nothing new to say of {TENDENCIES[owner]} after {len(used_texts)} observations: "
        "ask for fewer"
    )


def _check_shares(distractor_share: float, contradiction_share: float) -> None:
    for name, share in (
        ("distractor_share", distractor_share),
        ("contradiction_share", contradiction_share),
    ):
        if not 0.0 <= share < 1.0:
            raise OptionError(f"{name} is in [0, 1), got {share!r}")
