"""Updates of REINFORCE per CPU-second, beside the same model as one would first write it.

    python -m benchmarks.reinforce_speed

The peer is `nn.TransformerEncoder` with nn.Module heads, plain Adam and `clip_grad_norm_`, trained
on the same environment with the same losses: 116,625 parameters, 64 episodes of one step. Turns are
interleaved, one thread each; both sides must learn the task in the measured updates.

One step is where attention has nothing to do. On episodes of 14 steps, rule recall, the peer acts by
a pass over all steps so far, learns from one pass over whole episodes with a causal mask, and has
positions that are learned; there both sides must come to predict better than at first.
"""

import functools
import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

import wm_envs  # noqa: F401  (registers the ids)
from benchmarks.report import write_result
from wm_agents.policy_gradient.reinforce import Reinforce, ReinforceConfig

EPISODES = 64
LONG_ID, LONG_STEPS = "wm/RuleRecall-v0", 14


@dataclass(frozen=True)
class Config:
    """How long to measure."""

    updates: int = 150
    """Updates of one turn."""
    turns: int = 7
    """Turns of each side; medians are quoted."""
    long_updates: int = 15
    """Updates of one turn on episodes of several steps."""
    num_seeds: int = 10
    """Size of the stack."""
    seed: int = 0
    """Seed of both sides."""


class PlainModel(nn.Module):
    """The reference model from PyTorch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
        self.core = nn.TransformerEncoder(layer, 2)
        self.policy = nn.Linear(64, 8)
        self.action = nn.Embedding(8, 64)
        self.world = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 8))
        self.value = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, observations: Tensor) -> tuple[torch.distributions.Categorical, Tensor]:
        """The policy and the tokens for observations [B, 8]."""
        tokens = self.core(self.encoder(observations)[:, None])[:, 0]
        return torch.distributions.Categorical(logits=self.policy(tokens)), tokens


class PlainTrainer:
    """REINFORCE with the same losses, written the usual way."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.model = PlainModel()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.envs = gym.make_vec("wm/PatternEcho-v0", EPISODES)
        self.envs.reset(seed=seed)
        self.baseline = 0.0
        self.success = 0.0

    def update(self) -> None:
        """One update from 64 episodes."""
        observations = torch.as_tensor(self.envs.reset()[0])
        policy, tokens = self.model(observations)
        actions = policy.sample()
        step = self.envs.step(actions.numpy())
        next_observations, rewards = (
            torch.as_tensor(step[0]),
            torch.as_tensor(step[1], dtype=torch.float32),
        )
        predicted = self.model.world(torch.cat([tokens, self.model.action(actions)], -1))
        error = (predicted - next_observations).square().mean(-1)
        returns = rewards - 0.1 * error.detach()
        loss = -(policy.log_prob(actions) * (returns - self.baseline)).mean()
        loss = loss - 0.01 * policy.entropy().mean() + error.mean()
        loss = loss + 0.25 * F.mse_loss(self.model.value(tokens.detach()).squeeze(-1), returns)
        self.baseline = 0.95 * self.baseline + 0.05 * float(returns.mean())
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.success = float(step[4]["is_success"].mean())


class PlainSequenceModel(nn.Module):
    """The same with a causal mask and learned positions."""

    def __init__(self, num_inputs: int, num_actions: int, num_steps: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(num_inputs, 64), nn.ReLU(), nn.Linear(64, 64))
        self.positions = nn.Parameter(torch.zeros(num_steps, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
        self.core = nn.TransformerEncoder(layer, 2)
        self.policy = nn.Linear(64, num_actions)
        self.action = nn.Embedding(num_actions, 64)
        self.world = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, num_inputs))
        self.value = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(num_steps))

    def forward(self, observations: Tensor) -> Tensor:
        """Tokens [B, T, 64] for observations [B, T, O] from the first step on."""
        num_steps = observations.shape[1]
        tokens = self.encoder(observations) + self.positions[:num_steps]
        result: Tensor = self.core(tokens, self.mask[:num_steps, :num_steps], is_causal=True)
        return result


