-- Nodes of bodies: a node of a run is named by its place, five hexadecimal digits a step: "00005", within a body
-- "00005.00003.00001". Places as text stand in the total order.

CREATE TABLE placed_node (
    run INTEGER NOT NULL,
    place TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- Its values stay.
    is_recorded INTEGER NOT NULL,
    outputs BLOB NOT NULL,
    ended BLOB NOT NULL,
    PRIMARY KEY (run, place)
) STRICT, WITHOUT ROWID;

INSERT INTO placed_node SELECT run, printf('%05x', rank), sequence, revision, 0, outputs, ended FROM run_node;
DROP TABLE run_node;
ALTER TABLE placed_node RENAME TO run_node;

CREATE TABLE placed_kept (
    run INTEGER NOT NULL,
    place TEXT NOT NULL,
    from_run INTEGER NOT NULL,
    ended BLOB NOT NULL,
    PRIMARY KEY (run, place)
) STRICT, WITHOUT ROWID;

INSERT INTO placed_kept SELECT run, printf('%05x', rank), from_run, ended FROM kept_node;
DROP TABLE kept_node;
ALTER TABLE placed_kept RENAME TO kept_node;

CREATE TABLE placed_modification (
    run INTEGER NOT NULL,
    place TEXT NOT NULL,
    revision INTEGER NOT NULL,
    params TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (run, place, revision)
) STRICT, WITHOUT ROWID;

INSERT INTO placed_modification SELECT run, printf('%05x', rank), revision, params, time_ms FROM node_modification;
DROP TABLE node_modification;
ALTER TABLE placed_modification RENAME TO node_modification;

ALTER TABLE batch RENAME COLUMN ranks TO places;

-- Gates that were reached. is_approved: NULL while nobody has decided.
CREATE TABLE gate (
    run INTEGER NOT NULL,
    place TEXT NOT NULL,
    open_ms INTEGER NOT NULL,
    is_approved INTEGER,
    account TEXT NOT NULL,
    comment TEXT NOT NULL,
    decide_ms INTEGER NOT NULL,
    PRIMARY KEY (run, place)
) STRICT, WITHOUT ROWID;
