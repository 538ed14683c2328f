"""The car as a differentiable model that takes one step for each decision of 0.08 s.

A policy that learns by gradients through the model asks it for thousands of rollouts, so that its
step is four steps of the environment at once. What is known of any car is written down: a body
moves in the plane, its place on a circuit is found on the map, slips follow from the velocities.
What an ensemble of small networks learns are the changes of the twelve numbers of `Motion` during a
decision, and how far the body moved beyond what its velocities at the beginning say.

Shape letters: B cars, E ensemble members, N transitions, P distances ahead.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.domains.driving.network import (
    LARGE_SLIP,
    MOTION_COLUMNS,
    NUM_MOTIONS,
    SMALL_SLIP,
    Motion,
)
from wm_agents.domains.driving.observations import MIN_SPEED
from wm_agents.domains.driving.task import ACTION_REPEAT
from wm_agents.networks import EnsemblePerceptron
from wm_agents.training.finite import gradient_step
from wm_agents.training.trainer import Trainer
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.dynamics import HALF_WIDTH, MAX_STEER, TIME_STEP, TO_FRONT, TO_REAR
from wm_envs.driving.track import Track

DECISION_TIME = ACTION_REPEAT * TIME_STEP  # s
NUM_TARGETS = NUM_MOTIONS + 3
NUM_INPUTS = NUM_MOTIONS + 3 + 4
LEARNING_RATE = 2e-3  # of the fit; it falls linearly to a hundredth
MAX_STEP = 12.0  # m along the centre line in a decision
NUM_PROJECTIONS = 2  # Newton steps to the foot of the car on the centre line
MAX_HEADING, MAX_SIDESLIP_RATIO = 1.5, 1.55  # rad, and sideways over forward speed: a spin

TURNS = (0, 5, 10, 15, 20, 27, 35, 45, 55, 70, 85, 100, 120, 140, 165, 190, 220)
"""Distances, m; a policy sees the mean curvature between each and the next."""
WIDTHS = (0, 15, 30, 60, 100)
"""Distances, m, at which a policy sees the half widths of the road."""
MOTION_SIZES = (30.0, 2.0, 20.0, 20.0, 0.5, 0.2, 1.0, 1.0, 20.0, 20.0, 20.0, 20.0)
MOTION_CENTRES = (0.0,) * 8 + (90.0,) * 4
LOWEST_MOTION = (-5.0, -30.0, -60.0, -60.0, -5.0, -1.0, 0.0, 0.0, 20.0, 20.0, 20.0, 20.0)
HIGHEST_MOTION = (120.0, 30.0, 60.0, 60.0, 5.0, 1.0, 1.0, 1.0, 180.0, 180.0, 180.0, 180.0)
MIRROR = (1.0, -1.0, 1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
MIRRORED_ORDER = [0, 1, 2, 3, 4, 5, 6, 7, 9, 8, 11, 10]  # of `Motion`: tyres change sides
# Tensors of the above, made once: a window asks for them a hundred times.
_SIZES, _CENTRES = torch.tensor(MOTION_SIZES), torch.tensor(MOTION_CENTRES)
_LOWEST, _HIGHEST = torch.tensor(LOWEST_MOTION), torch.tensor(HIGHEST_MOTION)
_TURNS = torch.tensor(TURNS, dtype=torch.float32)
_AHEAD = torch.tensor(TURNS + WIDTHS, dtype=torch.float32)
_PIECES = _TURNS[1:] - _TURNS[:-1]
NUM_FEATURES = NUM_MOTIONS + 4 + len(TURNS) - 1 + 2 * len(WIDTHS)


class Roads:
    """Circuits as one table of points, read between them.

    Columns of the table: x, y, m; heading of the centre line, rad, unwrapped; its curvature, 1/m;
    half widths to the right and to the left, m. Each circuit goes on for 320 m past its end, so
    that what lies ahead of the line is read without wrapping.
    """

    X, Y, HEADING, CURVATURE, RIGHT, LEFT = range(6)

    def __init__(self, tracks: Sequence[Track]) -> None:
        self.tracks = tuple(tracks)
        self.lengths = torch.tensor([track.length for track in tracks], dtype=torch.float32)
        self._spacings = torch.tensor([track.spacing for track in tracks], dtype=torch.float32)
        tables, firsts, size = [], [], 0
        for track in tracks:
            more = int(320.0 / track.spacing) + 3
            turns = round((track.heading[-1] - track.heading[0]) / math.tau)
            later = track.heading[:more] + turns * math.tau
            columns = [
                np.concatenate([table, table[:more]])
                for table in (track.x, track.y, track.curvature, track.right, track.left)
            ]
            columns.insert(self.HEADING, np.concatenate([track.heading, later]))
            tables.append(np.stack(columns, axis=1))
            firsts.append(size)
            size += len(tables[-1])
        self._firsts = torch.tensor(firsts)
        self._table = torch.tensor(np.concatenate(tables), dtype=torch.float32)

    def at(self, circuits: Tensor, distances: Tensor) -> Tensor:
        """Rows of the table [B, ..., 6] at distances [B, ...] of circuits [B]."""
        shape = (-1,) + (1,) * (distances.dim() - 1)
        place = distances / self._spacings[circuits].view(shape)
        index = place.detach().long()
        row = index + self._firsts[circuits].view(shape)
        low = self._table[row]
        return low + (place - index)[..., None] * (self._table[row + 1] - low)


@dataclass(frozen=True)
class Cars:
    """Cars on circuits.

    Attributes:
        circuits: Number of each car's circuit [B].
        motion: See `Motion`, [B, 12].
        pose: East, north and heading [B, 3], m and rad.
        distance: Along the centre line [B], m, within the lap.
    """

    circuits: Tensor
    motion: Tensor
    pose: Tensor
    distance: Tensor

    def detach(self) -> Self:
        """The same cars, from which no gradient flows back."""
        return replace(
            self,
            motion=self.motion.detach(),
            pose=self.pose.detach(),
            distance=self.distance.detach(),
        )

    def where(self, mask: Tensor, others: "Cars") -> Self:
        """These cars, but the others where the mask [B] says so."""
        return replace(
            self,
            circuits=torch.where(mask, others.circuits, self.circuits),
            motion=torch.where(mask[:, None], others.motion, self.motion),
            pose=torch.where(mask[:, None], others.pose, self.pose),
            distance=torch.where(mask, others.distance, self.distance),
        )

    def tensors(self) -> list[Tensor]:
        """The four, for files."""
        return [self.circuits, self.motion, self.pose, self.distance]

    def repeat(self, number: int) -> Self:
        """Each car so many times, one copy of all after the other."""
        return replace(
            self,
            circuits=self.circuits.repeat(number),
            motion=self.motion.repeat(number, 1),
            pose=self.pose.repeat(number, 1),
            distance=self.distance.repeat(number),
        )


@dataclass(frozen=True)
class Places:
    """Where cars are on their roads: offset [B], heading error [B], half widths [B]."""

    offset: Tensor
    heading: Tensor
    right: Tensor
    left: Tensor

    @property
    def beyond(self) -> Tensor:
        """How far the middle of a car is beyond the edge [B], m; negative on the road."""
        return torch.maximum(self.offset - self.left, -self.offset - self.right)


def place_of(roads: Roads, cars: Cars) -> Places:
    """Offsets, heading errors and widths at the feet of the cars."""
    road = roads.at(cars.circuits, cars.distance)
    heading = road[:, Roads.HEADING]
    x, y = cars.pose[:, 0] - road[:, Roads.X], cars.pose[:, 1] - road[:, Roads.Y]
    turned = torch.remainder(cars.pose[:, 2] - heading + math.pi, math.tau) - math.pi
    offset = y * torch.cos(heading) - x * torch.sin(heading)
    return Places(offset, turned, road[:, Roads.RIGHT], road[:, Roads.LEFT])


def cars_at(
    roads: Roads,
    circuits: Tensor,
    motion: Tensor,
    distance: Tensor,
    offset: Tensor,
    heading: Tensor,
) -> Cars:
    """Cars from their places on the road."""
    road = roads.at(circuits, distance)
    course = road[:, Roads.HEADING]
    x = road[:, Roads.X] - offset * torch.sin(course)
    y = road[:, Roads.Y] + offset * torch.cos(course)
    return Cars(circuits, motion, torch.stack([x, y, course + heading], 1), distance)


def cars_of(roads: Roads, circuits: Tensor, observations: NDArray[np.float32]) -> Cars:
    """Cars from observations [B, 37] in SI units."""
    obs = torch.as_tensor(observations)
    share = obs[:, Column.TRACK_POSITION].clamp(0.0, 0.9999999)
    return cars_at(
        roads,
        circuits,
        obs[:, MOTION_COLUMNS],
        share * roads.lengths[circuits],
        obs[:, Column.OFFSET],
        obs[:, Column.HEADING_ERROR],
    )


def features(roads: Roads, cars: Cars, places: Places) -> Tensor:
    """What a policy sees [B, 42]: motion, place, and the road ahead as the map has it."""
    road = roads.at(cars.circuits, cars.distance[:, None] + _AHEAD)  # [B, P, 6]
    headings = road[:, : len(TURNS), Roads.HEADING]
    bends = (headings[:, 1:] - headings[:, :-1]) / _PIECES
    widths = road[:, len(TURNS) :, Roads.RIGHT :].flatten(1)
    motion = (cars.motion - _CENTRES) / _SIZES
    own = [
        places.offset / 5.0,
        places.heading / 0.15,
        (places.left - places.offset) / 2.0,
        (places.right + places.offset) / 2.0,
    ]
    row = torch.cat([motion, torch.stack(own, 1), bends / 0.02, widths / 5.0], 1)
    return row.clamp(-10.0, 10.0)


def car_actions(decisions: Tensor) -> Tensor:
    """The car's action [B, 3] of decisions [B, 2]: steering, and one number for both pedals."""
    pedal = decisions[:, 1]
    return torch.stack([decisions[:, 0], pedal.clamp_min(0.0), (-pedal).clamp_min(0.0)], 1)


