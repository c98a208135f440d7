-- What accounts may have in the catalogue and under way.
CREATE TABLE quota (
    account TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT, WITHOUT ROWID;
