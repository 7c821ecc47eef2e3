"""Studies of the method itself, each with one figure: toy, traces, scaling, tau, latent."""
