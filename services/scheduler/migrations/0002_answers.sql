-- First answers to requests with an id, encrypted: what whoever repeats the request is told. Kept as long as ``request``.

CREATE TABLE answer (
    account TEXT NOT NULL,
    request_id TEXT NOT NULL,
    content BLOB NOT NULL,
    answer BLOB NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (account, request_id)
);

CREATE INDEX answer_by_time ON answer (time_ms);
