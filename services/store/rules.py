"""Who may call what: the store's rule table. What a caller may touch is decided in servicer/accounts.py."""

from services.chassis.security import ADMIN, AGENT, SERVICE, TASK, USER, VIEWER, RuleTable

_SERVICE = "/modelyard.v1.ArtifactService/"

RULES: RuleTable = {
    _SERVICE + "PutArtifact": frozenset({ADMIN, USER, AGENT, SERVICE, TASK}),
    _SERVICE + "GetArtifact": frozenset({ADMIN, USER, VIEWER, AGENT, SERVICE, TASK}),
    _SERVICE + "StatArtifact": frozenset({ADMIN, USER, VIEWER, AGENT, SERVICE, TASK}),
    _SERVICE + "ListArtifacts": frozenset({ADMIN, USER, VIEWER, SERVICE}),
    _SERVICE + "DeleteArtifact": frozenset({ADMIN, USER, SERVICE}),
    _SERVICE + "AddReferences": frozenset({ADMIN, USER, AGENT, SERVICE}),
    _SERVICE + "RemoveReferences": frozenset({ADMIN, USER, AGENT, SERVICE}),
    "/modelyard.v1.LineageService/ListLinks": frozenset({ADMIN, USER, VIEWER}),
}
