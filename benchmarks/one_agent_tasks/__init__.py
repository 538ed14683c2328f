"""What `benchmarks.one_agent` is made of: tasks, adapters of other suites, arms and the report."""
