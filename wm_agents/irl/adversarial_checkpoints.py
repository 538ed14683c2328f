"""What adversarial IRL has to keep between two rounds to go on to the bit.

Environments cannot be stored: they start anew at each checkpoint, interrupted or not, as those of
`WorldModelPPO` do.
"""

from dataclasses import asdict
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from wm_agents.sb3.checkpoints import restart_environments, set_training_state, training_state
from wm_agents.training.checkpoints import CheckpointManager, refusing_misfits
from wm_agents.training.finite import require_finite

if TYPE_CHECKING:
    from wm_agents.irl.adversarial import AdversarialIRL


def save(
    irl: "AdversarialIRL", checkpoints: CheckpointManager, num_rounds: int, every: int
) -> None:
    """Store the state after so many rounds and start the environments anew.

    Raises NonFiniteError, CheckpointError.
    """
    networks = {"reward": irl.reward_network.state_dict(), "potential": irl.potential.state_dict()}
    for name, weights in networks.items():
        require_finite(
            weights, f"a parameter of the {name} after round {num_rounds}, so it is not saved"
        )
    state = {
        **networks,
        "optimizer": irl.optimizer.state_dict(),
        "generator": irl.generator.get_state(),
        "learner": training_state(irl.learner),
        "length": irl.envs.length,
        "figures": [irl.loss, irl.accuracy],
    }
    checkpoints.save_state(num_rounds, state, _run_of(irl, every))
    restart_environments(irl.learner)


def resume(irl: "AdversarialIRL", checkpoints: CheckpointManager, every: int) -> int:
    """Bring back the newest checkpoint; how many rounds it has behind it, 0 without one."""
    found = checkpoints.latest_state(_run_of(irl, every))
    if found is None:
        return 0
    num_rounds, state = found
    with refusing_misfits(checkpoints.directory):
        irl.reward_network.load_state_dict(state["reward"])
        irl.potential.load_state_dict(state["potential"])
        irl.optimizer.load_state_dict(state["optimizer"])
        irl.generator.set_state(state["generator"])
        irl.loss, irl.accuracy = state["figures"]
        irl.envs.length = state["length"]
        set_training_state(irl.learner, state["learner"])
    restart_environments(irl.learner)
    return num_rounds


def _run_of(irl: "AdversarialIRL", every: int) -> dict[str, Any]:
    """Which run this is.

    Settings, spaces, a hash of the demonstrations, and after how many rounds each save comes.
    """
    shown, steps = sha256(), irl.demonstrated
    for rows in (steps.observations, steps.actions, steps.next_observations, steps.terminations):
        shown.update(str(tuple(rows.shape)).encode() + rows.numpy().tobytes())
    return {
        "kind": "adversarial IRL",
        "config": asdict(irl.config),
        "seed": irl.seed,
        "checkpoint_every": every,
        "num_envs": irl.envs.num_envs,
        "spaces": [str(irl.envs.observation_space), str(irl.envs.action_space)],
        "demonstrations": shown.hexdigest(),
    }
