"""Plans per CPU-second on one perceptron.

Beside what its evaluations alone would allow, and beside other libraries:

    python -m benchmarks.planning_speed

State 34, action 3, two hidden layers of 256 units, horizon 16, 500 samples, 5 iterations, one
environment, one thread. All planners call the same network: [state, action] -> [change of the
state, reward]. "model alone" evaluates it as often on as many rows and does nothing else. Repeats
are interleaved and the medians compared, so that what else the machine does hits all alike.
pytorch-mppi, TorchRL and stable-worldmodel take part where they are installed.
"""

import contextlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from torch import Tensor, nn

from benchmarks.report import RESULTS, write_result
from wm_agents.evaluation.statistics import percentile_limits
from wm_agents.planning import CEM, ICEM, MPPI, CEMConfig, DiscountedReturn, ICEMConfig, MPPIConfig
from wm_agents.protocols import ModelState, Prediction, Rollout

NUM_FEATURES, NUM_ACTIONS, WIDTH = 34, 3, 256
HORIZON, NUM_SAMPLES, NUM_ITERATIONS, NUM_ELITES = 16, 500, 5, 50

PlanOnce = Callable[[], Any]


@dataclass(frozen=True)
class Config:
    """How long to measure."""

    num_repeats: int = 30
    """Interleaved repeats of each planner."""
    seed: int = 0
    """Seed of the network's weights and of all samples."""
    output_dir: Path = RESULTS
    """Folder for planning_speed.json."""


