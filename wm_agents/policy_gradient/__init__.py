"""Policy gradients: REINFORCE and PPO with an optional world-model loss."""
