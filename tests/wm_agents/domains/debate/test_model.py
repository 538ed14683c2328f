"""A person's model: every file of one is read as it was written, and a refusal changes nothing."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wm_agents.domains.debate.model import DebateModel, Debaters
from wm_agents.training.saving import load
from wm_envs.debate.dynamics import STRATEGIES
from wm_envs.debate.observations import Observation, Observations
from wm_envs.debate.tendencies import TENDENCIES
from wm_envs.errors import DebateError

SHARES = st.lists(st.floats(0.2, 1.0), min_size=7, max_size=7)
SCRIPTS = st.lists(st.sampled_from(STRATEGIES), min_size=7, max_size=7)


def debaters(shares, scripts):
    total = np.array(shares) / np.sum(shares)
    return Debaters(
        dict(zip(TENDENCIES, total.tolist(), strict=True)),
        dict(zip(TENDENCIES, scripts, strict=True)),
    )


@settings(max_examples=25, deadline=None)
@example(shares=[1.0] * 7, scripts=["silent"] * 7, text=" a ")
@given(shares=SHARES, scripts=SCRIPTS, text=st.text("abc é☃", min_size=1).filter(str.strip))
def test_a_file_gives_back_what_was_saved(tmp_path_factory, shares, scripts, text):
    agents = debaters(shares, scripts)
    model = DebateModel("P", Observations([Observation("1", text)], "test"), agents)
    again = load(model.save(tmp_path_factory.mktemp("model") / "model.json"))
    assert again.name == "P"
    assert again.observations.texts == model.observations.texts
    assert again.agents.allocations == agents.allocations  # bitwise
    assert [agent.strategy for agent in again.agents] == scripts


def test_an_update_that_is_refused_changes_no_share():
    agents = Debaters()
    before = agents.allocations
    with pytest.raises(DebateError):
        agents.update(before | {TENDENCIES[0]: 0.9})
    assert agents.allocations == before
    swapped = dict(zip(TENDENCIES, reversed(list(before.values())), strict=True))
    agents.update(swapped)
    assert agents.allocations == swapped
