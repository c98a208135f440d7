-- Tasks that start together.
CREATE TABLE gang (
    -- That of its first task or array, and of its last.
    key INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    name TEXT NOT NULL,
    -- [[task or array, how many of it must run together], …] as JSON.
    units BLOB NOT NULL,
    -- From its first end on its members go their own ways.
    is_loose INTEGER NOT NULL
);

CREATE INDEX gang_by_last ON gang (last);
