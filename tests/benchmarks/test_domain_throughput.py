from benchmarks.domain_throughput import ENV_IDS, Config, main


def test_every_contender_moves_and_ends_episodes():
    figures = main(Config(num_turns=1, is_written=False))
    assert len(figures) == 2 * (len(ENV_IDS) + 1)
    for figure in figures.values():
        assert figure["steps_per_cpu_second"] > 0
        assert figure["episodes"] > 0
        assert figure["changed_observations"] > 0
