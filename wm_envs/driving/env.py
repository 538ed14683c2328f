"""A racing car with tyres and fuel on a closed circuit."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wm_envs.data.options import check_flag, check_integer, check_number, check_reward_weights
from wm_envs.driving import dynamics
from wm_envs.driving.columns import observation_fields
from wm_envs.driving.track import Track, fill_track, make_track
from wm_envs.environment import KernelEnv, KernelVectorEnv
from wm_envs.errors import OptionError
from wm_envs.kernel import empty_rows
from wm_envs.rules import Array, Rules

DEFAULT_WEIGHTS = dict(zip(dynamics.REWARD_COMPONENTS, dynamics.REWARD_WEIGHTS, strict=True))


class DrivingEnv(KernelEnv):
    """Drive a racing car around a circuit as fast as it will go.

    ## Description
    A single-seater of 800 kg with 700 kW at the rear wheels, downforce, four tyres that heat up,
    grip best at 90 C and wear, and a tank. It obeys a dynamic single-track model with loads per
    wheel (Pacejka, Tyre and Vehicle Dynamics, 2012), integrated at 50 Hz by two Runge-Kutta steps.
    The circuit is an oval, a figure eight, a random one or that of a CSV file with the columns
    `x_m,y_m,w_tr_right_m,w_tr_left_m`. A position is the distance along the centre line, the offset
    to its left and the heading error against it. The physical limit of a circuit and an expert who
    laps it within nine per cent of that limit are in `wm_envs.driving.raceline` and
    `wm_envs.driving.expert`; `expert_actions()` of the vector environment asks the expert.

    ## Action Space
    `Box([-1, 0, 0], [1, 1, 1], (3,), float32)`: steering (1 is 0.35 rad to the left), throttle,
    brake. Throttle and brake may overlap. The car follows with lags of 0.06, 0.08 and 0.05 s.

    ## Observation Space
    `Box((34,), float32)`, each number clipped and divided by its scale; the bounds are those of the
    normalised number. `normalize=False` gives the same numbers in the unit of the table. The car's
    frame is x forward, y left, z up; on a flat road the vertical and the two tilting numbers are 0.

    | Index | Field | Unit | Scale | Low | High | Meaning |
    |---|---|---|---|---|---|---|
    | 0-2 | `velocity_x` `velocity_y` `velocity_z` | m/s | 100 | -1.5 | 1.5 | in the car's frame |
    | 3-5 | `acceleration_x` ... `acceleration_z` | m/s^2 | 50 | -2 | 2 | specific force, mean |
    | 6-8 | `roll_rate` `pitch_rate` `yaw_rate` | rad/s | 5 | -2 | 2 | angular velocity |
    | 9 | `steering` | 1 | 1 | -1 | 1 | steering as applied |
    | 10-11 | `throttle` `brake` | 1 | 1 | 0 | 1 | pedals as applied |
    | 12-15 | `temperature_fl` ... `temperature_rr` | C | 120 | 0 | 1.667 | of the tyres |
    | 16-19 | `wear_fl` ... `wear_rr` | 1 | 1 | 0 | 1 | what remains of the tyres |
    | 20 | `fuel` | 1 | 1 | 0 | 1 | what remains in the tank |
    | 21 | `track_position` | 1 | 1 | 0 | 1 | share of the lap |
    | 22 | `offset` | m | 5 | -4 | 4 | to the left of the centre line |
    | 23 | `heading_error` | rad | pi | -1 | 1 | heading against the centre line's, to the left |
    | 24-33 | `curvature_10m` ... `curvature_180m` | 1/m | 0.1 | -5 | 5 | ahead, left is positive |

    The distances ahead are 10, 20, 30, 45, 60, 80, 100, 125, 150 and 180 m.
    `observation="extended"` appends `curvature_0m`, `right_width` and `left_width` (m, scale 5, 0
    to 4): with them the end of an episode is a function of the observation. `info["track"]` has
    curvature at the car, length of the lap, half width to the right and to the left, in 1/m and m.

    ## Rewards
    The reward is the sum of the components times `reward_weights`; the dense ones together are
    clipped to 10.

    | Component | Weight | What |
    |---|---|---|
    | `progress` | 100 | share of the lap driven in this step |
    | `alive` | 0.02 | 1 |
    | `speed` | 0.01 | forward speed / 100 m/s |
    | `centering` | -0.1 | (offset / half width)^2, at most 4 |
    | `heading` | -0.5 | (heading error / pi)^2 |
    | `slip` | -1 | (sideways speed / speed, or 5 m/s if that is more)^2 |
    | `smoothness` | -0.1 | squared change of the action, summed; 0 for the first one |
    | `off_track` | -10 | 1 when the car leaves the road |
    | `collision` | -100 | 1 when it does so with more than 3 m/s across the edge |
    | `standstill` | -0.05 | 1 below 0.5 m/s |
    | `tyre` | 0.05 | minus the mean wear of this step, per cent |
    | `fuel` | 0.01 | minus the fuel of this step, per cent |

    ## Starting State
    Rolling at 10 to 15 m/s somewhere on the lap, up to 1 m and 0.05 rad off the centre line, tyres
    at 90 C, new, with a full tank. `random_start=False`: on the centre line at the beginning of the
    lap, at `start_speed`.

    ## Episode End
    Terminated when the middle of the car is half a car (0.8 m) beyond the edge of the road, when it
    spins (heading error beyond 90 degrees, or sideslip beyond 1 rad at more than 3 m/s), or after 2
    s below 0.5 m/s; `info["cause"]` is 1, 2 or 3 then, else 0. Truncated after `time_limit` steps
    or `laps` laps. `info["lap_time"]` is the time in seconds of a lap that this step completed,
    else 0; `info["laps"]` counts them; `info["is_success"]`: all laps asked for, or one.

    ## Arguments
    | Option | Default | Meaning |
    |---|---|---|
    | `track` | `"oval"` | `"oval"`, `"figure_eight"`, `"random"`, or the path of a CSV file |
    | `track_seed` | 0 | chooses the random track |
    | `normalize` | `True` | divide the observation by its scales |
    | `observation` | `"standard"` | or `"extended"`, three more numbers |
    | `laps` | `None` | truncate after this many laps |
    | `grip_scale` | 1.0 | factor on the grip, 0.1 to 1.5: about 0.6 is rain |
    | `random_start` | `True` | start anywhere on the lap |
    | `start_speed` | 10.0 | m/s, 0 to 100; up to half faster with random starts |
    | `start_temperature` | 90.0 | of the tyres, C |
    | `num_substeps` | 2 | Runge-Kutta steps in 0.02 s, 1 to 64 |
    | `reward_weights` | see Rewards | weight of each reward component |
    | `time_limit` | 8000 | steps of an episode |

    ## Version History
    - v1: the same car and circuits with a mended expert. Its line keeps half a car and 0.2 m from
      the edges, and away from the fold of the coordinates, at every metre of the road; it brakes
      where the way back to the line asks for more grip than there is.
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human", "ansi"], "render_fps": 50}
    KEYS = "left and right steer, up accelerates, down brakes"
    GAUGES = (
        "tyres: number in C, grip is best at 90 C (green), blue is cold and red is hot, bar: what "
        "remains of the tread",
    )

    @classmethod
    def rules(
        cls,
        *,
        track: str | Path | Track = "oval",
        track_seed: int = 0,
        normalize: bool = True,
        observation: str = "standard",
        laps: int | None = None,
        grip_scale: float = 1.0,
        random_start: bool = True,
        start_speed: float = 10.0,
        start_temperature: float = 90.0,
        num_substeps: int = dynamics.NUM_SUBSTEPS,
        reward_weights: Mapping[str, float] | None = None,
        time_limit: int = 8000,
    ) -> Rules:
        """The car on a circuit with these options; raises OptionError and TrackError."""
        if observation not in ("standard", "extended"):
            raise OptionError(f"observation is 'standard' or 'extended', got {observation!r}")
        row = empty_rows(1, dynamics.PARAMETERS)
        row["time_limit"] = check_integer("time_limit", time_limit, 1, 2**62)
        # 0 stands for no limit, since a parameter row holds numbers alone.
        row["max_laps"] = 0 if laps is None else check_integer("laps", laps, 1, 10_000)
        row["is_extended"] = observation == "extended"
        row["is_normalised"] = check_flag("normalize", normalize)
        row["is_random_start"] = check_flag("random_start", random_start)
        row["num_substeps"] = check_integer("num_substeps", num_substeps, 1, 64)
        row["start_speed"] = check_number("start_speed", start_speed, 0.0, 100.0)
        row["start_temperature"] = check_number("start_temperature", start_temperature, 0.0, 200.0)
        row["grip_scale"] = check_number("grip_scale", grip_scale, 0.1, 1.5)
        row["weights"] = list(check_weights(reward_weights).values())
        seed = check_integer("track_seed", track_seed, 0, 2**62)
        fill_track(row, track if isinstance(track, Track) else make_track(track, seed))
        fields = observation_fields(is_normalised=normalize, is_extended=observation == "extended")
        return Rules(
            observation_fields=fields,
            action_space=spaces.Box(
                np.array([-1, 0, 0], np.float32), np.ones(3, np.float32), dtype=np.float32
            ),
            reward_components=dynamics.REWARD_COMPONENTS,
            state_dtype=dynamics.STATE,
            outcome_dtype=dynamics.OUTCOME,
            parameters=row,
            reset_rows=dynamics.reset_rows,
            step_rows=dynamics.step_rows,
            observe_rows=dynamics.observe_rows,
            report_rows=dynamics.report_rows,
        )

    @property
    def parameters(self) -> Array:
        """The parameter row [1].

        What the expert, the racing line and the pictures are made from.
        """
        return self._rules.parameters

    @staticmethod
    def action_of_keys(keys: frozenset[str]) -> NDArray[np.float32]:
        """The action [3] of the pressed arrow keys: "left", "right", "up" and "down"."""
        steering = 0.5 * (("left" in keys) - ("right" in keys))
        return np.array([steering, "up" in keys, "down" in keys], np.float32)

    @staticmethod
    def draw(state: Any, parameters: Any) -> NDArray[np.uint8]:
        """The picture of a state row, uint8 [480, 640, 3]."""
        from wm_envs.driving import render

        return render.draw(state, parameters)

    @staticmethod
    def describe(state: Any, parameters: Any) -> str:
        """A state row as a line of text."""
        speed = math.hypot(float(state["vx"]), float(state["vy"]))
        share = 100 * float(state["distance"]) / float(parameters["length"])
        time = int(state["time"]) * dynamics.TIME_STEP
        return (
            f"lap {int(state['laps']) + 1} {share:.1f} %, {3.6 * speed:.0f} km/h, "
            f"offset {float(state['offset']):+.2f} m, {time:.2f} s"
        )


class DrivingVectorEnv(KernelVectorEnv):
    """A batch of cars, each alone on the same circuit."""

    env_class = DrivingEnv
    has_mended_expert: ClassVar[bool] = False

    @property
    def parameters(self) -> Array:
        """The parameter row [1]."""
        return self._rules.parameters

    def expert_actions(self) -> Array:
        """What the expert does in each row, [B, 3] float32.

        The first call takes a second to find the racing line.
        """
        from wm_envs.driving.expert import Expert

        # Only when asked: the racing line takes a second.
        if not hasattr(self, "_expert"):
            parameters = self._rules.parameters
            self._expert = Expert(parameters, is_mended=self.has_mended_expert)
        return self._expert.actions(self._states)


class MendedDrivingVectorEnv(DrivingVectorEnv):
    """The batch of `wm/Driving-v1`: the same cars, and the mended expert."""

    has_mended_expert = True


def check_weights(reward_weights: Mapping[str, float] | None) -> dict[str, float]:
    """The weight of each reward component, defaults where none is given; raises OptionError."""
    weights = check_reward_weights(reward_weights, DEFAULT_WEIGHTS)
    return {
        name: check_number(f"the reward weight of {name}", weight, -1e9, 1e9)
        for name, weight in weights.items()
    }
