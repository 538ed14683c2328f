"""A small assembly with known rules: two blocs, recurring titles, drift-free."""

import numpy as np

from wm_agents.domains.resolutions import VoteData

TITLES = (
    "nuclear disarmament treaty",
    "human rights in the north",
    "development of trade",
    "status of the islands",
)


def assembly(num_years=12, per_year=24, num_countries=30, seed=0):
    """Each title has a direction.

    The first half of the countries leans to one side, the rest to the other.
    """
    generator = np.random.default_rng(seed)
    count = num_years * per_year
    years = 2000 + np.sort(generator.random(count)) * num_years
    topics = generator.integers(0, len(TITLES), count)
    positions = np.where(
        np.arange(num_countries) < num_countries // 2, 1.0, -1.0
    ) + 0.3 * generator.normal(size=num_countries)
    directions = np.array([3.0, -3.0, 0.0, 2.0])[topics]
    offsets = np.array([1.0, 1.0, 4.0, 0.0])[topics]
    z = offsets[:, None] + directions[:, None] * positions
    logits = np.stack([z, np.zeros_like(z), -z], 2)
    noise = generator.gumbel(size=logits.shape)
    votes = (logits + noise).argmax(2).astype(np.int8)
    votes[generator.random(votes.shape) < 0.1] = -1
    return VoteData(
        votes=votes,
        years=years,
        kinds=np.zeros(count, np.int8),
        issues=np.eye(len(TITLES), dtype=np.bool_)[topics],
        sponsors=np.zeros(votes.shape, np.bool_),
        titles=[TITLES[t] + " . general" for t in topics],
        descriptions=[TITLES[t] for t in topics],
        countries=[f"C{i}" for i in range(num_countries)],
        issue_names=list("abcd"),
        ids=[str(i) for i in range(count)],
    )


def moving_assembly(num_sessions=6, per_session=40, walk_std=0.2, seed=0):
    """Votes by the model of `IdealPoints`, and the true positions [S, C].

    The United States stand highest on average, Cuba lowest.
    """
    codes = ["US", "CU", "FR", "RU", "CN", "IN", "BR", "ZA", "IL", "IR", "JP", "DE", "TR", "KR"]
    codes += ["EG", "NG", "PW", "AU", "MX", "GB", "PL", "SE", "AR", "CL", "PE", "KE", "GH", "ML"]
    generator = np.random.default_rng(seed)
    steps = walk_std * generator.normal(size=(num_sessions, len(codes)))
    steps[0] = generator.normal(size=len(codes))
    positions = steps.cumsum(0)
    order = np.argsort(positions.mean(0))
    positions = positions[:, [order[-1], order[0], *order[1:-1]]]
    votes = []
    years = []
    for session, x in enumerate(positions):
        offsets, directions, widths = generator.normal(
            (1.5, 0, -0.3), (2, 2, 1), (per_session, 3)
        ).T
        z = offsets[:, None] + directions[:, None] * x
        logits = np.stack([z, np.broadcast_to(widths[:, None], z.shape), -z], 2)
        votes.append((logits + generator.gumbel(size=logits.shape)).argmax(2))
        years.append(2000.75 + session + 0.2 * np.sort(generator.random(per_session)))
    cast = np.concatenate(votes).astype(np.int8)
    cast[generator.random(cast.shape) < 0.1] = -1
    count = len(cast)
    data = VoteData(
        votes=cast,
        years=np.concatenate(years),
        kinds=np.zeros(count, np.int8),
        issues=np.zeros((count, 1), np.bool_),
        sponsors=np.zeros(cast.shape, np.bool_),
        titles=[""] * count,
        descriptions=[""] * count,
        countries=codes,
        issue_names=["any"],
        ids=[str(row) for row in range(count)],
    )
    return data, positions
