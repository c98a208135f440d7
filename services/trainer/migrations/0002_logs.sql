-- Where what instances wrote is found (S3.10, I6): the bytes lie with the scheduler, by task.

-- Every seat that an instance has had, in their order. They outlive the instance.
CREATE TABLE seat (
    number INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    role TEXT NOT NULL,
    place INTEGER NOT NULL,
    task TEXT NOT NULL,
    -- How much was written there in all; NULL: nobody has read it to its end.
    stdout_bytes INTEGER,
    stderr_bytes INTEGER,
    UNIQUE (job, task)
) STRICT;

CREATE INDEX seat_by_instance ON seat (job, role, place, number);

-- Where in the log of a seat an epoch begins.
CREATE TABLE launch (
    job INTEGER NOT NULL,
    task TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    stdout_offset INTEGER NOT NULL,
    stderr_offset INTEGER NOT NULL,
    PRIMARY KEY (job, task, epoch)
) STRICT, WITHOUT ROWID;
