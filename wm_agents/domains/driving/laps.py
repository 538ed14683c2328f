"""Laps with the planner, timed: one car, from the line."""

import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.driving.imagination import (
    CompiledModel,
    Imagine,
    learned_imagination,
    true_imagination,
)
from wm_agents.domains.driving.planner import DrivingPlanner, PlannerConfig
from wm_envs.driving import dynamics
from wm_envs.driving.columns import WHEELS


def grip_share(observation: NDArray[np.float32]) -> float:
    """The grip of the worse axle as a share of the peak, from temperatures and wear of an observation in SI units."""
    heat, wear = observation[12:16].astype(np.float64), observation[16:20]
    grips = np.exp(-dynamics.GRIP_FALL * (heat - dynamics.BEST_TEMPERATURE) ** 2) * (
        0.7 + 0.3 * wear
    )
    return float(min(grips[:2].mean(), grips[2:].mean()))


def imaginations(
    env: Any, observation: NDArray[np.float32], model: CompiledModel | None, config: PlannerConfig
) -> list[Imagine]:
    """Who searches, and who judges the outcome: the members of the model, on tyres with less grip than they have.

    Args:
        env: A single `wm/Driving-v0`, extended, in SI units, not wrapped.
        observation: What it shows now.
        model: The learned dynamics; None takes the true rules.
        config: Says how far the tyres are doubted.
    """
    if model is None:
        state = env.clone_state()
        doubted = state.copy()
        for wheel in WHEELS:
            heat = float(doubted[f"temperature_{wheel}"])
            doubted[f"temperature_{wheel}"] = heat + math.copysign(
                config.doubt, heat - dynamics.BEST_TEMPERATURE
            )
        return [
            true_imagination(row, env.parameters, config.has_policy) for row in (state, doubted)
        ]
    seen = observation.copy()
    seen[12:16] += np.copysign(np.float32(config.doubt), seen[12:16] - dynamics.BEST_TEMPERATURE)
    judges = [
        learned_imagination(seen, env.parameters, model, config.has_policy, member)
        for member in range(len(model.members))
    ]
    return [learned_imagination(observation, env.parameters, model, config.has_policy), *judges]


def drive_laps(
    env: Any,
    planner: DrivingPlanner,
    model: CompiledModel | None,
    num_laps: int,
    on_decision: Any = None,
    *,
    seed: int = 0,
    max_decisions: int = 100_000,
) -> dict[str, Any]:
    """Drive from the start until the laps are done or the car is off; `model=None` asks the true rules.

    Args:
        env: A single `wm/Driving-v0`, extended, in SI units, not wrapped.
        planner: Plans for its circuit.
        model: The learned dynamics.
        num_laps: Laps.
        on_decision: Called with (step, observation, decision, state) at each step.
        seed: Of the start, where the environment has random ones.
        max_decisions: After which the drive is given up.
    """
    observation, _ = env.reset(seed=seed)
    lap_times: list[float] = []
    seconds, num_decisions, has_ended = 0.0, 0, False
    while len(lap_times) < num_laps and num_decisions < max_decisions and not has_ended:
        state = env.clone_state()
        began = time.process_time()
        imagines = imaginations(env, observation, model, planner.config)
        decision = planner.decide(imagines, float(state["distance"]), grip_share(observation))
        seconds += time.process_time() - began
        if on_decision is not None:
            on_decision(num_decisions, observation, decision, state)
        num_decisions += 1
        observation, _, terminated, truncated, info = env.step(decision.action)
        has_ended = terminated or truncated
        if info["lap_time"] > 0:
            lap_times.append(float(info["lap_time"]))
    return {
        "is_clean": len(lap_times) == num_laps,
        "lap_times": lap_times,
        "decisions_per_second": num_decisions / max(seconds, 1e-9),
        "num_decisions": num_decisions,
        "driven_metres": float(env.clone_state()["driven"]),
        "cause": int(info["cause"]),
    }
