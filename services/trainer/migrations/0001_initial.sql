-- Frameworks and jobs (S3). A job and its instances are written whole whenever they changed; what is inserted once stays.

-- Definitions that were registered. Version 0, shipped ones and plug-ins, has no row.
CREATE TABLE framework (
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    document TEXT NOT NULL,
    digest TEXT NOT NULL,
    account TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (id, version)
) STRICT;

CREATE TABLE job (
    number INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    framework TEXT NOT NULL,
    queue TEXT NOT NULL,
    state TEXT NOT NULL,
    revision INTEGER NOT NULL,
    create_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL,
    -- msgpack of state.Job.
    content BLOB NOT NULL
) STRICT;

CREATE INDEX live_job ON job (number) WHERE end_ms = 0;
CREATE INDEX job_by_account ON job (account, number);

CREATE TABLE instance (
    job INTEGER NOT NULL,
    role TEXT NOT NULL,
    place INTEGER NOT NULL,
    -- msgpack of state.Instance.
    content BLOB NOT NULL,
    PRIMARY KEY (job, role, place)
) STRICT, WITHOUT ROWID;

-- What was decided of a job: once.
CREATE TABLE outcome (
    job INTEGER PRIMARY KEY,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    time_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE condition (
    job INTEGER NOT NULL,
    kind TEXT NOT NULL,
    is_true INTEGER NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL
) STRICT;

CREATE INDEX condition_by_job ON condition (job, revision);

-- Seats that were asked for together, until the scheduler has answered.
CREATE TABLE batch (
    number INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    account TEXT NOT NULL,
    -- JSON: for each of the request's specifications the role, the first index, how many.
    parts TEXT NOT NULL,
    -- A serialised SubmitTasksRequest with its id: the same again gives the same tasks.
    content BLOB NOT NULL
) STRICT;

-- Metrics by step.
CREATE TABLE point (
    job INTEGER NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    place INTEGER NOT NULL,
    step INTEGER NOT NULL,
    value REAL NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (job, name, role, place, step)
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
