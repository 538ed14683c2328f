import numpy as np

from benchmarks.ideal_points import simulated_assembly, write_reference
from benchmarks.martin_quinn import sample_points
from wm_agents.domains.resolutions.ideal_points_page import read_reference
from wm_envs.resolutions.countries import CODES


def test_sampled_points_are_those_of_a_simulated_assembly(tmp_path):
    data, positions = simulated_assembly(0, num_sessions=4, num_countries=20)
    centered = positions - positions.mean(1, keepdims=True)
    truth = centered / centered.std(1, keepdims=True)
    order = np.argsort(positions.mean(0))
    poles = (f"C{order[-1]}", f"C{order[0]}")
    sampled = sample_points(data, poles, num_sweeps=60, num_burn_in=40)
    correlations = [np.corrcoef(*pair)[0, 1] for pair in zip(sampled.points, truth, strict=True)]
    assert min(correlations) > 0.9
    assert ((sampled.low < sampled.points) & (sampled.points < sampled.high)).all()
    again = sample_points(data, poles, num_sweeps=60, num_burn_in=40)
    np.testing.assert_array_equal(again.points, sampled.points)
    # What it writes is read as any other estimate is.
    write_reference(sampled, CODES[:20], tmp_path / "sampled.csv")
    assert len(read_reference(tmp_path / "sampled.csv").points) == 80
