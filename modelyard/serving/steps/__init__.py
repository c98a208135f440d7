"""What happens to values before and after the computation: operations by name, and the component's own code (S2.5)."""

from modelyard.serving.steps.pipeline import Pipeline, prepare

__all__ = ["Pipeline", "prepare"]