class DecisionModel(nn.Module):
    """An ensemble that predicts what a decision does to the car.

    Args:
        num_members: Networks, E.
        width: Hidden units in each of two layers.
        generator: Draws the weights.

    Attributes:
        scale: Spread of what is predicted [15], the unit of the networks' outputs.
    """

    scale: Tensor

    def __init__(self, num_members: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.num_members = num_members
        sizes = (NUM_INPUTS, width, width, NUM_TARGETS)
        self.network = EnsemblePerceptron(num_members, sizes, "silu", generator, output_gain=0.1)
        self.register_buffer("scale", torch.ones(NUM_TARGETS))

    def predict(self, motion: Tensor, actions: Tensor) -> Tensor:
        """Changes of motion, and of the pose beyond its velocities [E, N, 15]."""
        speed = motion[..., Motion.VX].clamp_min(MIN_SPEED)
        sideways, rate = motion[..., Motion.VY], motion[..., Motion.YAW_RATE]
        steered = MAX_STEER * motion[..., Motion.STEERING]
        front = steered - torch.atan((sideways + TO_FRONT * rate) / speed)
        rear = -torch.atan((sideways - TO_REAR * rate) / speed)
        slips = torch.stack(
            [front / SMALL_SLIP, rear / SMALL_SLIP, front / LARGE_SLIP, rear / LARGE_SLIP], -1
        )
        scaled = (motion - _CENTRES) / _SIZES
        inputs = torch.cat([scaled, actions, torch.tanh(slips)], -1)
        outputs: Tensor = self.network(inputs)
        return outputs * self.scale

    def advance(self, roads: Roads, cars: Cars, actions: Tensor) -> tuple[Cars, Tensor]:
        """The cars after a decision, and the metres [B] driven along the centre line.

        Car b asks member b mod E alone, so that a policy meets all of them.
        """
        by_member = (self.num_members, -1)
        # Members are the fast dimension of the cars, the slow one of the networks.
        motion = cars.motion.view(-1, self.num_members, NUM_MOTIONS).transpose(0, 1)
        given = actions.view(-1, self.num_members, 3).transpose(0, 1)
        changes = self.predict(motion, given).view(*by_member, NUM_TARGETS)
        changes = changes.transpose(0, 1).reshape(-1, NUM_TARGETS)
        return self.moved(roads, cars, changes)

    @staticmethod
    def moved(roads: Roads, cars: Cars, changes: Tensor) -> tuple[Cars, Tensor]:
        """The cars after predicted changes [B, 15], see `advance`."""
        before = cars.motion
        motion = before + changes[:, :NUM_MOTIONS]
        motion = torch.minimum(torch.maximum(motion, _LOWEST), _HIGHEST)
        ahead = DECISION_TIME * before[:, Motion.VX] + changes[:, NUM_MOTIONS]
        aside = DECISION_TIME * before[:, Motion.VY] + changes[:, NUM_MOTIONS + 1]
        turned = DECISION_TIME * before[:, Motion.YAW_RATE] + changes[:, NUM_MOTIONS + 2]
        cosine, sine = torch.cos(cars.pose[:, 2]), torch.sin(cars.pose[:, 2])
        moves = [cosine * ahead - sine * aside, sine * ahead + cosine * aside, turned]
        pose = cars.pose + torch.stack(moves, 1)
        length = roads.lengths[cars.circuits]
        distance = cars.distance
        for _ in range(NUM_PROJECTIONS):
            road = roads.at(cars.circuits, torch.remainder(distance, length))
            x, y = pose[:, 0] - road[:, Roads.X], pose[:, 1] - road[:, Roads.Y]
            cosine, sine = torch.cos(road[:, Roads.HEADING]), torch.sin(road[:, Roads.HEADING])
            offset = y * cosine - x * sine
            factor = (1.0 - offset * road[:, Roads.CURVATURE]).clamp_min(0.2)
            distance = distance + ((x * cosine + y * sine) / factor).clamp(-MAX_STEP, MAX_STEP)
        driven = distance - cars.distance
        after = replace(cars, motion=motion, pose=pose, distance=torch.remainder(distance, length))
        return after, driven


def has_ended(cars: Cars, places: Places) -> Tensor:
    """Which cars have left the road or spun [B], by the environment's rule."""
    forward = cars.motion[:, Motion.VX].clamp_min(3.0)
    is_sideways = cars.motion[:, Motion.VY].abs() > MAX_SIDESLIP_RATIO * forward
    return (places.beyond > HALF_WIDTH) | (places.heading.abs() > MAX_HEADING) | is_sideways


@dataclass(frozen=True)
class Decisions:
    """Recorded decisions: motion [N, 12] before, action [N, 3], targets [N, 15]."""

    motion: Tensor
    actions: Tensor
    targets: Tensor

    @classmethod
    def of(cls, before: Cars, actions: Tensor, after: Cars) -> "Decisions":
        """From the cars before and after."""
        moved = after.pose - before.pose
        cosine, sine = torch.cos(before.pose[:, 2]), torch.sin(before.pose[:, 2])
        velocities = before.motion[:, [Motion.VX, Motion.VY, Motion.YAW_RATE]]
        turned = torch.remainder(moved[:, 2] + math.pi, math.tau) - math.pi
        ahead = cosine * moved[:, 0] + sine * moved[:, 1]
        aside = cosine * moved[:, 1] - sine * moved[:, 0]
        pose = torch.stack([ahead, aside, turned], 1) - DECISION_TIME * velocities
        return cls(before.motion, actions, torch.cat([after.motion - before.motion, pose], 1))

    @classmethod
    def concatenate(cls, parts: Sequence["Decisions"]) -> "Decisions":
        """All of them, one after the other."""
        columns = zip(*((part.motion, part.actions, part.targets) for part in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))

    def mirrored(self) -> "Decisions":
        """The same driving in a mirror, where left is right."""
        signs = torch.tensor(MIRROR)
        changes, pose = self.targets[:, MIRRORED_ORDER] * signs, self.targets[:, NUM_MOTIONS:]
        return Decisions(
            self.motion[:, MIRRORED_ORDER] * signs,
            self.actions * torch.tensor([-1.0, 1.0, 1.0]),
            torch.cat([changes, pose * torch.tensor([1.0, -1.0, -1.0])], 1),
        )

    def __len__(self) -> int:
        return len(self.motion)


class _Fit:
    """A `TrainingRun` of the ensemble: Huber's loss in units of the targets' spread."""

    def __init__(
        self, model: DecisionModel, data: Decisions, num_updates: int, batch_size: int, seed: int
    ) -> None:
        self.model = model
        self.data = Decisions.concatenate([data, data.mirrored()])
        self.num_updates = num_updates
        self.batch_size = batch_size
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.Adam(model.network.parameters(), lr=LEARNING_RATE)
        # Units from the newest data; a warm start keeps its weights and learns the difference.
        model.scale.copy_(self.data.targets.std(0).clamp_min(1e-4))

    def step(self, update: int) -> Mapping[str, float]:
        """One update, each member on a batch of its own."""
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1.01 - update / self.num_updates)
        shape = (self.model.num_members, self.batch_size)
        rows = torch.randint(len(self.data), shape, generator=self.generator)
        predicted = self.model.predict(self.data.motion[rows], self.data.actions[rows])
        errors = (predicted - self.data.targets[rows]) / self.model.scale
        loss = F.huber_loss(errors, torch.zeros_like(errors), delta=2.0)
        named = self.model.network.named_parameters()
        return {"loss": gradient_step(loss, self.optimizer, named, f"at update {update}")}

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and generator."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])

    def fingerprint(self) -> dict[str, Any]:
        """Which fit this is."""
        return {"num_updates": self.num_updates, "num_decisions": len(self.data)}


def fit_decisions(
    model: DecisionModel, data: Decisions, num_updates: int, seed: int, batch_size: int = 256
) -> float:
    """Fit to decisions and their mirror images, from the present weights on; the last mean loss."""
    model.requires_grad_(True)
    report = Trainer(_Fit(model, data, num_updates, batch_size, seed), num_updates).train()
    model.requires_grad_(False)
    return float(report.best_loss)
