"""The catalogue: models, versions, their configurations; how a component becomes a version that is READY."""
