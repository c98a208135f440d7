-- Where instances of a job stood when one of them was last found hanging (S3.8).
CREATE TABLE stacks (
    job INTEGER NOT NULL,
    role TEXT NOT NULL,
    place INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    node TEXT NOT NULL,
    text TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (job, role, place)
) STRICT, WITHOUT ROWID;
