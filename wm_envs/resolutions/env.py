"""`wm/UNResolution-v0`: one General Assembly resolution, seen from one country's seat."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from wm_envs.data.options import check_flag, check_integer, check_reward_weights
from wm_envs.environment import KernelEnv, KernelVectorEnv
from wm_envs.errors import InvalidActionError, OptionError
from wm_envs.kernel import empty_rows
from wm_envs.resolutions import dynamics, render
from wm_envs.resolutions.codes import OBSERVATION, ResolutionAction, Stage
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.generator import (
    Document,
    Source,
    fitted_source,
    generator_source,
    recorded_source,
    with_seat,
)
from wm_envs.rules import Info, Rules

DEFAULT_REWARD_WEIGHTS = {"outcome": 1.0, "preference": 0.0}
# The masks of four transitions, for observations that no kernel has made.
_MASKS_OF_STAGES = np.array(
    [
        # COSPONSOR, YES, NO, ABSTAIN, NO_ACTION
        [True, False, False, False, True],  # DRAFT
        [False, True, True, True, False],  # COMMITTEE_VOTE
        [False, True, True, True, False],  # PLENARY_VOTE
        [False, False, False, False, True],  # TERMINAL
    ]
)
_KINDS = {"generator": dynamics.GENERATOR, "recorded": dynamics.RECORDED, "fitted": dynamics.FITTED}


class UNResolutionEnv(KernelEnv):
    """Sponsor and vote on a resolution of the United Nations General Assembly.

    ## Description
    One resolution is one episode: DRAFT, COMMITTEE_VOTE, PLENARY_VOTE, TERMINAL. Other countries
    join as sponsors and vote; this country's own vote counts in the tally. A text that is
    adopted without a vote skips the stages in which there was none, and a text that the committee
    rejects goes no further. The option `dynamics` says where the others' behaviour comes from: a
    generator calibrated to real sessions (recurring texts, countries with positions in two
    dimensions, absences, growing sponsorship, consensus), recorded trajectories, or a spatial
    voting model fitted to records.

    ## Action Space
    `Discrete(5)`: 0 COSPONSOR, 1 YES, 2 NO, 3 ABSTAIN, 4 NO_ACTION. Valid are 0 and 4 in DRAFT, 1
    to 3 in the votes, and 4 in TERMINAL. `info["action_mask"]` says so, and so does
    `action_masks()`, which sb3-contrib's MaskablePPO asks. Another action counts as NO_ACTION,
    which in a vote is an absence, and sets `info["invalid_action"]`; with `strict=True` it raises
    an error.

    ## Observation Space
    `Box(0, ..., (14,), float32)`:

    | Index | Field | Unit | Low | High | Meaning |
    |---|---|---|---|---|---|
    | 0-3 | `stage_draft` ... `stage_terminal` | 1 | 0 | 1 | the stage, one-hot |
    | 4 | `topic` | id | 0 | 20 | issue of the text, or 10 + its main committee; 0 if unknown |
    | 5 | `num_sponsors` | countries | 0 | 210 | sponsors so far |
    | 6 | `is_sponsor` | 1 | 0 | 1 | this country sponsors |
    | 7-9 | `committee_yes` ... `committee_abstain` | votes | 0 | 210 | committee tally, 0 before |
    | 10-12 | `plenary_yes` ... `plenary_abstain` | votes | 0 | 210 | plenary tally, 0 before |
    | 13 | `t` | steps | 0 | 4 | steps since the reset |

    ## Rewards
    `outcome`: at the end, +1 for a sponsor whose draft is adopted and -1 if it is rejected, else 0.
    `preference`: the country's own utility of the vote it casts, known in the generator and in
    fitted dynamics. The reward is their sum, weighted by `reward_weights`; the preference has
    weight 0 by default.

    ## Starting State
    DRAFT, with a random text and its first sponsors; the country is seldom among them.

    ## Episode End
    Terminated by the step that is taken in TERMINAL, so that an episode has at most four steps;
    with `transitions=3`, by the step that arrives there. Never truncated. `info["is_success"]`: the
    outcome is what the country's last vote asked for. `info["draft"]` is the number of the text:
    symbol and title are those of `env.unwrapped.documents[draft]`. A recorded draft whose outcome
    is not known, such as one that only a committee voted on, earns nothing and is no success.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `country` | `"FR"` | whose seat: a code or a name |
    | `dynamics` | `"generator"` | `"generator"`, `"recorded"` or `"fitted"` |
    | `source` | `None` | the trajectory file or folder to replay, or the fitted model's JSON |
    | `transitions` | 4 | 3: the historical layout, where the committee votes in DRAFT |
    | `consensus` | `True` | `False`: the generator puts every text to the vote |
    | `strict` | `False` | raise an error for an action that the stage does not have |
    | `reward_weights` | `{"outcome": 1.0, "preference": 0.0}` | weight of each reward component |

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human", "ansi"], "render_fps": 1}
    ACTION_NAMES = tuple(action.name.lower().replace("_", " ") for action in ResolutionAction)
    documents: tuple[Document, ...]

    def __init__(
        self, *, render_mode: str | None = None, strict: bool = False, **options: Any
    ) -> None:
        self.is_strict = check_flag("strict", strict)
        super().__init__(render_mode=render_mode, **options)
        # Again from the options: rules keep numbers and no texts. The sources are cached.
        self.documents = source_of(**options).documents

    @classmethod
    def rules(
        cls,
        *,
        country: str = "FR",
        dynamics: str = "generator",
        source: str | None = None,
        transitions: int = 4,
        consensus: bool = True,
        strict: bool = False,
        reward_weights: Mapping[str, float] | None = None,
    ) -> Rules:
        """The task with these options.

        Raises OptionError, and TrajectoryError for a source that is malformed.
        """
        check_flag("strict", strict)
        transitions = check_integer("transitions", transitions, 3, 4)
        is_consensual = check_flag("consensus", consensus)
        weights = check_reward_weights(reward_weights, DEFAULT_REWARD_WEIGHTS)
        # The seat is filled in below: what is read from a file is the same for every seat.
        seatless_source = source_of(country=country, dynamics=dynamics, source=source)
        # Four stages, four steps: no episode is truncated.
        settings: dict[str, float] = {
            "time_limit": 4,
            "transitions": transitions,
            "outcome_weight": weights["outcome"],
            "preference_weight": weights["preference"],
        }
        if not is_consensual:
            settings["has_consensus"] = 0
        return _rules(with_seat(seatless_source, country, **settings))

    @staticmethod
    def draw(state: Any, parameters: Any) -> NDArray[np.uint8]:
        """The picture of a state row, uint8 [300, 400, 3]."""
        return render.draw(state, parameters)

    @staticmethod
    def describe(state: Any, parameters: Any) -> str:
        """A state row as a line of text."""
        return render.describe(state, parameters)

    def action_masks(self) -> NDArray[np.bool_]:
        """The actions [5] that the current stage has.

        The name is the one that sb3-contrib's MaskablePPO looks for.
        """
        return _masks(self._rules, self._states)[0]

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, Info]:
        """As `KernelEnv.step`.

        `strict` raises InvalidActionError for an action that the stage does not have.
        """
        # After the end the error is ResetNeeded, whatever the action is.
        if self.is_strict and not self._needs_reset:
            checked = self._rules.check_actions(action, ())
            _check_mask(self._rules, self._states, checked[None])
        return super().step(action)


