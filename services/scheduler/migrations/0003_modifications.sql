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
