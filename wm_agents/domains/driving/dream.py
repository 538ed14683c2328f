"""The learned car as a dream for SAC.

What is seen, decided and paid, with the model in place of the true rules.
"""

import torch
from torch import Tensor

from wm_agents.domains.driving.decisions import DECISIONS, REPEAT, SIGHT, WEIGHTS, commands, sight
from wm_agents.domains.driving.model import HEADING, LEFT, OFFSET, PLACE, RIGHT, VX, VY
from wm_agents.domains.driving.network import CarModel, is_off_or_spun
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.driving import dynamics


class DreamDriver(Unrolled):
    """The learned car with an agent's eyes and hands, and the rewards of the environment.

    `hidden` is the model's own observation and the last command.

    Args:
        model: A fitted `CarModel`.
    """

    def __init__(self, model: CarModel) -> None:
        self.model = model
        self.action_space, self.observation_space = DECISIONS, SIGHT

    def begin(self, observations: Tensor, last_commands: Tensor) -> ModelState:
        """A state from the model's observations [K, 40] and the commands [K, 3] before them."""
        return ModelState(sight(observations), (observations, last_commands))

    def step(
        self,
        state: ModelState,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> tuple[ModelState, Prediction]:
        """Imagine a decision; a car that has left the road earns no more and holds still."""
        present, command, last = state.hidden[0], commands(actions), state.hidden[1]
        rewards, has_ended = torch.zeros(len(actions)), torch.zeros(len(actions), dtype=torch.bool)
        spread = torch.zeros(len(actions))
        for _ in range(REPEAT):
            following, prediction = self.model.step(ModelState(present), command)
            earned, is_over = judge(present, following.observations, command, last)
            rewards = rewards + torch.where(has_ended, 0.0, earned)
            assert prediction.disagreement is not None
            spread = spread + prediction.disagreement / REPEAT
            present = torch.where(has_ended[:, None], present, following.observations)
            has_ended, last = has_ended | is_over, command
        after = self.begin(present, command)
        return after, Prediction(after.observations, rewards, has_ended.float(), spread)


def judge(before: Tensor, after: Tensor, command: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """The environment's reward [B] and end [B] of a step between observations [B, 40].

    Wear and fuel left out.
    """
    vx, vy, offset, heading = (after[:, c] for c in (VX, VY, OFFSET, HEADING))
    speed = torch.hypot(vx, vy)
    moved = after[:, PLACE] - before[:, PLACE]
    moved = moved - torch.round(moved)
    aside = offset / torch.where(offset > 0, after[:, LEFT], after[:, RIGHT])
    across = vx * torch.sin(heading) + vy * torch.cos(heading)
    is_off = (
        torch.where(offset > 0, offset - after[:, LEFT], -offset - after[:, RIGHT])
        > dynamics.HALF_WIDTH
    )
    components = {
        "progress": moved,
        "alive": torch.ones_like(moved),
        "speed": (vx / 100).clamp(0.0, 1.5),
        "centering": aside.square().clamp_max(4.0),
        "heading": (heading / torch.pi).square(),
        "slip": (vy / speed.clamp_min(dynamics.FAST)).square(),
        "smoothness": (command - last).square().sum(1),
        "standstill": (speed < dynamics.STANDSTILL_SPEED).float(),
        "off_track": is_off.float(),
        "collision": (is_off & (across.abs() > dynamics.BARRIER_SPEED)).float(),
    }
    weighted = [WEIGHTS[name] * component for name, component in components.items()]
    return torch.stack(weighted).sum(0), is_off_or_spun(after)
