-- Sweeps (S3). A sweep and a trial are written whole whenever they changed, in the transaction of the trial's job.

CREATE TABLE sweep (
    number INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    revision INTEGER NOT NULL,
    create_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL,
    -- msgpack of sweeps.state.Sweep.
    content BLOB NOT NULL
) STRICT;

CREATE INDEX live_sweep ON sweep (number) WHERE end_ms = 0;
CREATE INDEX sweep_by_account ON sweep (account, number);

CREATE TABLE trial (
    sweep INTEGER NOT NULL,
    number INTEGER NOT NULL,
    -- msgpack of sweeps.state.Trial.
    content BLOB NOT NULL,
    PRIMARY KEY (sweep, number)
) STRICT, WITHOUT ROWID;