class PerceptronModel(nn.Module):
    """The benchmark's network as a world model with a fused rollout."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (NUM_FEATURES,))
        self.action_space = gym.spaces.Box(-1.0, 1.0, (NUM_ACTIONS,))
        self._kept: list[Tensor] | None = None
        torch.manual_seed(seed)
        self.layers = nn.Sequential(
            nn.Linear(NUM_FEATURES + NUM_ACTIONS, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, NUM_FEATURES + 1),
        )

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Changes of the state and the reward [B, O + 1]."""
        output: Tensor = self.layers(torch.cat([observations, actions], 1))
        return output

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """No memory."""
        return ModelState(observations, hidden)

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """One step."""
        prediction = self.predict(state.observations, actions, generator)
        return ModelState(prediction.observations), prediction

    def predict(
        self,
        observations: Tensor,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> Prediction:
        """One step from observations [B, O]."""
        output = self(observations, actions)
        rewards = output[:, NUM_FEATURES]
        return Prediction(
            observations + output[:, :NUM_FEATURES], rewards, torch.zeros_like(rewards)
        )

    def rollout(
        self,
        start: ModelState | Tensor,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> Rollout:
        """H steps.

        Time comes first in memory, as it is written, and the layers write into buffers that are
        kept.
        """
        first = start if isinstance(start, Tensor) else start.observations
        num_rows, horizon = actions.shape[:2]
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        weights = [(layer.bias.to(dtype), layer.weight.to(dtype).t()) for layer in self.layers[::2]]
        joint, *activations = self._buffers_for(num_rows, dtype)
        output = activations[-1]
        observations, rewards = (
            first.new_empty(horizon + 1, *first.shape),
            first.new_empty(horizon, num_rows),
        )
        observations[0] = first
        for step in range(horizon):
            joint[:, :NUM_FEATURES], joint[:, NUM_FEATURES:] = observations[step], actions[:, step]
            below = joint
            for (bias, weight), above in zip(weights, activations, strict=True):
                below = torch.addmm(bias, below, weight, out=above)
                if above is not output:
                    above.relu_()
            torch.add(observations[step], output[:, :NUM_FEATURES], out=observations[step + 1])
            rewards[step] = output[:, NUM_FEATURES]
        return Rollout(observations.transpose(0, 1), rewards.T, torch.zeros(num_rows, horizon))

    def _buffers_for(self, num_rows: int, dtype: torch.dtype) -> list[Tensor]:
        """The network's input and the output of each layer.

        They are allocated when their size or type changes.
        """
        if self._kept is None or self._kept[0].shape[0] != num_rows or self._kept[0].dtype != dtype:
            widths = (NUM_FEATURES + NUM_ACTIONS, WIDTH, WIDTH, NUM_FEATURES + 1)
            self._kept = [torch.empty(num_rows, width, dtype=dtype) for width in widths]
        return self._kept


def model_alone(model: PerceptronModel, precision: torch.dtype) -> PlanOnce:
    """The network's evaluations of one plan and nothing else."""
    actions = torch.zeros(NUM_SAMPLES, NUM_ACTIONS)

    @torch.no_grad()
    def run() -> None:
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            for _ in range(NUM_ITERATIONS):
                observations = torch.zeros(NUM_SAMPLES, NUM_FEATURES)
                for _ in range(HORIZON):
                    observations = observations + model(observations, actions)[:, :NUM_FEATURES]

    return run


def ours(model: PerceptronModel, seed: int) -> dict[str, PlanOnce]:
    """Our planners with as many samples and iterations, then what iCEM and lower precision save."""
    size: dict[str, Any] = {
        "horizon": HORIZON,
        "num_samples": NUM_SAMPLES,
        "num_iterations": NUM_ITERATIONS,
    }
    objective = DiscountedReturn()
    planners: dict[str, Any] = {
        "wm CEM": CEM(model, objective, CEMConfig(**size, num_elites=NUM_ELITES)),
        "wm MPPI": MPPI(model, objective, MPPIConfig(**size)),
        "wm iCEM without decay": ICEM(
            model, objective, ICEMConfig(**size, num_elites=NUM_ELITES, sample_decay=1.0)
        ),
        "wm CEM bfloat16": CEM(
            model, objective, CEMConfig(**size, num_elites=NUM_ELITES, precision="bfloat16")
        ),
        "wm iCEM": ICEM(model, objective, ICEMConfig(**size, num_elites=NUM_ELITES)),
    }
    state, generator = ModelState(torch.zeros(1, NUM_FEATURES)), torch.Generator().manual_seed(seed)
    return {
        name: lambda planner=planner: planner.plan(state, generator)
        for name, planner in planners.items()
    }


def pytorch_mppi(model: PerceptronModel) -> dict[str, PlanOnce]:
    """MPPI of pytorch-mppi.

    Its dynamics and its cost are two functions, so the reward is kept from the first.
    """
    import pytorch_mppi as library

    kept: dict[str, Tensor] = {}

    def dynamics(state: Tensor, action: Tensor) -> Tensor:
        output = model(state, action)
        kept["reward"] = output[:, NUM_FEATURES]
        return state + output[:, :NUM_FEATURES]

    bound = torch.ones(NUM_ACTIONS)
    options = {"num_samples": NUM_SAMPLES, "horizon": HORIZON, "u_min": -bound, "u_max": bound}
    planner = library.MPPI(
        dynamics, lambda *_: -kept["reward"], NUM_FEATURES, 0.25 * torch.eye(NUM_ACTIONS), **options
    )

    @torch.no_grad()
    def run() -> None:
        for iteration in range(NUM_ITERATIONS):
            planner.command(torch.zeros(NUM_FEATURES), shift_nominal_trajectory=iteration == 0)

    return {"pytorch-mppi MPPI": run}


def torchrl(model: PerceptronModel) -> dict[str, PlanOnce]:
    """CEM of TorchRL on a model-based environment around the network."""
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule
    from torchrl.data import Bounded, Composite, Unbounded
    from torchrl.envs.model_based import ModelBasedEnvBase
    from torchrl.modules import WorldModelWrapper
    from torchrl.modules.planners import CEMPlanner

    class Transition(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            output = self.model(state.reshape(-1, NUM_FEATURES), action.reshape(-1, NUM_ACTIONS))
            shape = state.shape[:-1]
            change, reward = output.split([NUM_FEATURES, 1], 1)
            return state + change.reshape(*shape, NUM_FEATURES), reward.reshape(*shape, 1)

    class Environment(ModelBasedEnvBase):  # type: ignore[misc]
        def __init__(self) -> None:
            transition = TensorDictModule(
                Transition(), in_keys=["state", "action"], out_keys=["state", "reward"]
            )
            keep = TensorDictModule(nn.Identity(), in_keys=["reward"], out_keys=["reward"])
            super().__init__(WorldModelWrapper(transition, keep), batch_size=[])
            self.state_spec = Composite(state=Unbounded((NUM_FEATURES,)))
            self.observation_spec = Composite(state=Unbounded((NUM_FEATURES,)))
            self.action_spec = Bounded(-1.0, 1.0, (NUM_ACTIONS,))
            self.reward_spec = Unbounded((1,))

        def _reset(self, tensordict: Any) -> Any:  # noqa: ARG002
            return TensorDict({"state": torch.zeros(NUM_FEATURES)}, [])

    planner = CEMPlanner(Environment(), HORIZON, NUM_ITERATIONS, NUM_SAMPLES, NUM_ELITES)
    start = planner.env.reset()

    @torch.no_grad()
    def run() -> None:
        planner.planning(start)

    return {"torchrl CEM": run}


def stable_worldmodel(model: PerceptronModel) -> dict[str, PlanOnce]:
    """CEM of stable-worldmodel; what it prints after every plan is swallowed."""
    from stable_worldmodel.policy import PlanConfig
    from stable_worldmodel.solver import CEMSolver

    class Costs:
        def get_cost(self, info: dict[str, Tensor], candidates: Tensor) -> Tensor:
            state, actions = info["state"].flatten(0, 1), candidates.flatten(0, 1)
            cost = torch.zeros(len(actions))
            for step in range(HORIZON):
                output = model(state, actions[:, step])
                state = state + output[:, :NUM_FEATURES]
                cost = cost - output[:, NUM_FEATURES]
            return cost.view(candidates.shape[:2])

    solver = CEMSolver(Costs(), num_samples=NUM_SAMPLES, n_steps=NUM_ITERATIONS, topk=NUM_ELITES)
    space = gym.spaces.Box(-1.0, 1.0, (1, NUM_ACTIONS))
    solver.configure(
        action_space=space, n_envs=1, config=PlanConfig(horizon=HORIZON, receding_horizon=1)
    )

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            solver.solve({"state": torch.zeros(1, NUM_FEATURES)})

    return {"stable-worldmodel CEM": run}


def peers(model: PerceptronModel) -> tuple[dict[str, PlanOnce], dict[str, str]]:
    """What other libraries are installed, and why the others are left out."""
    installed: dict[str, PlanOnce] = {}
    left_out: dict[str, str] = {}
    for make in (pytorch_mppi, torchrl, stable_worldmodel):
        try:
            planners = make(model)
            for plan in planners.values():
                plan()
            installed |= planners
        except ImportError as error:
            left_out[make.__name__] = f"not installed: {error}"
    return installed, left_out


def measure(planners: dict[str, PlanOnce], num_repeats: int) -> dict[str, list[float]]:
    """CPU seconds per plan, one number a repeat; the order is turned from repeat to repeat."""
    names = list(planners)
    for name in names:
        planners[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(num_repeats):
        turned = repeat % len(names)
        for name in names[turned:] + names[:turned]:
            started = time.process_time()
            planners[name]()
            seconds[name].append(time.process_time() - started)
    return seconds


def share_intervals(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """95% intervals of each planner's share of the model alone, repeats drawn anew in pairs."""
    alone = np.array(seconds["model alone"])
    draws = np.random.default_rng(0).integers(len(alone), size=(2000, len(alone)))
    intervals = {}
    for name, values in seconds.items():
        shares = np.median(alone[draws], 1) / np.median(np.array(values)[draws], 1)
        low, high = percentile_limits(shares, 0.95)
        intervals[name] = {"low": float(low), "high": float(high)}
    return intervals


def main(config: Config) -> dict[str, Any]:
    """Measure and write; returns the figures."""
    torch.set_num_threads(1)
    model = PerceptronModel(config.seed).eval()
    others, left_out = peers(model)
    alone = {
        "model alone": model_alone(model, torch.float32),
        "model alone bfloat16": model_alone(model, torch.bfloat16),
    }
    repeats = measure({**alone, **ours(model, config.seed), **others}, config.num_repeats)
    seconds = {name: float(np.median(values)) for name, values in repeats.items()}
    figures: dict[str, Any] = {
        "plans_per_cpu_second": {name: 1.0 / value for name, value in seconds.items()},
        "share_of_model_alone": {
            name: seconds["model alone"] / value for name, value in seconds.items()
        },
        "share_of_model_alone_interval": share_intervals(repeats),
        "cem_bfloat16_share_of_model_alone_bfloat16": seconds["model alone bfloat16"]
        / seconds["wm CEM bfloat16"],
        "left_out": left_out,
    }
    write_result(
        "planning_speed",
        figures,
        seeds=config.seed,
        command="python -m benchmarks.planning_speed",
        folder=config.output_dir,
    )
    for name, value in seconds.items():
        print(
            f"{name:28} {1 / value:6.1f} plans/s   "
            f"{seconds['model alone'] / value:6.1%} of the model alone"
        )
    return figures


if __name__ == "__main__":
    main(tyro.cli(Config))
