CREATE TABLE entry (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    rpc TEXT NOT NULL,
    role TEXT NOT NULL,
    account TEXT NOT NULL,
    token_id TEXT NOT NULL,
    node TEXT NOT NULL,
    peer TEXT NOT NULL,
    -- Separated by spaces.
    resources TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    request_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    count INTEGER NOT NULL
) STRICT;

CREATE INDEX entry_by_account ON entry (account, number);
CREATE INDEX entry_by_time ON entry (time_ms);
