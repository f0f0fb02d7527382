"""Songs composed by rule and played by FluidSynth; each is a pure function of (seed, number)."""
