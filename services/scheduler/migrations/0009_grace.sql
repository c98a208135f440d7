-- How long tasks that were asked to end have for it, where that is not the usual time.
CREATE TABLE grace (
    task INTEGER PRIMARY KEY,
    grace_ms INTEGER NOT NULL
) WITHOUT ROWID;
