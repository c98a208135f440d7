-- The scheduler's truth. Rows of spec, task and change are only ever inserted: the live indexes are in memory.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE spec (
    number INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    -- What placement reads of it, as JSON; decoded at a restart.
    head BLOB NOT NULL
);

CREATE TABLE task (
    key INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    spec INTEGER NOT NULL,
    account TEXT NOT NULL,
    params TEXT NOT NULL,
    submit_ms INTEGER NOT NULL
);

CREATE INDEX task_by_account ON task (account, key);

-- What became of tasks, in the order in which it happened.
CREATE TABLE change (
    revision INTEGER PRIMARY KEY,
    task INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    node TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    cause INTEGER NOT NULL,
    detail TEXT NOT NULL,
    payload BLOB NOT NULL,
    -- Which of the node's devices the attempt holds: comma-separated indexes, so that a restart gives none out twice.
    devices TEXT NOT NULL DEFAULT ''
);

CREATE INDEX change_by_task ON change (task);

-- At most one outcome a task, whatever happens: 4 succeeded, 5 failed, 6 cancelled.
CREATE UNIQUE INDEX outcome_once ON change (task) WHERE state IN (4, 5, 6);

-- What was changed of tasks after their submission, and what agents said to it. Only ever inserted: the latest row of a
-- task says what holds.
CREATE TABLE modification (
    revision INTEGER PRIMARY KEY,
    task INTEGER NOT NULL,
    -- The modification that the verdicts belong to: this one, or an earlier one that an agent has answered.
    request_revision INTEGER NOT NULL,
    -- The attempt that was on a node; 0: none.
    attempt INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    -- What holds from here on.
    spec INTEGER NOT NULL,
    params TEXT NOT NULL,
    -- What the agent is yet to take in, and what became of the fields, as JSON.
    pending BLOB NOT NULL,
    verdicts BLOB NOT NULL
);

CREATE INDEX modification_by_task ON modification (task);

CREATE TABLE request (
    account TEXT NOT NULL,
    request_id TEXT NOT NULL,
    content BLOB NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (account, request_id)
) WITHOUT ROWID;

CREATE INDEX request_by_time ON request (time_ms);

CREATE TABLE node (
    id TEXT PRIMARY KEY,
    is_cordoned INTEGER NOT NULL,
    -- [[name, value, is removed], …] as JSON.
    labels TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE account (
    name TEXT PRIMARY KEY,
    create_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE token (
    id TEXT PRIMARY KEY,
    -- sha256 of the secret.
    hash BLOB NOT NULL UNIQUE,
    account TEXT NOT NULL,
    role TEXT NOT NULL,
    -- For role agent.
    node TEXT NOT NULL DEFAULT '',
    comment TEXT NOT NULL DEFAULT '',
    create_ms INTEGER NOT NULL,
    -- 0: never.
    expire_ms INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE INDEX token_by_account ON token (account);

CREATE TABLE join_token (
    hash BLOB PRIMARY KEY,
    -- Empty: any.
    node TEXT NOT NULL,
    expire_ms INTEGER NOT NULL,
    is_reusable INTEGER NOT NULL
) WITHOUT ROWID;
