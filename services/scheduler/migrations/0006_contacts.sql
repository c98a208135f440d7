-- Contacts, and what they are told. The addresses hold credentials: they are encrypted with a key that is not in here.

CREATE TABLE contact (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    scheme TEXT NOT NULL,
    -- Without credentials.
    address TEXT NOT NULL,
    sealed_url BLOB NOT NULL,
    -- Of webhooks: what their messages are signed with.
    sealed_secret BLOB NOT NULL,
    -- 1 succeeded, 2 failed, 3 both.
    default_for INTEGER NOT NULL,
    create_ms INTEGER NOT NULL,
    -- 0: not verified.
    verify_ms INTEGER NOT NULL,
    UNIQUE (account, name)
) WITHOUT ROWID;

-- The outbox: a row is there from the very transaction that ended its subject.
CREATE TABLE delivery (
    number INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    contact_id TEXT NOT NULL,
    account TEXT NOT NULL,
    contact TEXT NOT NULL,
    -- The task's id; empty: a test message.
    subject TEXT NOT NULL,
    event TEXT NOT NULL,
    title TEXT NOT NULL,
    -- 1 pending, 2 delivered, 3 dead.
    state INTEGER NOT NULL,
    attempt_count INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    create_ms INTEGER NOT NULL,
    attempt_ms INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER NOT NULL,
    error TEXT NOT NULL DEFAULT ''
);

CREATE INDEX delivery_due ON delivery (contact_id, next_ms, number) WHERE state = 1;
CREATE INDEX delivery_by_account ON delivery (account, number);
CREATE INDEX delivery_by_age ON delivery (create_ms) WHERE state <> 1;
