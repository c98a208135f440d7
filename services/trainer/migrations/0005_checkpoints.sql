-- Checkpoints and kept outputs of jobs, and when jobs are cleared (S3.8, S3.10, S3.11).

-- What is complete and may be gone on from; the files lie with agents and in the store.
CREATE TABLE checkpoint (
    job INTEGER NOT NULL,
    role TEXT NOT NULL,
    place INTEGER NOT NULL,
    name TEXT NOT NULL,
    -- msgpack of model.Checkpoint.
    content BLOB NOT NULL,
    PRIMARY KEY (job, role, place, name)
) STRICT, WITHOUT ROWID;

-- What was kept of instances, as artefacts.
CREATE TABLE output (
    job INTEGER NOT NULL,
    role TEXT NOT NULL,
    place INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (job, role, place, name)
) STRICT, WITHOUT ROWID;

-- 0: after the trainer's own time.
ALTER TABLE job ADD COLUMN expire_ms INTEGER NOT NULL DEFAULT 0;

CREATE INDEX ended_job ON job (end_ms) WHERE end_ms > 0;
