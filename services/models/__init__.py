"""From a trained file to an answered call (S2), and the catalogue of models (S0.9)."""
