-- name: put_deployment
INSERT INTO deployment (name, account, state, revision, content) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET account = excluded.account, state = excluded.state, revision = excluded.revision,
    content = excluded.content;

-- name: insert_change
INSERT INTO deployment_change (revision, name, account, what, comment, time_ms, content) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: put_frame
INSERT INTO frame (number, is_gone, end_ms, revision, content) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (number) DO UPDATE SET is_gone = excluded.is_gone, end_ms = excluded.end_ms, revision = excluded.revision,
    content = excluded.content;

-- name: insert_seat
INSERT INTO seat (batch, frame, account, content) VALUES (?, ?, ?, ?);

-- name: drop_seat
DELETE FROM seat WHERE batch = ?;

-- name: live_deployments
SELECT content FROM deployment WHERE state <> 'undeployed' ORDER BY name;

-- name: get_deployment
SELECT content FROM deployment WHERE name = ?;

-- name: live_frames
SELECT content FROM frame WHERE is_gone = 0 ORDER BY number;

-- name: ended_frames
SELECT content FROM frame WHERE is_gone = 1 AND end_ms >= ? ORDER BY number DESC;

-- name: clear_frames
DELETE FROM frame WHERE number IN (SELECT number FROM frame WHERE is_gone = 1 AND end_ms < ? LIMIT 500);

-- name: all_seats
SELECT batch, frame, account, content FROM seat ORDER BY batch;

-- name: last_numbers
SELECT
    (SELECT coalesce(max(number), 0) FROM frame),
    (SELECT coalesce(max(revision), 0) FROM deployment_change),
    (SELECT coalesce(max(revision), 0) FROM frame);

-- name: get_frame_meta
SELECT value FROM meta WHERE name = ?;

-- name: set_frame_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value);
