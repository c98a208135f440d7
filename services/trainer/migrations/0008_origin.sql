-- The task that handed a job in: a node of a graph, or a task of another job; empty: a person did.
ALTER TABLE job ADD COLUMN origin TEXT NOT NULL DEFAULT '';

CREATE INDEX job_by_origin ON job (origin) WHERE origin <> '';
