-- What administrators say of queues and of accounts' parts, as JSON.
CREATE TABLE queue (
    name TEXT PRIMARY KEY,
    settings BLOB NOT NULL
);

CREATE TABLE share (
    account TEXT PRIMARY KEY,
    settings BLOB NOT NULL
) WITHOUT ROWID;

-- What part of the machines an account held through a queue; of the queue as a whole: no account.
CREATE TABLE use (
    queue TEXT NOT NULL,
    account TEXT NOT NULL,
    -- Decayed as of this moment, wall clock.
    decayed REAL NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (queue, account)
) WITHOUT ROWID;
