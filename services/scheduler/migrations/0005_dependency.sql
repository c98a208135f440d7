-- What tasks wait for, resolved to keys: an item of a submission is known by its number only while it is taken in.
CREATE TABLE dependency (
    task INTEGER NOT NULL,
    -- As in the specification, from 0.
    place INTEGER NOT NULL,
    -- A task, an array or an element.
    on_task INTEGER NOT NULL,
    condition INTEGER NOT NULL,
    is_element_wise INTEGER NOT NULL,
    PRIMARY KEY (task, place)
) WITHOUT ROWID;
