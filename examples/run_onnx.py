"""Plan with an exported world model: NumPy and ONNX Runtime, no torch.

    python examples/export_onnx.py --env-id Pendulum-v1 --output-dir out
    python examples/run_onnx.py --model out/model.onnx --env-id Pendulum-v1

Random shooting: of many action sequences the one whose imagined rewards sum highest gives the next
action. Prints the mean return beside that of random actions.
"""

import argparse
import json
from typing import Any

import gymnasium as gym
import numpy as np
import onnxruntime


def main() -> dict[str, float]:
    """Play with and without the model; returns the mean returns."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="runs/export_onnx/model.onnx", help="of export_onnx.py")
    parser.add_argument("--env-id", default="Pendulum-v1", help="with a Box of actions")
    parser.add_argument("--episodes", type=int, default=2)
    parser.add_argument("--max-steps", type=int, default=200)
    parser.add_argument("--horizon", type=int, default=15, help="steps imagined ahead")
    parser.add_argument("--num-samples", type=int, default=256, help="action sequences")
    parser.add_argument("--seed", type=int, default=0)
    config = parser.parse_args()
    session = onnxruntime.InferenceSession(config.model, providers=["CPUExecutionProvider"])
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["wm_agents"])
    print(f"a {metadata['kind']}, observations {metadata['observation_space']}")
    env = gym.make(config.env_id)
    generator = np.random.default_rng(config.seed)

    def plan(observation: Any) -> Any:
        return shoot(session, observation, env.action_space, config, generator)

    def random(_: Any) -> Any:
        return sample(env.action_space, (), generator)

    result = {
        "mean_return": play(env, plan, config),
        "random_return": play(env, random, config),
    }
    print(result)
    return result


def sample(space: Any, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    """Actions of a bounded Box, uniform between its bounds."""
    return generator.uniform(space.low, space.high, (*shape, *space.shape)).astype(np.float32)


def shoot(
    session: onnxruntime.InferenceSession,
    observation: Any,
    space: Any,
    config: argparse.Namespace,
    generator: np.random.Generator,
) -> Any:
    """The first action of the best imagined sequence."""
    actions = sample(space, (config.horizon, config.num_samples), generator)  # [H, N, A]
    rows = np.repeat(np.asarray(observation, np.float32)[None], config.num_samples, 0)
    total = np.zeros(config.num_samples)
    lasts = np.ones(config.num_samples)  # probability that the episode still goes on
    for step in actions:
        rows, rewards, ends = session.run(None, {"observations": rows, "actions": step})
        total += lasts * rewards
        lasts *= 1 - ends
    return actions[0, int(np.argmax(total))]


def play(env: gym.Env[Any, Any], act: Any, config: argparse.Namespace) -> float:
    """The mean return over episodes."""
    returns = []
    for episode in range(config.episodes):
        observation, _ = env.reset(seed=config.seed + episode)
        total = 0.0
        for _ in range(config.max_steps):
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            total += float(reward)
            if terminated or truncated:
                break
        returns.append(total)
    return float(np.mean(returns))


if __name__ == "__main__":
    main()