class UNResolutionVectorEnv(KernelVectorEnv):
    """A batch of resolutions, each with its own draft, seen from the same seat."""

    env_class = UNResolutionEnv
    documents: tuple[Document, ...]

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        strict: bool = False,
        **options: Any,
    ) -> None:
        self.is_strict = check_flag("strict", strict)
        super().__init__(num_envs, autoreset_mode=autoreset_mode, **options)
        self.documents = source_of(**options).documents

    def action_masks(self) -> NDArray[np.bool_]:
        """The actions [B, 5] that the present stage of each row has."""
        return _masks(self._rules, self._states)

    def step(self, actions: Any) -> tuple[NDArray[np.float32], Any, Any, Any, Info]:
        """As `KernelVectorEnv.step`.

        `strict` raises InvalidActionError for an action that a row does not have.
        """
        if self.is_strict and self._was_reset:
            _check_mask(
                self._rules, self._states, self._rules.check_actions(actions, (self.num_envs,))
            )
        return super().step(actions)


def source_of(
    *, country: str = "FR", dynamics: str = "generator", source: str | None = None, **_: Any
) -> Source:
    """Where the parameters come from; raises OptionError."""
    if not isinstance(dynamics, str) or dynamics not in _KINDS:
        raise OptionError(f"dynamics is one of {list(_KINDS)}, got {dynamics!r}")
    if dynamics == "generator":
        if source is not None:
            raise OptionError(
                "the generator has no source: choose dynamics='recorded' or 'fitted' to read one"
            )
        return generator_source()
    if source is None:
        raise OptionError(f"dynamics={dynamics!r} needs source=, the file to read")
    if not isinstance(source, str | Path):
        raise OptionError(f"source is the path of a file, got {source!r}")
    # Before the file is read, which can take a while.
    code = code_of(country) if isinstance(country, str) else None
    if code is None:
        raise OptionError(f"country is a code like 'FR' or a name, got {country!r}")
    return recorded_source(source, code) if dynamics == "recorded" else fitted_source(source)


