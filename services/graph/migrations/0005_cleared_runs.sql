-- Runs that are gone, and whose nodes go in portions. The number of a run is never given again: `last_run` in meta.
CREATE TABLE cleared_run (
    run INTEGER PRIMARY KEY
) STRICT;

CREATE INDEX run_by_end ON run (end_ms) WHERE end_ms > 0;
