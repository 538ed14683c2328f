"""A domain that keeps part of its state outside the rows, as an emulator does.

Here a ledger beside a small domain.
"""

from dataclasses import dataclass, field

import numpy as np

from tests.support.counting_domain import CountingEnv, CountingVectorEnv
from wm_envs.rules import Rules


@dataclass(frozen=True, kw_only=True)
class LedgerRules(Rules):
    ledger: list = field(default_factory=list)

    def save_rows(self, states):
        self.ledger.append(("save", len(states)))

    def load_rows(self, states):
        self.ledger.append(("load", states["place"].tolist()))

    def use_threads(self, slices):
        self.ledger.append(("threads", slices))

    def close(self):
        self.ledger.append(("close",))

    def picture(self, state, draw):
        return draw(state, self.parameters[0]) + 1


class LedgerEnv(CountingEnv):
    @classmethod
    def rules(cls, **options):
        return LedgerRules(**vars(CountingEnv.rules(**options)))


class LedgerVectorEnv(CountingVectorEnv):
    env_class = LedgerEnv


def test_the_single_environment_saves_before_a_clone_and_loads_after_a_restore():
    env = LedgerEnv(render_mode="rgb_array")
    ledger = env._rules.ledger
    assert ledger == [("load", [0.0])]
    env.reset(seed=0)
    state = env.clone_state()
    state["place"] = 7
    env.restore_state(state)
    assert ledger[1:] == [("save", 1), ("load", [7.0])]
    assert env.render()[0, 0, 0] == 8


def test_the_batch_does_so_too_and_tells_of_threads_and_the_end():
    env = LedgerVectorEnv(4, num_threads=2, render_mode="rgb_array")
    ledger = env._rules.ledger
    assert ledger == [("load", [0.0] * 4), ("threads", [slice(0, 2), slice(2, 4)])]
    env.reset(seed=0)
    states = env.clone_state()
    states["place"] = np.arange(4)
    env.restore_state(states)
    assert ledger[2:] == [("save", 4), ("load", [0.0, 1.0, 2.0, 3.0])]
    assert [picture[0, 0, 0] for picture in env.render()] == [1, 2, 3, 4]
    env.close()
    assert ledger[-1] == ("close",)
