-- The catalogue (S0.9, S2.1–S2.3). What is inserted once stays; models, versions and revisions are written whole.

CREATE TABLE model (
    name TEXT PRIMARY KEY,
    -- msgpack of state.Model.
    content BLOB NOT NULL
) STRICT;

CREATE TABLE version (
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    -- msgpack of state.Version.
    content BLOB NOT NULL,
    PRIMARY KEY (model, version)
) STRICT, WITHOUT ROWID;

-- Revisions of model.yaml.
CREATE TABLE config (
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- msgpack of state.Revision.
    content BLOB NOT NULL,
    PRIMARY KEY (model, version, revision)
) STRICT, WITHOUT ROWID;

-- What was found in a component's files, by its digest: JSON of Inspection.
CREATE TABLE finding (
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (model, version)
) STRICT, WITHOUT ROWID;

-- Every change of an alias; the latest of each is the alias.
CREATE TABLE alias_change (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    from_version INTEGER NOT NULL,
    to_version INTEGER NOT NULL,
    account TEXT NOT NULL,
    comment TEXT NOT NULL,
    time_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX alias_change_by_model ON alias_change (model, number);

-- Inspections and probes that are under way.
CREATE TABLE step (
    number INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    -- A serialised SubmitTasksRequest with its id: the same again gives the same task.
    content BLOB NOT NULL
) STRICT;

-- Calls by day, version and account: statistics.
CREATE TABLE usage (
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    account TEXT NOT NULL,
    day INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    compute_s REAL NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (model, version, day, account)
) STRICT, WITHOUT ROWID;

-- First answers to requests with an id; see chassis.answers.
CREATE TABLE answer (
    account TEXT NOT NULL,
    request_id TEXT NOT NULL,
    content BLOB NOT NULL,
    answer BLOB NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (account, request_id)
) STRICT;

CREATE INDEX answer_by_time ON answer (time_ms);

-- What is owed to other services once a step is on disk; see chassis.errands.
CREATE TABLE errand (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