def _rules(parameters: NDArray[Any]) -> Rules:
    return Rules(
        observation_fields=OBSERVATION,
        action_space=spaces.Discrete(dynamics.NUM_ACTIONS),
        reward_components=dynamics.REWARD_COMPONENTS,
        state_dtype=dynamics.STATE,
        outcome_dtype=dynamics.OUTCOME,
        parameters=parameters,
        reset_rows=dynamics.reset_rows,
        step_rows=dynamics.step_rows,
        observe_rows=dynamics.observe_rows,
        report_rows=dynamics.report_rows,
    )


def masks_of_observations(observations: NDArray[Any]) -> NDArray[np.bool_]:
    """The actions [B, 5] that the stage in each observation [B, 14] has, for imagined ones too.

    The stage is the largest of its four numbers, which a model may give as shares. With
    `transitions=3` the actions of a draft depend on what no observation shows.
    """
    stages = np.asarray(observations)[:, : len(Stage)].argmax(axis=1)
    return _MASKS_OF_STAGES[stages]


def _masks(rules: Rules, states: NDArray[Any]) -> NDArray[np.bool_]:
    outcomes = empty_rows(len(states), rules.outcome_dtype)
    # The kernel that fills the infos knows the masks: there is no second text of the rule.
    dynamics.report_rows(states, rules.parameters, outcomes, np.ones(len(states), np.bool_))
    return np.asarray(outcomes["action_mask"] == 1)


def _check_mask(rules: Rules, states: NDArray[Any], actions: NDArray[Any]) -> None:
    masks = _masks(rules, states)
    is_allowed = masks[np.arange(len(states)), actions]
    # Rows that have ended take any action, which is ignored.
    wrong = np.flatnonzero(~is_allowed & ~states["ended"])
    if len(wrong):
        row = wrong[0]
        stage = Stage(int(states["stage"][row])).name
        action = ResolutionAction(actions[row]).name
        allowed = [ResolutionAction(int(a)).name for a in np.flatnonzero(masks[row])]
        raise InvalidActionError(
            f"row {row} is in {stage}: expected one of {allowed}, got {action}"
        )
