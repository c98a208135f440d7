-- Deployments and frames (S2.4–S2.6). Both are written whole whenever they changed; what was asked for stays.

CREATE TABLE deployment (
    name TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    state TEXT NOT NULL,
    revision INTEGER NOT NULL,
    -- msgpack of frames.state.Deployment.
    content BLOB NOT NULL
) STRICT;

-- Every change that somebody asked for, so that a rollback is the row before.
CREATE TABLE deployment_change (
    revision INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    what TEXT NOT NULL,
    comment TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    -- msgpack of the deployment as it was then.
    content BLOB NOT NULL
) STRICT;

CREATE INDEX deployment_change_by_name ON deployment_change (name, revision);

CREATE TABLE frame (
    number INTEGER PRIMARY KEY,
    -- 1: it is over, and holds no place.
    is_gone INTEGER NOT NULL,
    end_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- msgpack of frames.state.Frame.
    content BLOB NOT NULL
) STRICT;

CREATE INDEX live_frame ON frame (number) WHERE is_gone = 0;
CREATE INDEX ended_frame ON frame (end_ms) WHERE is_gone = 1;

-- Seats that were asked for, until the scheduler has answered.
CREATE TABLE seat (
    batch INTEGER PRIMARY KEY,
    frame INTEGER NOT NULL,
    account TEXT NOT NULL,
    -- A serialised SubmitTasksRequest with its id: the same again gives the same task.
    content BLOB NOT NULL
) STRICT;
