from benchmarks.model_training_speed import Config, main


def test_all_contenders_learn_alike():
    figures = main(Config(width=64, num_inputs=6, num_updates=80, num_turns=4, is_written=False))
    assert figures["separate_networks_samples_per_cpu_second"] > 0
    assert (
        figures["one_program_float32_held_out_error"]
        < 1.1 * figures["separate_networks_held_out_error"]
    )