class PlainSequenceTrainer:
    """REINFORCE on episodes of several steps, all of one length, written the usual way."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.envs = gym.make_vec(LONG_ID, EPISODES)
        observations, _ = self.envs.reset(seed=seed)
        num_actions = int(self.envs.single_action_space.n)  # type: ignore[attr-defined]
        self.model = PlainSequenceModel(observations.shape[1], num_actions, LONG_STEPS)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.baseline = torch.zeros(LONG_STEPS)
        self.errors: list[float] = []

    def update(self) -> None:
        """One update from 64 episodes."""
        observation = torch.as_tensor(self.envs.reset()[0])
        seen, taken, rewards = [observation], [], []
        for _ in range(LONG_STEPS):
            with torch.no_grad():
                token = self.model(torch.stack(seen, 1))[:, -1]
                logits = self.model.policy(token)
                action = torch.distributions.Categorical(logits=logits).sample()
            observation, reward, *_ = self.envs.step(action.numpy())
            seen.append(torch.as_tensor(observation))
            taken.append(action)
            rewards.append(torch.as_tensor(reward, dtype=torch.float32))
        observations = torch.stack(seen, 1)  # [B, T + 1, O]
        actions = torch.stack(taken, 1)  # [B, T]
        tokens = self.model(observations[:, :-1])
        policy = torch.distributions.Categorical(logits=self.model.policy(tokens))
        predicted = self.model.world(torch.cat([tokens, self.model.action(actions)], -1))
        error = (predicted - observations[:, 1:]).square().mean(-1)
        gained = torch.stack(rewards, 1) - 0.1 * error.detach()
        returns = gained.flip(1).cumsum(1).flip(1)  # to go
        loss = -(policy.log_prob(actions) * (returns - self.baseline)).mean()
        loss = loss - 0.01 * policy.entropy().mean() + error.mean()
        values = self.model.value(tokens.detach()).squeeze(-1)
        loss = loss + 0.25 * F.mse_loss(values, returns)
        self.baseline = 0.95 * self.baseline + 0.05 * returns.mean(0)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.errors.append(float(error.detach().mean()))


def main(config: Config) -> dict[str, Any]:
    """Measure both lengths of episodes; returns and writes the figures."""
    torch.set_num_threads(1)
    figures = {**one_step(config), f"episodes_of_{LONG_STEPS}_steps": several_steps(config)}
    write_result(
        "reinforce_speed",
        figures,
        seeds=config.seed,
        command=f"python -m benchmarks.reinforce_speed --turns {config.turns} "
        f"--long-updates {config.long_updates}",
    )
    print(figures)
    return figures


def several_steps(config: Config) -> dict[str, Any]:
    """The same ratios on rule recall, with their spread over turns."""
    plain = PlainSequenceTrainer(config.seed)
    agents = {
        f"reinforce, {n} seeds": Reinforce(LONG_ID, ReinforceConfig(num_seeds=n), seed=config.seed)
        for n in (1, config.num_seeds)
    }
    errors: dict[str, list[float]] = {name: [] for name in agents}
    rates: dict[str, list[float]] = {name: [] for name in ("plain", *agents)}
    for _ in range(config.turns + 1):
        work = [plain.update] * config.long_updates
        rates["plain"].append(turn(lambda work=work: [one() for one in work]) * len(work))
        for name, agent in agents.items():
            # Steps of a run, of which an update has as many as its episodes together.
            goal = int(agent.num_steps[0]) + config.long_updates * EPISODES * LONG_STEPS

            def watch(_: Any, report: Any, kept: list[float] = errors[name]) -> bool:
                kept.append(float(np.mean(report.metrics["world_model"])))
                return True

            runs = config.long_updates * agent.config.num_seeds
            learn = functools.partial(agent.learn, goal, watch)
            rates[name].append(turn(learn) * runs)
    for name, kept in {**errors, "plain": plain.errors}.items():
        assert kept[-1] < 0.9 * kept[0], (name, kept[0], kept[-1])
    medians = {name: float(np.median(values[1:])) for name, values in rates.items()}
    one, stacked = (np.array(rates[name][1:]) for name in agents)
    alone = np.array(rates["plain"][1:])
    return {
        "env_id": LONG_ID,
        "parameters": {
            "plain": sum(p.numel() for p in plain.model.parameters()),
            "reinforce": agents["reinforce, 1 seeds"].model.num_parameters,
        },
        "seed_updates_per_cpu_second": medians,
        "ratio_one_seed_to_plain": float(np.median(one / alone)),
        "ratio_one_seed_to_plain_by_turn": (one / alone).tolist(),
        "ratio_stacked_to_plain": float(np.median(stacked / alone)),
        "ratio_stacked_to_plain_by_turn": (stacked / alone).tolist(),
    }


def one_step(config: Config) -> dict[str, Any]:
    """Episodes of one step."""
    plain = PlainTrainer(config.seed)
    assert sum(p.numel() for p in plain.model.parameters()) == 116_625
    agents = {
        f"reinforce, {n} seeds": Reinforce(
            "wm/PatternEcho-v0", ReinforceConfig(num_seeds=n), seed=config.seed
        )
        for n in (1, config.num_seeds)
    }
    assert all(agent.model.num_parameters == 116_625 for agent in agents.values())
    rates: dict[str, list[float]] = {name: [] for name in ("plain", *agents)}
    for _ in range(config.turns + 1):
        rates["plain"].append(
            turn(lambda: [plain.update() for _ in range(config.updates)]) * config.updates
        )
        for name, agent in agents.items():
            goal = int(agent.num_steps[0]) + config.updates * EPISODES
            runs = config.updates * agent.config.num_seeds
            rates[name].append(turn(lambda agent=agent, goal=goal: agent.learn(goal)) * runs)
    assert plain.success > 0.9, plain.success
    assert all(agent.evaluate(200).successes.mean(1).min() > 0.9 for agent in agents.values())
    medians = {
        name: float(np.median(values[1:])) for name, values in rates.items()
    }  # the first turn warms up
    one, stacked = (medians[name] for name in agents)
    return {
        "seed_updates_per_cpu_second": medians,
        "ratio_one_seed_to_plain": one / medians["plain"],
        "ratio_stacked_to_plain": stacked / medians["plain"],
        "ratio_stacked_to_one_seed": stacked / one,
        "updates_done": {name: int(agent.num_updates) for name, agent in agents.items()},
    }


def turn(work: Any) -> float:
    """Calls per CPU-second."""
    started = time.process_time()
    work()
    return 1.0 / (time.process_time() - started)


if __name__ == "__main__":
    main(tyro.cli(Config))
