"""What is said of fields in their JSON Schemas, for who writes a file in an editor. Pure."""

from __future__ import annotations

from modelyard.documents.problems import Kind

JOB, FRAMEWORK = Kind.JOB, Kind.FRAMEWORK

WORDS: dict[tuple[Kind | None, str], str] = {
    (JOB, "framework"): "An id, or id@version.",
    (JOB, "name"): "For people; small letters, digits and -.",
    (JOB, "queue"): "Whose turn it is decides with whom it shares.",
    (JOB, "priority"): "Within its queue; higher goes first.",
    (JOB, "params"): "The framework's parameters.",
    (JOB, "argv"): "The command of roles to which the framework gives none.",
    (JOB, "env"): "Variables of every instance.",
    (JOB, "resources"): "What each instance holds.",
    (
        JOB,
        "environment",
    ): "What all roles run in that say nothing else: packages, or the image of containers.",
    (JOB, "gang"): "Who must have a place before anybody starts.",
    (JOB, "gang.min"): "all, or a number by role.",
    (
        JOB,
        "gang.wait",
    ): "After so long everything is given back, and the job goes behind those of its priority.",
    (JOB, "limits.active_deadline"): "How long the job may run.",
    (JOB, "limits.ttl"): "How long what is left of it is kept.",
    (JOB, "roles"): "By the framework's names.",
    (JOB, "job_status"): "Which roles decide, instead of the framework's words.",
    (JOB, "success"): "What must be there besides exit codes.",
    (JOB, "hang"): "Silent, idle and without progress for so long is a failure.",
    (JOB, "checkpoints"): "A directory whose newest complete checkpoint is handed on after a restart.",
    (JOB, "progress"): "Lines or a file from which progress is read.",
    (JOB, "suspend"): "Starts suspended.",
    (JOB, "preemptible"): "May make room for a job of higher priority.",
    (FRAMEWORK, "id"): "Small letters, digits and -.",
    (FRAMEWORK, "summary"): "One sentence, for people.",
    (FRAMEWORK, "params"): "What a job may set.",
    (FRAMEWORK, "ranks"): "Roles in the order of the ranks of their processes.",
    (FRAMEWORK, "roles"): "Instances that are alike, and their function set.",
    (FRAMEWORK, "job_status"): "Which roles decide: chief, all(a, b), any(a, all(b, c)).",
    (FRAMEWORK, "ttl"): "How long what is left of a job is kept.",
    (None, "depend"): "What must be true of other roles before an instance starts.",
    (None, "ready"): "What makes an instance ready for those that ask for no more.",
    (None, "restart"): "What follows when an instance ends.",
    (None, "status"): "When the role has succeeded, failed, runs: all, any, 3, 50%, first, never.",
    (None, "stop"): "How an instance is asked to end.",
    (None, "clean"): "What becomes of instances at the job's end, and which files are kept.",
    (None, "create"): "Processes and files of an instance.",
    (None, "service"): "Ports that every instance has, leased by its agent.",
    (None, "quorum"): "all, any, 3, 50%, first.",
    (None, "scope"): "instance, role, job, or a list of roles.",
    (None, "max"): "The most; of restarts −1 is without bound.",
    (None, "count"): "How many instances.",
    (None, "placement"): "Where instances may go.",
    (None, "environment"): "Instead of the job's.",
    (None, "image"): "Processes run in containers of this image, for example python:3.11-slim.",
    (None, "requirements"): "Lines of a requirements file.",
    (None, "imports"): "Modules that a warm parent may have imported.",
}
"""By document and path, or by name wherever it stands."""

SWEEP: dict[str, str] = {
    "name": "For people; small letters, digits and -.",
    "space": "Parameters by name: a list of values, or a range by one word.",
    "metric": "By which trials are compared: a name, or name, mode, role and pick.",
    "search": "grid, random or asha.",
    "search.asha.by": "What is counted until trials are compared.",
    "search.asha.max": "How far a whole trial goes.",
    "parallel": "So many trials at a time.",
    "target": "A trial whose metric is as good as this ends the sweep.",
    "max_failures": "More trials than this that fail end the sweep; −1: none do.",
}
"""By path, of kind: Sweep."""
