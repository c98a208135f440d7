"""Training as data: frameworks, jobs, and what they come to. What a plug-in for a framework imports."""

from modelyard.documents.problems import Problem, Reason, Refused
from modelyard.training.expressions.grammar import ExpressionError
from modelyard.training.expressions.templates import template
from modelyard.training.frameworks.definition import compile_framework
from modelyard.training.frameworks.framework import (
    Count,
    Framework,
    Param,
    ParamType,
    Port,
    ProgressSource,
    Role,
)
from modelyard.training.plans.jobfile import Changes, plan_job
from modelyard.training.plans.plan import Identity, Plan, PlannedRole
from modelyard.training.policies.conduct import AtEnd, Clean, Progress, Stop
from modelyard.training.policies.quorum import ALL, ANY, FIRST, NEVER, Quorum
from modelyard.training.policies.readiness import Dependency, Facts, OnTimeout, Readiness, ReadinessKind
from modelyard.training.policies.restarts import (
    Action,
    Cause,
    Ending,
    Per,
    Purse,
    Restart,
    RestartScope,
    Rule,
    ScopeKind,
    Verdict,
)
from modelyard.training.policies.status import Counts, JobPolicy, Outcome, RolePolicy, RoleState
from modelyard.training.rendering.creation import Create, File
from modelyard.training.rendering.launches import Launch, Process, RenderedFile, RenderError
from modelyard.training.rendering.scope import Address, InstanceView
from modelyard.training.sweeps import problems_of

__all__ = [
    "ALL", "ANY", "FIRST", "NEVER", "Action", "Address", "AtEnd", "Cause", "Changes", "Clean", "Count", "Counts",
    "Create", "Dependency", "Ending", "ExpressionError", "Facts", "File", "Framework", "Identity", "InstanceView",
    "JobPolicy", "Launch", "OnTimeout", "Outcome", "Param", "ParamType", "Per", "Plan", "PlannedRole", "Port",
    "Problem", "Process", "Progress", "ProgressSource", "Purse", "Quorum", "Readiness", "ReadinessKind", "Reason",
    "Refused", "RenderError", "RenderedFile", "Restart", "RestartScope", "Role", "RolePolicy", "RoleState", "Rule",
    "ScopeKind", "Stop", "Verdict", "compile_framework", "plan_job", "problems_of", "template",
]  # fmt: skip
