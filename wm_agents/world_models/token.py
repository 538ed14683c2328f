"""Worlds of tokens.

Each feature's next token is predicted as a category and decoded exactly, so rollouts never drift.

Exact rules are looked for first (`structure`). What has none is left to a network that classifies
the next token or the integer difference to it, whichever has fewer categories.
"""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from wm_agents.networks import Affine, Perceptron
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.fitted import check_fitted
from wm_agents.training.trainer import FitReport
from wm_agents.world_models.adapters import FeatureLayout
from wm_agents.world_models.fitting import FitConfig
from wm_agents.world_models.lattice import Feature, TokenCodec, detect_features
from wm_agents.world_models.losses import (
    PredictionWeights,
    huber,
    masked_mean,
    weighted_cross_entropy,
)
from wm_agents.world_models.neural import NeuralModel, selection
from wm_agents.world_models.program import ProgramModel
from wm_agents.world_models.program_writing import Writer
from wm_agents.world_models.sampling import TrainingBatch
from wm_agents.world_models.structure import (
    UNKNOWN,
    Outcome,
    TokenRules,
    TokenSteps,
    find_outcome,
    learn_rules,
)
from wm_envs.data.trajectories import Trajectories

# A category that no data had names a new value of a known feature, and starts out unlikely.
_UNSEEN_LOGIT = -3.0  # of a token that the fit before a warm start did not know


@dataclass(frozen=True)
class TokenConfig:
    """Shape and loss of a `TokenModel`.

    Attributes:
        finds_rules: Look for exact rules; False leaves everything to the network.
        is_optimistic: While every recorded reward is the same, expect more, by its own size or by 1
            where it is 0, for bringing the changing features to the constant ones of the same
            layout. Acting on the hypothesis confirms or refutes it.
        widths: Hidden units of the network for what has no rule.
        reward_widths: Hidden units of the reward head, when rewards have no rule.
        termination_widths: Hidden units of the termination head, when terminations have no rule.
        activation: "elu", "relu", "silu" or "tanh".
        weights: Weights of the loss terms.
        max_positive_weight: A termination counts as often as it is rarer than the rest, but at most
            this many times.
    """

    finds_rules: bool = True
    is_optimistic: bool = True
    widths: tuple[int, ...] = (256, 256)
    reward_widths: tuple[int, ...] = (128, 128)
    termination_widths: tuple[int, ...] = (64, 64)
    activation: str = "silu"
    weights: PredictionWeights = field(default_factory=PredictionWeights)
    max_positive_weight: float = 10.0


@dataclass(frozen=True)
class _Structure:
    """What was learned without gradients.

    Attributes:
        features: The tokens of an observation.
        unresolved: Features without a rule under some action; the network predicts them.
        classes: For each of those the differences modulo the number of tokens, or () for absolute
            tokens.
        reward: None leaves it to the network.
        termination: None leaves it to the network.
    """

    features: tuple[Feature, ...]
    unresolved: tuple[int, ...] = ()
    classes: tuple[tuple[int, ...], ...] = ()
    reward: Outcome | None = None
    termination: Outcome | None = None

    @property
    def is_exact(self) -> bool:
        """Whether rules cover everything, so that there is nothing to train."""
        return not self.unresolved and self.reward is not None and self.termination is not None

    @classmethod
    def from_json(cls, description: dict[str, Any]) -> "_Structure":
        """The structure of `asdict`, after JSON made lists of its tuples."""
        return cls(
            features=tuple(
                Feature(tuple(item["columns"]), item["num_values"], item["origin"], item["quantum"])
                for item in description["features"]
            ),
            unresolved=tuple(description["unresolved"]),
            classes=tuple(tuple(item) for item in description["classes"]),
            **{
                name: item and Outcome(item["kind"], tuple(item["values"]), tuple(item["sources"]))
                for name, item in ((name, description[name]) for name in ("reward", "termination"))
            },
        )


