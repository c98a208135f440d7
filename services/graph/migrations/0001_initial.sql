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
