"""Words of canvases and their numbers in messages, and which settings of a node are messages themselves."""

from services.graph.model import CachePolicy, Comparison, OnError, Trigger

TRIGGERS = dict(zip(list(Trigger), (1, 2, 3), strict=True))
CACHE_POLICIES = dict(zip(list(CachePolicy), (1, 2, 3), strict=True))
ON_ERROR = dict(zip(list(OnError), (1, 2, 3), strict=True))
COMPARISONS = dict(zip(list(Comparison), range(1, 9), strict=True))
SETTINGS = ("retry", "placement", "resources", "environment")
