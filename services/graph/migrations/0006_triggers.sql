-- What starts runs by itself.
CREATE TABLE run_trigger (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    project INTEGER NOT NULL REFERENCES project (number) ON DELETE CASCADE,
    -- msgpack: what was asked for
    wish BLOB NOT NULL,
    -- cron, webhook, artifact, model
    kind TEXT NOT NULL,
    is_paused INTEGER NOT NULL DEFAULT 0,
    pause_reason TEXT NOT NULL DEFAULT '',
    -- Up to where everything was decided: a time, an artefact's time, a version, a change of an alias.
    cursor INTEGER NOT NULL,
    -- Of a schedule: the time that comes next.
    next_ms INTEGER,
    missed_from_ms INTEGER,
    missed_to_ms INTEGER,
    -- Of a webhook: encrypted, the present one and the one before it.
    secret BLOB,
    old_secret BLOB,
    old_until_ms INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 1,
    create_time_ms INTEGER NOT NULL,
    update_time_ms INTEGER NOT NULL,
    UNIQUE (account, name)
) STRICT;

CREATE INDEX run_trigger_by_project ON run_trigger (project, number);
CREATE INDEX run_trigger_due ON run_trigger (next_ms) WHERE next_ms IS NOT NULL AND NOT is_paused;
CREATE INDEX run_trigger_by_kind ON run_trigger (kind, number);

-- What a trigger fired: on disk before its run is, under a key that makes it one.
CREATE TABLE firing (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    trigger INTEGER NOT NULL REFERENCES run_trigger (number) ON DELETE CASCADE,
    key TEXT NOT NULL,
    -- waiting, started, skipped, refused, cancelled
    state TEXT NOT NULL,
    logical_ms INTEGER,
    backfill INTEGER REFERENCES backfill (number) ON DELETE CASCADE,
    -- JSON
    event TEXT NOT NULL,
    -- JSON: lie over the trigger's parameters
    params TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    run INTEGER,
    reason TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    UNIQUE (trigger, key)
) STRICT;

CREATE INDEX firing_waiting ON firing (trigger, backfill, number) WHERE state = 'waiting';
CREATE INDEX firing_by_run ON firing (run) WHERE run IS NOT NULL;
CREATE INDEX firing_by_trigger ON firing (trigger, number);
CREATE INDEX firing_by_time ON firing (trigger, logical_ms) WHERE logical_ms IS NOT NULL;
CREATE INDEX firing_by_backfill ON firing (backfill, number) WHERE backfill IS NOT NULL;

CREATE TABLE backfill (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    trigger INTEGER NOT NULL REFERENCES run_trigger (number) ON DELETE CASCADE,
    account TEXT NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    max_running INTEGER NOT NULL,
    -- oldest, newest
    sequence TEXT NOT NULL,
    -- none, failed, all
    reprocess TEXT NOT NULL,
    params TEXT NOT NULL,
    kept_count INTEGER NOT NULL,
    is_cancelled INTEGER NOT NULL DEFAULT 0,
    create_time_ms INTEGER NOT NULL
) STRICT;
