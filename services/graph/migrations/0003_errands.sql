-- What is owed to other services since a step that is on disk; a row goes when it is done.
CREATE TABLE errand (
    number INTEGER PRIMARY KEY,
    -- notice, references, cancellation, withdrawal
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    -- msgpack, by kind
    content BLOB NOT NULL
) STRICT;
