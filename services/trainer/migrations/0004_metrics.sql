-- Curves of metrics (issue 5.7): series by number, so that a point is small. Nobody wrote points before.
DROP TABLE point;

-- One metric of one instance.
CREATE TABLE series (
    number INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    place INTEGER NOT NULL,
    -- Points that came, and those that are kept: every stride-th, and the latest.
    seen INTEGER NOT NULL DEFAULT 0,
    kept INTEGER NOT NULL DEFAULT 0,
    stride INTEGER NOT NULL DEFAULT 1,
    -- Of the latest point; it goes with the next one if it is passing.
    last_step INTEGER NOT NULL DEFAULT -1,
    last_ms INTEGER NOT NULL DEFAULT 0,
    is_passing INTEGER NOT NULL DEFAULT 0,
    UNIQUE (job, name, role, place)
) STRICT;

CREATE TABLE point (
    series INTEGER NOT NULL,
    step INTEGER NOT NULL,
    value REAL NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (series, step)
) STRICT, WITHOUT ROWID;
