"""Dynamic ideal points: where each country stood in each session, with intervals.

One dimension of the spatial voting model (`spatial.py`), whose positions move from session to
session. Country c at x_ct votes on roll call r of session t by adjacent-category logits (Agresti
2010, section 4.1), ordered no < abstain < yes:

    z = a_r + b_r x_ct,   P(yes, abstain, no) = softmax(z, w_r, -z),
    x_ct ~ N(x_c,t-1, walk_std^2),   x_c,first ~ N(0, initial_std^2).

b_r is the discrimination; the thresholds between no, abstain and yes are (-w_r - a_r) / b_r and
(w_r - a_r) / b_r. Votes are joined over time by the random walk alone, as in Martin and Quinn 2002.
The most probable parameters are found by Fisher scoring on all of them at once. The roll calls'
parameters are eliminated (Schur complement), which leaves one block of countries per session,
coupled to its neighbors by the walk; the inverse of that matrix is the covariance of the points,
in which the uncertainty of the roll calls' parameters is contained (Laplace). The walk's standard
deviation is read off a first fit with a loose walk: the mean squared change over k sessions is
k walk_std^2 plus the noise of two estimates, a line in k. Expectation maximization from the mode,
tried first, settled at three quarters of the true one in simulated assemblies.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.domains.resolutions.data import VoteData
from wm_agents.domains.resolutions.spatial import choice_probabilities
from wm_agents.errors import ConfigError, NonFiniteError, TrajectoryError
from wm_agents.training.checkpoints import Checkpoint, CheckpointManager
from wm_agents.training.config_checks import require_integers
from wm_agents.training.fitted import Fitted
from wm_agents.training.saving import Savable
from wm_agents.training.trainer import FitReport, Trainer
from wm_envs.resolutions.codes import Vote
from wm_envs.resolutions.countries import code_of

Doubles = NDArray[np.float64]

_MAX_HALVINGS = 12
_LOOSE_WALK = 0.7  # in the first half of the steps, from which the walk is learned
_LAGS = 3  # sessions over which changes are compared
_MIN_STD = 0.02  # below which a learned walk would freeze the points


@dataclass(frozen=True)
class IdealPointsConfig:
    """Priors and fitting of `IdealPoints`.

    Attributes:
        poles: Codes of two countries, the first on the positive side of the second on average; what
            is between the poles has no other sign.
        confidence: Of the intervals.
        initial_std: Prior standard deviation of a country's first point.
        walk_std: Standard deviation of the change from one session to the next; None learns it.
        offset_std: Prior standard deviation of a roll call's offset a.
        direction_std: Of its discrimination b.
        width_std: Of its readiness for abstentions w.
        num_steps: Steps of Fisher scoring.
    """

    poles: tuple[str, str] = ("US", "CU")
    confidence: float = 0.9
    initial_std: float = 1.0
    walk_std: float | None = None
    offset_std: float = 3.0
    direction_std: float = 2.0
    width_std: float = 1.5
    num_steps: int = 20

    def __post_init__(self) -> None:
        require_integers(2, num_steps=self.num_steps)
        stds = (self.initial_std, self.offset_std, self.direction_std, self.width_std)
        walk_std = 1.0 if self.walk_std is None else self.walk_std
        if min(*stds, walk_std) <= 0 or not 0 < self.confidence < 1:
            raise ConfigError(
                f"standard deviations are positive and confidence within 0 to 1, got {self}"
            )
        if len(set(self.poles)) != 2:
            raise ConfigError(f"poles are two different countries, got {self.poles!r}")


class IdealPoints(Savable, Fitted):
    """Points of C countries in S sessions, fitted to their votes.

    Points have mean 0 and standard deviation 1 over those who voted in a session; intervals are
    those of points so standardized. Not a number where a country cast no vote in a session.

    Attributes after `fit`:
        countries: C codes.
        sessions: [S] numbers of the sessions, rising.
        points: [S, C].
        low: [S, C], lower limits.
        high: [S, C], upper limits.
        changes: [S, C], from the session before; not a number where one of both is missing.
        change_stds: [S, C], their standard deviations.
        num_votes: [S, C].
        walk_std: The standard deviation of the walk.
        offsets: [R], a; `directions` [R], b, and `widths` [R], w, of the roll calls, on the scale of
            `positions`.
        positions: [S, C], points before standardization.
        session_of: [R], the row of each roll call's session.

    Args:
        config: Priors and fitting.
    """

    kind = "ideal points"
    is_cpu_only = True
    needs_fit: ClassVar[tuple[str, ...]] = ("probabilities", "to_pandas", "_stored", "column")

    def __init__(self, config: IdealPointsConfig | None = None) -> None:
        self.config = IdealPointsConfig() if config is None else config

    def fit(
        self,
        data: VoteData,
        config: IdealPointsConfig | None = None,
        *,
        checkpoints: CheckpointManager | str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> FitReport:
        """Find the most probable points and their covariance.

        Args:
            data: R roll calls of C countries.
            config: Takes the place of the constructor's.
            checkpoints: Where to save and to resume from, bitwise.
            progress: Show a progress bar.

        Returns:
            The report; its metrics hold the learned walk_std.

        Raises:
            TrajectoryError: Nobody voted, or a pole is not among the countries.
            NonFiniteError: The posterior is not finite.
            CheckpointError: The checkpoints are of another fit.
        """
        config = self.config if config is None else config
        for pole in config.poles:
            if pole not in data.countries:
                raise TrajectoryError(
                    f"pole {pole!r} is not among these {len(data.countries)} countries: give two "
                    "of them as IdealPointsConfig(poles=...)"
                )
        if not data.is_present.any():
            raise TrajectoryError("nobody voted on any of these roll calls")
        self.config = config
        run = _IdealPointsRun(config, data)
        report = Trainer(
            run,
            config.num_steps,
            description="ideal points",
            checkpoints=checkpoints,
            progress=progress,
        ).train()
        self._keep(run, data)
        report.metrics["walk_std"] = self.walk_std
        self.is_fitted = True
        return report

    def column(self, country: str) -> int:
        """Where a country stands, by its code or any of its names.

        Raises:
            TrajectoryError: It is not among the countries.
        """
        code = country if country in self.countries else code_of(country)
        if code is None or code not in self.countries:
            raise TrajectoryError(
                f"country {country!r} is not among these {len(self.countries)}: give a code such as "
                f"{self.countries[0]}"
            )
        return self.countries.index(code)

    def probabilities(self) -> NDArray[np.float32]:
        """[R, C, 3] of yes, abstain and no at the fitted parameters, for those absent too."""
        x = np.nan_to_num(self.positions)[self.session_of]  # [R, C]
        z = self.offsets[:, None] + self.directions[:, None] * x
        return choice_probabilities(z.astype(np.float32), self.widths[:, None].astype(np.float32))

    def to_pandas(self) -> Any:
        """One row per country and session in which it voted.

        Columns: country, session, point, low, high, change, change_std, num_votes. Needs pandas,
        which the extra `data` brings.
        """
        import pandas as pd

        rows, columns = np.nonzero(np.isfinite(self.points))
        fields = ("point", "low", "high", "change", "change_std", "num_votes")
        arrays = (
            self.points,
            self.low,
            self.high,
            self.changes,
            self.change_stds,
            self.num_votes,
        )
        table = {"country": [self.countries[c] for c in columns], "session": self.sessions[rows]}
        table |= {name: array[rows, columns] for name, array in zip(fields, arrays, strict=True)}
        return pd.DataFrame(table).sort_values(["country", "session"], ignore_index=True)

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in _LEARNED
        }
        return tensors, {
            "config": asdict(self.config),
            "countries": self.countries,
            "walk_std": self.walk_std,
        }

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        settings = dict(stored.metadata["config"])
        settings["poles"] = tuple(settings["poles"])
        model = cls(IdealPointsConfig(**settings))
        for name in _LEARNED:
            setattr(model, name, stored.tensors[name].numpy())
        model.countries = [str(code) for code in stored.metadata["countries"]]
        model.walk_std = float(stored.metadata["walk_std"])
        _check_sizes(model)
        model.is_fitted = True
        return model

    def _keep(self, run: "_IdealPointsRun", data: VoteData) -> None:
        """Standardized points with their limits, on the side that the poles say."""
        places = [list(data.countries).index(pole) for pole in self.config.poles]
        first, second = run.x[:, places].T
        # Poles that never voted in the same session are compared over all sessions.
        are_both = run.num_votes[:, places].all(1)
        gap = (first - second)[are_both if are_both.any() else slice(None)].mean()
        sign = -1.0 if gap < 0 else 1.0
        covariances, crossed = run.covariances()
        # A country between two sessions in which it voted has a point, and none is reported.
        has_vote = run.num_votes > 0
        self.countries = list(data.countries)
        self.sessions = run.sessions
        self.session_of = run.session_of
        self.num_votes = run.num_votes
        self.walk_std = run.walk_std
        self.positions = np.where(run.is_active, sign * run.x, np.nan)
        self.offsets = run.items[:, 0].copy()
        self.directions = sign * run.items[:, 1]
        self.widths = run.items[:, 2].copy()
        points = np.full_like(run.x, np.nan)
        stds = np.full_like(run.x, np.nan)
        changes = np.full_like(run.x, np.nan)
        change_stds = np.full_like(run.x, np.nan)
        before: Doubles | None = None
        for s, covariance in enumerate(covariances):
            voted = has_vote[s]
            points[s, voted], slopes = _standardized(sign * run.x[s], voted)
            spread = slopes @ covariance @ slopes.T
            stds[s, voted] = np.sqrt(np.diag(spread)[voted])
            if before is not None:
                both = voted & has_vote[s - 1]
                shared = np.einsum("ij,jk,ik->i", before, crossed[s - 1], slopes, optimize=True)
                # The variance of a difference takes off twice the covariance of both sessions.
                variance = stds[s] ** 2 + stds[s - 1] ** 2 - 2 * shared
                changes[s, both] = (points[s] - points[s - 1])[both]
                change_stds[s, both] = np.sqrt(np.maximum(variance[both], 0))
            before = slopes
        reach = NormalDist().inv_cdf(0.5 + self.config.confidence / 2) * stds
        self.points = points
        self.low = points - reach
        self.high = points + reach
        self.changes = changes
        self.change_stds = change_stds


_LEARNED = (
    "sessions",
    "points",
    "low",
    "high",
    "changes",
    "change_stds",
    "num_votes",
    "positions",
    "offsets",
    "directions",
    "widths",
    "session_of",
)


def _check_sizes(model: IdealPoints) -> None:
    """Raise ValueError unless all arrays are of the same sessions, countries and roll calls."""
    by_point = (len(model.sessions), len(model.countries))
    for name in ("points", "low", "high", "changes", "change_stds", "num_votes", "positions"):
        if getattr(model, name).shape != by_point:
            raise ValueError(f"{name} has shape {getattr(model, name).shape}, not {by_point}")
    by_roll_call = (len(model.offsets),)
    for name in ("directions", "widths", "session_of"):
        if getattr(model, name).shape != by_roll_call:
            raise ValueError(f"{name} has shape {getattr(model, name).shape}, not {by_roll_call}")
    rows = model.session_of
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(model.sessions):
        raise ValueError("session_of speaks of sessions that are not there")


def _standardized(x: Doubles, voted: NDArray[np.bool_]) -> tuple[Doubles, Doubles]:
    """Points of those who voted, and the derivatives [C, C] of all points by all x."""
    size = int(voted.sum())
    centered = x[voted] - x[voted].mean()
    spread = max(float(np.sqrt((centered**2).mean())), 1e-9)
    points = centered / spread
    # The derivative of (x - mean) / spread: shifts and stretches of all points have no effect.
    inner = np.eye(size) - 1 / size - np.outer(points, points) / size
    slopes = np.zeros((len(x), len(x)))
    slopes[np.ix_(voted, voted)] = inner / spread
    return points, slopes


class _IdealPointsRun:
    """Steps of Fisher scoring on all points and roll calls at once (`trainer.TrainingRun`)."""

    def __init__(self, config: IdealPointsConfig, data: VoteData) -> None:
        self.config = config
        # Roll calls are in the order of their dates, so that a session is a slice of rows.
        self.votes = data.votes
        self.sessions, self.session_of = np.unique(data.sessions, return_inverse=True)
        self.starts = np.searchsorted(self.session_of, np.arange(len(self.sessions) + 1))
        present = data.is_present
        self.num_votes = np.add.reduceat(present.astype(np.int64), self.starts[:-1], axis=0)
        # A country that stayed away for a session is still somewhere.
        voted = self.num_votes > 0
        since = np.maximum.accumulate(voted, 0)
        until = np.maximum.accumulate(voted[::-1], 0)[::-1]
        self.is_active = since & until  # [S, C]
        self.is_first = since & ~np.vstack([np.zeros_like(since[:1]), since[:-1]])
        self.gaps = np.diff(self.sessions).astype(float)  # [S - 1]
        self.is_loose = config.walk_std is None
        self.walk_std = _LOOSE_WALK if config.walk_std is None else config.walk_std
        stds = np.array([config.offset_std, config.direction_std, config.width_std])
        self.item_precision = 1 / stds**2
        self.x = self._initial()  # [S, C]
        self.items = np.zeros((len(self.votes), 3))  # [R, 3]: a, b, w
        for _ in range(6):  # given the points, the posterior of each roll call is log-concave
            terms = [self._terms(s) for s in range(len(self.sessions))]
            steps = [np.linalg.solve(i, g[..., None])[..., 0] for _, _, g, i, _ in terms]
            # Steps from a flat start overshoot where nearly all voted alike.
            self.items += np.clip(np.concatenate(steps), -2, 2)

    def step(self, update: int) -> dict[str, float]:
        """One step for points and roll calls together."""
        # The points of the first steps have too much of the start in them to learn the walk from.
        if self.is_loose and update >= self.config.num_steps // 2:
            self.walk_std = self._learned_walk()
            self.is_loose = False
        before = self._posterior(self.x, self.items)
        terms = [self._terms(s) for s in range(len(self.sessions))]
        blocks, right = self._system(terms)
        inverses = self._forward(blocks)
        dx = self._solve(inverses, right)
        d_items = np.concatenate(
            [
                np.linalg.solve(info, (gradient - np.einsum("rcj,c->rj", cross, dx[s]))[..., None])
                for s, (_, _, gradient, info, cross) in enumerate(terms)
            ]
        )[..., 0]
        length = 1.0
        # A whole step can overshoot: halved until the posterior no longer falls.
        for _ in range(_MAX_HALVINGS):
            after = self._posterior(self.x + length * dx, self.items + length * d_items)
            if after >= before:
                self.x = self.x + length * dx
                self.items = self.items + length * d_items
                break
            length /= 2
        self._rescale()
        if not np.isfinite(before):
            raise NonFiniteError(f"the posterior is not finite at step {update} of the points")
        return {"loss": -max(before, after) / max(int((self.votes >= 0).sum()), 1)}

    def covariances(self) -> tuple[list[Doubles], list[Doubles]]:
        """Of the points of each session, S times [C, C], and with those of the next, S - 1 times."""
        terms = [self._terms(s) for s in range(len(self.sessions))]
        inverses = self._forward(self._system(terms)[0])
        own = [inverses[-1]]
        crossed: list[Doubles] = []
        # Backwards through the chain, as in a Rauch-Tung-Striebel smoother.
        for s in range(len(inverses) - 2, -1, -1):
            gain = inverses[s] * self._coupling(s)  # [C, C], columns scaled
            crossed.append(gain @ own[-1])
            own.append(inverses[s] + crossed[-1] @ gain.T)
        return own[::-1], crossed[::-1]

    def state_dict(self) -> dict[str, Any]:
        """Points, parameters of the roll calls, the walk."""
        return {
            "x": torch.from_numpy(self.x.copy()),
            "items": torch.from_numpy(self.items.copy()),
            "walk_std": self.walk_std,
            "is_loose": self.is_loose,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same fit."""
        self.x = state["x"].numpy().copy()
        self.items = state["items"].numpy().copy()
        self.walk_std = float(state["walk_std"])
        self.is_loose = bool(state["is_loose"])

    def fingerprint(self) -> dict[str, Any]:
        """Settings and a hash of the votes."""
        digest = hashlib.sha256(np.ascontiguousarray(self.votes).tobytes())
        digest.update(np.ascontiguousarray(self.session_of).tobytes())
        return {
            "kind": IdealPoints.kind,
            "config": asdict(self.config),
            "shape": list(self.votes.shape),
            "votes": digest.hexdigest(),
        }

    def _initial(self) -> Doubles:
        """The first principal axis of each session and its neighbors, turned alike."""
        score = (self.votes == Vote.YES).astype(float) - (self.votes == Vote.NO)
        present = self.votes != Vote.ABSENT
        share = present.sum(1, keepdims=True)
        centered = np.where(present, score - score.sum(1, keepdims=True) / np.maximum(share, 1), 0)
        x = np.zeros(self.is_active.shape)
        for s in range(len(x)):
            # With both neighbors, since a short session has too few roll calls for an axis of its
            # own.
            rows = slice(self.starts[max(s - 1, 0)], self.starts[min(s + 2, len(x))])
            vectors = np.linalg.svd(centered[rows], full_matrices=False)[2]
            axis = vectors[0] * self.is_active[s]
            axis = axis / max(float(axis[self.is_active[s]].std()), 1e-9)
            # Axes of a singular value decomposition have no sign: each follows the session before.
            if s and float(axis @ x[s - 1]) < 0:
                axis = -axis
            x[s] = np.where(self.is_active[s], np.clip(axis, -3, 3), 0.0)
        return x

    def _logits(self, s: int, x: Doubles, items: Doubles) -> tuple[Doubles, Doubles, slice]:
        rows = slice(self.starts[s], self.starts[s + 1])
        a, b, w = items[rows].T
        z = a[:, None] + b[:, None] * x[s]  # [R, C]
        return z, np.broadcast_to(w[:, None], z.shape), rows

    def _terms(self, s: int) -> tuple[Doubles, Doubles, Doubles, Doubles, Doubles]:
        """Gradients and Fisher information of session s.

        Returns:
            Of the points [C] and [C]; of the roll calls, prior included, [R, 3] and [R, 3, 3]; of
            both together [R, C, 3].
        """
        z, h, rows = self._logits(s, self.x, self.items)
        chances = _softmax(z, h)
        votes = self.votes[rows]
        mask = votes != Vote.ABSENT
        yes, abstain, no = np.moveaxis(chances, 2, 0)
        mean = yes - no
        # Residuals of the two logits, z of yes against no and h of abstaining.
        g1 = ((votes == Vote.YES).astype(float) - (votes == Vote.NO) - mean) * mask
        g2 = ((votes == Vote.ABSTAIN) - abstain) * mask
        # The Fisher information of both logits: the covariance of (yes - no, abstain) under the
        # model.
        v11 = (yes + no - mean**2) * mask
        v12 = -mean * abstain * mask
        v22 = abstain * (1 - abstain) * mask
        x = self.x[s]
        b = self.items[rows, 1][:, None]
        gradient = np.stack([g1.sum(1), g1 @ x, g2.sum(1)], 1)
        information = np.empty((len(z), 3, 3))
        information[:, 0, 0] = v11.sum(1)
        information[:, 0, 1] = information[:, 1, 0] = v11 @ x
        information[:, 1, 1] = v11 @ x**2
        information[:, 0, 2] = information[:, 2, 0] = v12.sum(1)
        information[:, 1, 2] = information[:, 2, 1] = v12 @ x
        information[:, 2, 2] = v22.sum(1)
        # The normal priors of offset, direction and width.
        gradient -= self.items[rows] * self.item_precision
        information += np.diag(self.item_precision)
        cross = np.stack([b * v11, b * v11 * x, b * v12], 2)
        return (b * g1).sum(0), (b**2 * v11).sum(0), gradient, information, cross

    def _coupling(self, s: int) -> Doubles:
        """Precision [C] of the walk from session s to the next, 0 where there is none."""
        both = self.is_active[s] & self.is_active[s + 1]
        return both / (self.walk_std**2 * self.gaps[s])

    def _system(self, terms: list[Any]) -> tuple[Doubles, Doubles]:
        """The points' information [S, C, C] within each session, and the right side [S, C]."""
        size = self.x.shape[1]
        blocks = np.empty((len(terms), size, size))
        right = np.empty_like(self.x)
        initial = self.is_first / self.config.initial_std**2  # [S, C]
        for s, (gradient, information, of_items, info, cross) in enumerate(terms):
            # The roll calls are eliminated first: they are many, and independent given the points.
            inverse = np.linalg.inv(info)  # [R, 3, 3]
            root = np.linalg.cholesky(inverse)
            whitened = (cross @ root).transpose(1, 0, 2).reshape(size, -1)
            # A one on the diagonal of a country that is not there keeps the block invertible.
            diagonal = information + initial[s] + ~self.is_active[s]
            slope = gradient - initial[s] * self.x[s]
            slope -= np.einsum("rcj,rjk,rk->c", cross, inverse, of_items, optimize=True)
            for other in (s - 1, s + 1):
                if 0 <= other < len(terms):
                    coupling = self._coupling(min(s, other))
                    diagonal = diagonal + coupling
                    slope -= coupling * (self.x[s] - self.x[other])
            blocks[s] = np.diag(diagonal) - whitened @ whitened.T
            right[s] = slope
        return blocks, right

    def _forward(self, blocks: Doubles) -> Doubles:
        """Inverses [S, C, C] of the pivots of block elimination."""
        inverses = np.empty_like(blocks)
        inverses[0] = np.linalg.inv(blocks[0])
        for s in range(1, len(blocks)):
            coupling = self._coupling(s - 1)
            # Schur complement of the session before: couplings are diagonal, the inverse is full.
            reduced = blocks[s] - coupling[:, None] * inverses[s - 1] * coupling
            inverses[s] = np.linalg.inv(reduced)
        return inverses

    def _solve(self, inverses: Doubles, right: Doubles) -> Doubles:
        """The points' step [S, C]."""
        carried = right.copy()
        for s in range(1, len(carried)):
            carried[s] += self._coupling(s - 1) * (inverses[s - 1] @ carried[s - 1])
        step = np.empty_like(carried)
        step[-1] = inverses[-1] @ carried[-1]
        for s in range(len(carried) - 2, -1, -1):
            step[s] = inverses[s] @ (carried[s] + self._coupling(s) * step[s + 1])
        return step

    def _posterior(self, x: Doubles, items: Doubles) -> float:
        """The log posterior up to a constant."""
        total = 0.0
        for s in range(len(self.sessions)):
            z, h, rows = self._logits(s, x, items)
            votes = self.votes[rows]
            top = np.maximum(np.abs(z), h)
            norm = top + np.log(np.exp(z - top) + np.exp(h - top) + np.exp(-z - top))
            chosen = np.select([votes == Vote.YES, votes == Vote.ABSTAIN], [z, h], -z)
            total += float(((chosen - norm) * (votes != Vote.ABSENT)).sum())
            if s:
                change = x[s] - x[s - 1]
                total -= 0.5 * float((self._coupling(s - 1) * change**2).sum())
        total -= 0.5 * float((items**2 * self.item_precision).sum())
        total -= 0.5 * float((x**2 * self.is_first).sum()) / self.config.initial_std**2
        return total

    def _rescale(self) -> None:
        """Give points the unit of their prior.

        Points and discriminations share a scale that the votes do not fix, and the mode of both
        together lies far from it.
        """
        # Only the product of direction and point is observed: one of both needs a unit.
        spread = float(self.x[self.is_active].std()) / self.config.initial_std
        if spread > 0:
            self.x /= spread
            self.items[:, 1] *= spread

    def _learned_walk(self) -> float:
        """Slope of the mean squared changes of standardized points over the number of sessions.

        Over pairs of sessions in which a country voted.
        """
        voted = self.num_votes > 0
        points = np.full_like(self.x, np.nan)
        for s, mask in enumerate(voted):
            points[s, mask] = _standardized(self.x[s], mask)[0]
        # Several lags, since noise of the points adds to every lag alike and only the walk to the
        # slope.
        lags = np.arange(1, min(_LAGS, len(points) - 1) + 1)
        squares = [np.nanmean((points[lag:] - points[:-lag]) ** 2) for lag in lags]
        if len(lags) < 2:
            return _LOOSE_WALK
        slope = float(np.polyfit(lags, squares, 1)[0])
        return max(float(np.sqrt(max(slope, 0.0))), _MIN_STD)


def _softmax(z: Doubles, h: Doubles) -> Doubles:
    """softmax(z, h, -z) along a new last axis, in double precision."""
    top = np.maximum(np.abs(z), h)
    exponentials = np.stack([np.exp(z - top), np.exp(h - top), np.exp(-z - top)], 2)
    result: Doubles = exponentials / exponentials.sum(2, keepdims=True)
    return result
