"""Songs composed by rule and played by FluidSynth: every one is a pure function of (seed, number)."""
