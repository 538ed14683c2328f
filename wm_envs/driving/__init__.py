"""A racing car on closed circuits: tyres, fuel, the physical limit and an expert driver."""
