-- What services want told of an account's work: a row for each event, told or not, so that it is told once.
CREATE TABLE message (
    number INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    event_id TEXT NOT NULL,
    text TEXT NOT NULL,
    -- A JSON object, for webhooks.
    facts TEXT NOT NULL,
    create_ms INTEGER NOT NULL,
    UNIQUE (account, event_id)
);

CREATE INDEX message_by_age ON message (create_ms);

-- 0: what it says is read off the task.
ALTER TABLE delivery ADD COLUMN message INTEGER NOT NULL DEFAULT 0;

CREATE INDEX delivery_by_message ON delivery (message) WHERE message > 0;
