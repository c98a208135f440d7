-- Bytes that are on the disk, once each, whoever has them.
CREATE TABLE blob (
    digest TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    create_time_ms INTEGER NOT NULL,
    -- Set when the bytes on the disk were found damaged; the next upload of the same bytes heals it.
    quarantine_time_ms INTEGER
) STRICT;

-- An account's right to a blob. It exists only after that account has sent all the bytes itself.
CREATE TABLE artifact (
    account TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES blob (digest),
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    -- Since when nothing refers to it: the last upload or the last lost reference. NULL: something does.
    idle_since_ms INTEGER,
    PRIMARY KEY (account, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX artifact_by_digest ON artifact (digest);
CREATE INDEX artifact_by_time ON artifact (account, create_time_ms DESC, digest);
CREATE INDEX artifact_idle ON artifact (idle_since_ms) WHERE idle_since_ms IS NOT NULL;

-- What keeps an artefact from collection and from deletion.
CREATE TABLE reference (
    holder TEXT NOT NULL,
    account TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (holder, account, digest),
    FOREIGN KEY (account, digest) REFERENCES artifact (account, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX reference_by_artifact ON reference (account, digest);

-- Deletions that carried a request id, so that asking again gives the same answer; kept for a day.
CREATE TABLE deletion (
    account TEXT NOT NULL,
    request_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (account, request_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX deletion_by_time ON deletion (time_ms);
