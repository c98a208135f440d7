-- Which tasks called which versions: so that it is known of what they gave which version answered.
CREATE TABLE task_usage (
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    account TEXT NOT NULL,
    calls INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (task, model, version)
) STRICT, WITHOUT ROWID;

CREATE INDEX task_usage_by_version ON task_usage (model, version, last_ms);
CREATE INDEX task_usage_by_age ON task_usage (last_ms);
