-- Projects and their immutable versions (S1.2).

CREATE TABLE project (
    number INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    latest_version INTEGER NOT NULL,
    -- The number that the next node gets that is seen for the first time.
    next_sequence INTEGER NOT NULL,
    UNIQUE (account, name)
) STRICT;

-- What the owner lets others do: viewer, runner, editor.
CREATE TABLE project_access (
    project INTEGER NOT NULL REFERENCES project (number) ON DELETE CASCADE,
    account TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (project, account)
) STRICT, WITHOUT ROWID;

CREATE INDEX project_access_by_account ON project_access (account, project);

CREATE TABLE project_version (
    project INTEGER NOT NULL REFERENCES project (number) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    author TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    comment TEXT NOT NULL,
    digest TEXT NOT NULL,
    node_count INTEGER NOT NULL,
    edge_count INTEGER NOT NULL,
    -- The document, deflated.
    document BLOB NOT NULL,
    PRIMARY KEY (project, version)
) STRICT;

-- When a node was first seen in any version of its project; never changed (S1.9).
CREATE TABLE project_node (
    project INTEGER NOT NULL REFERENCES project (number) ON DELETE CASCADE,
    -- Within a sub-graph "sub-graph/node".
    node TEXT NOT NULL,
    drag_sequence INTEGER NOT NULL,
    drag_in_time_ns INTEGER NOT NULL,
    PRIMARY KEY (project, node)
) STRICT, WITHOUT ROWID;

-- Canvases that were found right with certain operators: they are not looked at again (S1.3).
CREATE TABLE valid_canvas (
    digest TEXT PRIMARY KEY,
    time_ms INTEGER NOT NULL
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

-- Runs (S1.2 … S1.10). Rows of the hot path are inserted only; a node's row is its place in the committed log.

-- Execution graphs, each stored once. `graph`: msgpack, deflated.
CREATE TABLE plan (
    number INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    node_count INTEGER NOT NULL,
    graph BLOB NOT NULL
) STRICT;

CREATE TABLE run (
    number INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    project INTEGER NOT NULL,
    plan INTEGER NOT NULL REFERENCES plan (number),
    -- msgpack of what it was started with.
    spec BLOB NOT NULL,
    -- Parameters that were patched when it was started: msgpack of {rank: JSON}.
    changed BLOB NOT NULL,
    -- running, paused, succeeded, failed, cancelled
    state TEXT NOT NULL,
    revision INTEGER NOT NULL,
    end_ms INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    error INTEGER NOT NULL DEFAULT 0,
    cached INTEGER NOT NULL DEFAULT 0,
    order_wait_ms INTEGER NOT NULL DEFAULT 0,
    failure BLOB
) STRICT;

CREATE INDEX live_run ON run (number) WHERE state IN ('running', 'paused');
CREATE INDEX run_by_project ON run (project, number);
CREATE INDEX run_by_account ON run (account, number);

-- The committed log. Outputs that nobody needs any more are stripped of their values.
CREATE TABLE run_node (
    run INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    outputs BLOB NOT NULL,
    ended BLOB NOT NULL,
    PRIMARY KEY (run, rank)
) STRICT, WITHOUT ROWID;

-- What an earlier run has of a node, good as long as its key is the same.
CREATE TABLE kept_node (
    run INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    from_run INTEGER NOT NULL,
    ended BLOB NOT NULL,
    PRIMARY KEY (run, rank)
) STRICT, WITHOUT ROWID;

-- Nodes that left together. `content` is sent again under the same request id until the tasks are known.
CREATE TABLE batch (
    number INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    ranks BLOB NOT NULL,
    content BLOB NOT NULL,
    first_task TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX batch_by_run ON batch (run, number);

-- Parameters changed before a node started.
CREATE TABLE node_modification (
    run INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    params TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (run, rank, revision)
) STRICT, WITHOUT ROWID;

-- Results by what they are a function of.
CREATE TABLE cache (
    account TEXT NOT NULL,
    key BLOB NOT NULL,
    run INTEGER NOT NULL,
    node_id TEXT NOT NULL,
    outputs BLOB NOT NULL,
    size_bytes INTEGER NOT NULL,
    has_artifacts INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    used_ms INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) STRICT;

CREATE INDEX cache_by_use ON cache (used_ms);

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
