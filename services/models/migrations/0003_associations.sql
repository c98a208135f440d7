-- Runtime parameters → the container or environment that fits (S2.4), and what each revision was tried in.

CREATE TABLE association (
    -- Of parameters, Python and image.
    key TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    -- Empty: an environment.
    image TEXT NOT NULL,
    environment_key TEXT NOT NULL,
    -- msgpack of association.Association.
    content BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE config_association (
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    association TEXT NOT NULL REFERENCES association (key),
    PRIMARY KEY (model, version, revision)
) STRICT, WITHOUT ROWID;
