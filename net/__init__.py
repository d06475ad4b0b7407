"""From event focal stack to depth: estimators, metrics, and the network."""