class TokenModel(NeuralModel):
    """Exact rules where there are any, a classifier elsewhere.

    Tokens that a looked-up rule has never seen keep their value. Without a generator a step is the
    most likely one, with one the classified features are drawn.
    """

    kind = "token world model"
    config_class = TokenConfig
    config: TokenConfig
    network: Any
    sources: Tensor
    tables: Tensor
    _before: dict[str, Any] | None = None

    @property
    def is_exact(self) -> bool:
        """Whether exact rules were found for everything."""
        return self.structure.is_exact

    def fit(
        self, trajectories: Trajectories, config: FitConfig | None = None, **options: Any
    ) -> FitReport:
        """Find rules in all episodes, then train the network for the rest, if any.

        See `NeuralModel.fit`.

        Rules and tokens are always those of the episodes that are given; a warm start keeps the
        network's weights.

        Raises:
            TrajectoryError: A column takes values on no lattice.
        """
        self._check_trajectories(trajectories)
        is_warm = config is not None and config.is_warm_start and self.is_measured
        # Kept until `adapt`, since learning the structure replaces network and codec.
        self._before = self._measurements() if is_warm else None
        # From all episodes, held-out ones included: a rule that one of them contradicts is none.
        self._learn_structure(trajectories)
        if self.is_exact:
            self.is_fitted = True
            self.low.fill_(-torch.inf)  # no network is left that a warm start could go on from
            return FitReport(0, 0, 0.0, False, [], 0.0)
        return super().fit(trajectories, config, **options)

    def find_rules(self, trajectories: Trajectories) -> bool:
        """Learn what needs no gradients from these episodes; whether that explains all of them.

        Where it does, `fit` would do nothing else.
        """
        self._check_trajectories(trajectories)
        self._learn_structure(trajectories)
        return self.is_exact

    def initialize(self, trajectories: Trajectories) -> None:
        """Draw the network's weights afresh and measure scales.

        The structure is that of all episodes.
        """
        # Rules are not touched: they were learned just now.
        self._arrange(FeatureLayout(self.num_features))
        self._measure(trajectories)

    def adapt(self, trajectories: Trajectories) -> None:
        """Take over the network of the fit before, as far as its tokens still are some."""
        before, self._before = self._before, None
        if before is None:
            # The fit before was explained by rules alone, so that there are no weights to take
            # over.
            self.initialize(trajectories)
            return
        self.input_scale, self.reward_scale = before["input_scale"], before["reward_scale"]
        before = copy.deepcopy(before)
        acts = self.encode_actions.fit(trajectories.actions)
        self._measure_again(trajectories, before)
        change = self._rescaling(before, acts)
        # Inputs are numbers and one-hots: the first change their unit, the second their place.
        inputs = Affine.join(change.inputs, self._one_hots_of(before["codec"]))
        if before["network"] is not None and self.network is not None:
            self._take_over_network(before, Affine.join(inputs, acts))
        heads = {"reward_head": change.reward, "termination_head": change.termination}
        is_renewed = {
            "reward_head": before["reward_scale"].span == 0,
            "termination_head": not before["has_terminations"],
        }
        for name, to_new in heads.items():
            head = before[name]
            if head is None or getattr(self, name) is None or is_renewed[name]:
                continue
            head.change_inputs(Affine.join(inputs, acts, inputs))
            head.change_outputs(to_new)
            setattr(self, name, head)

    def _measurements(self) -> dict[str, Any]:
        names = ("structure", "codec", "network", "reward_head", "termination_head")
        return super()._measurements() | {
            name: copy.deepcopy(getattr(self, name)) for name in names
        }

    def _take_over_network(self, before: dict[str, Any], to_old: Affine) -> None:
        """The weights of another network, category by category.

        What it did not know is unlikely at first.
        """
        old = _categories(before["structure"])
        new = _categories(self.structure)
        places = [old.index(category) if category in old else None for category in new]
        change = selection(places, len(old), self.device)
        features = {category[0] for category in old}
        for place, (source, category) in enumerate(zip(places, new, strict=True)):
            if source is None and category[0] in features:
                # A feature that is new altogether has no known categories to stand back behind.
                change.shift[place] = _UNSEEN_LOGIT
        self.network = before["network"]
        self.network.change_inputs(to_old)
        self.network.change_outputs(change)

    def _one_hots_of(self, codec: TokenCodec) -> Affine:
        """From this codec's one-hots to those of another, value by value."""
        new, old = self.codec.one_hot_values, codec.one_hot_values
        return selection(
            [new.index(value) if value in new else None for value in old], len(new), self.device
        )

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B] or [B, A]."""
        # Everything is decided on tokens; numbers come back only at the end.
        before = self.codec.encode(state.observations)
        indices = self._action_indices(actions)
        after = self._apply_rules(before, indices)
        if self.structure.unresolved:
            self._classify(state.observations, actions, before, indices, after, generator)
        observations = self.codec.decode(after)
        rewards, terminations = self._outcomes(
            state.observations, actions, observations, before, after, indices
        )
        return ModelState(observations), Prediction(observations, rewards, terminations)

    def loss(
        self,
        segment: TrainingBatch,
        generator: torch.Generator,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """Cross-entropies of the classified features and the heads' errors.

        On the recorded transitions.
        """
        before, after = segment.observations[:, :-1], segment.observations[:, 1:]
        # A zero that hangs on the data keeps terms without a head on the right device.
        acts, zero = self.encode_actions(segment.actions), segment.mask.sum() * 0
        terms = {"state": zero, "reward": zero, "termination": zero}
        if self.structure.unresolved:
            tokens, targets = self.codec.encode(before), self.codec.encode(after)
            terms["state"] = self._cross_entropy(
                self._logits(before, acts), tokens, targets, segment.mask
            )
        transitions = torch.cat([self.inputs(before), acts, self.inputs(after)], -1)
        if self.structure.reward is None:
            rewards = self.reward_scale.normalize(segment.rewards[..., None]).squeeze(-1)
            terms["reward"] = masked_mean(
                huber(self.reward_head(transitions).squeeze(-1), rewards), segment.mask
            )
        if self.structure.termination is None:
            logits = self.termination_head(transitions).squeeze(-1)
            errors = weighted_cross_entropy(logits, segment.terminations, self.positive_weight)
            terms["termination"] = masked_mean(errors, segment.mask)
        return terms

    def describe(self) -> dict[str, Any]:
        """The learned structure as JSON, for `save`."""
        return asdict(self.structure)

    def restore(self, description: dict[str, Any]) -> None:
        """Rebuild for a structure of `describe`, before the weights are loaded."""
        structure = _Structure.from_json(description)
        max_values = max(feature.num_values for feature in structure.features)
        self._set_structure(
            structure, TokenRules.unknown(self._num_actions, len(structure.features), max_values)
        )

    def to_program(self, feature_names: Sequence[str] | None = None) -> ProgramModel:
        """What is known exactly, as a program that one can read, replay, save and correct.

        What the network predicts is `unknown` there: it stays as it is and counts as unexplained.

        Args:
            feature_names: Names of the O columns of an observation; None numbers the features.

        Raises:
            NotFittedError: The model was never fitted.
            ConfigError: Another number of names than there are columns.
        """
        check_fitted(self)
        is_numbered = isinstance(self.action_space, spaces.Discrete)
        first_action = int(self.action_space.start) if is_numbered else None  # type: ignore[attr-defined]
        writer = Writer.of(self.structure.features, feature_names, first_action)
        rules = TokenRules(self.sources.cpu().numpy(), self.tables.cpu().numpy())
        text = writer.text(rules, self.structure.reward, self.structure.termination)
        return ProgramModel(text, self.raw_observation_space, self.raw_action_space)

    @property
    def _num_actions(self) -> int:
        """Actions that rules tell apart; a Box action counts as one."""
        return int(self.action_space.n) if isinstance(self.action_space, spaces.Discrete) else 1

    def _action_indices(self, actions: Tensor) -> Tensor:
        # Rules count actions from 0.
        if isinstance(self.action_space, spaces.Discrete):
            return actions.long() - int(self.action_space.start)
        # Vectors of numbers are no categories, so that all of them share one rule.
        return torch.zeros(len(actions), dtype=torch.long, device=self.device)

    def _learn_structure(self, trajectories: Trajectories) -> None:
        features = detect_features(trajectories, self.observation_space)
        codec = TokenCodec(features)
        tokens = codec.encode(torch.as_tensor(trajectories.observations)).numpy()
        rows = trajectories.observation_of_step
        before, after = tokens[rows], tokens[rows + 1]
        num_values = np.array([feature.num_values for feature in features])
        actions = self._action_indices(torch.as_tensor(trajectories.actions)).cpu().numpy()
        num_actions = self._num_actions
        if self.config.finds_rules:
            rules = learn_rules(before, after, actions, num_actions, num_values)
        else:
            rules = TokenRules.unknown(num_actions, len(features), codec.max_values)
        unresolved = tuple(rules.unresolved)
        steps = TokenSteps(before, after, actions, num_actions, rules.copied)
        reward, termination = (
            find_outcome(values, steps, is_goal_tried, self.config.is_optimistic)
            # A constant is found even where rules are not looked for: no network learns it better.
            if self.config.finds_rules or len(np.unique(values)) == 1
            else None
            for values, is_goal_tried in (
                (trajectories.rewards, True),
                (trajectories.terminations, False),
            )
        )
        # Fewer categories where only a few differences occur, such as "one up".
        classes = tuple(_classes(before[:, f], after[:, f], int(num_values[f])) for f in unresolved)
        self._set_structure(_Structure(features, unresolved, classes, reward, termination), rules)

    def _set_structure(self, structure: _Structure, rules: TokenRules) -> None:
        self.structure = structure
        self.codec = TokenCodec(structure.features).to(self.device)
        self.register_buffer("sources", torch.tensor(rules.sources, device=self.device))
        self.register_buffer("tables", torch.tensor(rules.tables, device=self.device))
        self._arrange(FeatureLayout(self.num_features))

    def _apply_rules(self, before: Tensor, indices: Tensor) -> Tensor:
        """Next tokens [B, F] by the rules; where they say nothing, tokens stay."""
        # -1 would wrap around to the last feature; its entry is replaced below.
        sources = self.sources[indices]
        values = torch.gather(before, 1, sources.clamp_min(0))
        features = torch.arange(before.shape[1], device=before.device)
        after = self.tables[indices[:, None], features, values]
        return torch.where(after == UNKNOWN, before, after)

    def _classify(
        self,
        observations: Tensor,
        actions: Tensor,
        before: Tensor,
        indices: Tensor,
        after: Tensor,
        generator: torch.Generator | None,
    ) -> None:
        """Fill in the tokens of the features that have no rule under the row's action."""
        logits = self._logits(observations, self.encode_actions(actions))
        for number, feature in enumerate(self.structure.unresolved):
            if generator is None:
                category = logits[number].argmax(-1)
            else:
                # Drawn where the generator is.
                probabilities = torch.softmax(logits[number], -1).to(generator.device)
                category = (
                    torch.multinomial(probabilities, 1, generator=generator)
                    .squeeze(-1)
                    .to(self.device)
                )
            token = self._token_of(number, category, before[:, feature])
            # A feature may have rules under some actions and none under others.
            is_open = self.sources[indices, feature] == UNKNOWN
            after[:, feature] = torch.where(is_open, token, after[:, feature])

    def _token_of(self, number: int, category: Tensor, before: Tensor) -> Tensor:
        classes = self.structure.classes[number]
        if not classes:
            return category
        size = self.structure.features[self.structure.unresolved[number]].num_values
        return (before + torch.tensor(classes, device=before.device)[category]) % size

    def _category_of(self, number: int, before: Tensor, after: Tensor) -> Tensor:
        """The category of each recorded change.

        Differences that training never showed count as the nearest.
        """
        classes = self.structure.classes[number]
        if not classes:
            return after
        size = self.structure.features[self.structure.unresolved[number]].num_values
        ordered = torch.tensor(classes, device=before.device)
        # How far each recorded difference is from each category, around the circle of tokens.
        gap = ((after - before).unsqueeze(-1) - ordered) % size
        return torch.minimum(gap, size - gap).argmin(-1)  # differences go round

    def _cross_entropy(
        self, logits: list[Tensor], before: Tensor, after: Tensor, mask: Tensor
    ) -> Tensor:
        losses = []
        for number, feature in enumerate(self.structure.unresolved):
            targets = self._category_of(number, before[..., feature], after[..., feature])
            losses.append(
                F.cross_entropy(logits[number].flatten(0, -2), targets.flatten(), reduction="none")
            )
        # The mean over features, so that the weight of the term does not grow with their number.
        return masked_mean(torch.stack(losses).mean(0).view(mask.shape), mask)

    def _logits(self, observations: Tensor, acts: Tensor) -> list[Tensor]:
        output: Tensor = self.network(torch.cat([self.inputs(observations), acts], -1))
        return list(torch.split(output, self._class_sizes(), -1))

    def _class_sizes(self) -> list[int]:
        return [
            len(classes) or self.structure.features[feature].num_values
            for feature, classes in zip(
                self.structure.unresolved, self.structure.classes, strict=True
            )
        ]

    def _outcomes(
        self,
        observations: Tensor,
        actions: Tensor,
        following: Tensor,
        before: Tensor,
        after: Tensor,
        indices: Tensor,
    ) -> tuple[Tensor, Tensor]:
        reward, termination, num_actions = (
            self.structure.reward,
            self.structure.termination,
            self._num_actions,
        )
        rewards = None if reward is None else reward.read(before, after, indices, num_actions)
        terminations = (
            None if termination is None else termination.read(before, after, indices, num_actions)
        )
        # The heads are asked only for what no rule gives.
        if rewards is None or terminations is None:
            acts = self.encode_actions(actions)
            transitions = torch.cat([self.inputs(observations), acts, self.inputs(following)], -1)
            if rewards is None:
                rewards = self.reward_scale.restore(self.reward_head(transitions)).squeeze(-1)
            if terminations is None:
                terminations = self.termination_probability(
                    self.termination_head(transitions).squeeze(-1)
                )
        return rewards, terminations

    def inputs(self, observations: Tensor) -> Tensor:
        """Standardized numbers, and a one-hot beside each number of few values."""
        return torch.cat(
            [self.input_scale.normalize(observations), *self.codec.one_hots(observations)], -1
        )

    def _build(self, generator: torch.Generator) -> None:
        # Before any data: one feature of all columns, which the first fit replaces.
        if not hasattr(self, "structure"):
            self.structure = _Structure(
                (Feature(tuple(range(self.num_features)), self.num_features),)
            )
            self.codec = TokenCodec(self.structure.features)
            unknown = torch.full((self._num_actions, 1), UNKNOWN, device=self.device)
            self.register_buffer("sources", unknown)
            self.register_buffer("tables", unknown[..., None].repeat(1, 1, self.num_features))
        config, num_acts = self.config, self.encode_actions.size
        outputs = sum(self._class_sizes())
        num_inputs = self.num_features + self.codec.num_one_hots
        transition = 2 * num_inputs + num_acts
        self.network = None
        self.reward_head = None
        self.termination_head = None
        if outputs:
            self.network = Perceptron(
                (num_inputs + num_acts, *config.widths, outputs), config.activation, generator, 0.1
            )
        if self.structure.reward is None:
            self.reward_head = Perceptron(
                (transition, *config.reward_widths, 1), config.activation, generator
            )
        if self.structure.termination is None:
            sizes = (transition, *config.termination_widths, 1)
            self.termination_head = Perceptron(sizes, config.activation, generator)


def _categories(structure: _Structure) -> list[tuple[tuple[int, ...], str, float]]:
    """What each output of the network says.

    As (columns, kind, value or difference in the environment's units).
    """
    named = []
    for feature, classes in zip(structure.unresolved, structure.classes, strict=True):
        token = structure.features[feature]
        if classes:  # differences go round: the shorter way
            # Half of the range up or down: -1 and not size - 1.
            shortest = [
                (entry + token.num_values // 2) % token.num_values - token.num_values // 2
                for entry in classes
            ]
            named += [(token.columns, "difference", step * token.quantum) for step in shortest]
        else:
            values = [token.origin + token.quantum * number for number in range(token.num_values)]
            named += [(token.columns, "value", value) for value in values]
    return named


def _classes(
    before: np.ndarray[Any, Any], after: np.ndarray[Any, Any], size: int
) -> tuple[int, ...]:
    """The differences that occur, ordered, if there are fewer than tokens.

    Else () for absolute tokens.
    """
    # With as many differences as tokens, the next token itself is as good a category.
    differences = np.unique((after - before) % size)
    return tuple(differences.tolist()) if len(differences) < size else ()
