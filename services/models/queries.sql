-- name: get_answer
SELECT content, answer FROM answer WHERE account = ? AND request_id = ?;

-- name: insert_answer
INSERT INTO answer (account, request_id, content, answer, time_ms) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (account, request_id) DO UPDATE SET answer = excluded.answer, time_ms = excluded.time_ms;

-- name: prune_answers
DELETE FROM answer WHERE rowid IN (SELECT rowid FROM answer WHERE time_ms < ? ORDER BY time_ms LIMIT 1000);

-- name: all_errands
SELECT number, kind, account, content FROM errand ORDER BY number;

-- name: insert_errand
INSERT INTO errand (number, kind, account, content) VALUES (?, ?, ?, ?);

-- name: delete_errand
DELETE FROM errand WHERE number = ?;

-- name: get_meta
SELECT value FROM meta WHERE name = ?;

-- name: set_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
