-- name: get_answer
SELECT content, answer FROM answer WHERE account = ? AND request_id = ?;

-- name: insert_answer
INSERT INTO answer (account, request_id, content, answer, time_ms) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (account, request_id) DO UPDATE SET answer = excluded.answer, time_ms = excluded.time_ms;

-- name: prune_answers
DELETE FROM answer WHERE rowid IN (SELECT rowid FROM answer WHERE time_ms < ? ORDER BY time_ms LIMIT 1000);

-- name: get_meta
SELECT value FROM meta WHERE name = ?;

-- name: set_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: insert_framework
INSERT INTO framework (id, version, document, digest, account, time_ms) VALUES (?, ?, ?, ?, ?, ?);

-- name: latest_framework
SELECT version, document, digest, account, time_ms FROM framework WHERE id = ? ORDER BY version DESC LIMIT 1;

-- name: get_framework
SELECT version, document, digest, account, time_ms FROM framework WHERE id = ? AND version = ?;

-- name: all_frameworks
SELECT id, version, document, digest, account, time_ms FROM framework ORDER BY id, version DESC;

-- name: put_job
INSERT INTO job
    (number, account, name, framework, queue, state, revision, create_ms, end_ms, expire_ms, content, origin)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (number) DO UPDATE SET
    state = excluded.state, revision = excluded.revision, end_ms = excluded.end_ms, expire_ms = excluded.expire_ms,
    content = excluded.content;

-- name: put_checkpoint
INSERT INTO checkpoint (job, role, place, name, content) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (job, role, place, name) DO UPDATE SET content = excluded.content;

-- name: drop_checkpoint
DELETE FROM checkpoint WHERE job = ? AND role = ? AND place = ? AND name = ?;

-- name: checkpoints
SELECT content FROM checkpoint WHERE job = ? ORDER BY role, place, name;

-- name: put_output
INSERT INTO output (job, role, place, name, digest, size_bytes) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (job, role, place, name) DO UPDATE SET digest = excluded.digest, size_bytes = excluded.size_bytes;

-- name: outputs
SELECT role || '-' || place || '/' || name, digest, size_bytes FROM output WHERE job = ? ORDER BY role, place, name;

-- name: expired_jobs
SELECT number, account FROM job
WHERE end_ms > 0 AND (expire_ms BETWEEN 1 AND :now_ms OR (expire_ms = 0 AND end_ms <= :ended_before_ms))
ORDER BY number LIMIT :most;

-- name: job_tables
SELECT m.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c
WHERE m.type = 'table' AND c.name = 'job' ORDER BY m.name;

-- name: put_instance
INSERT INTO instance (job, role, place, content) VALUES (?, ?, ?, ?)
ON CONFLICT (job, role, place) DO UPDATE SET content = excluded.content;

-- name: drop_instance
DELETE FROM instance WHERE job = ? AND role = ? AND place = ?;

-- name: insert_outcome
INSERT INTO outcome (job, outcome, reason, message, time_ms) VALUES (?, ?, ?, ?, ?);

-- name: insert_condition
INSERT INTO condition (job, kind, is_true, reason, message, time_ms, revision) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: insert_batch
INSERT INTO batch (number, job, account, parts, content) VALUES (?, ?, ?, ?, ?);

-- name: drop_batch
DELETE FROM batch WHERE number = ?;

-- name: all_batches
SELECT number, job, account, parts, content FROM batch ORDER BY number;

-- name: last_numbers
SELECT max((SELECT coalesce(max(number), 0) FROM job), coalesce((SELECT value FROM meta WHERE name = 'job'), 0)),
    max((SELECT coalesce(max(revision), 0) FROM job), coalesce((SELECT value FROM meta WHERE name = 'revision'), 0));

-- name: live_jobs
SELECT content FROM job WHERE end_ms = 0 ORDER BY number;

-- name: get_job
SELECT content FROM job WHERE number = ?;

-- name: jobs_of_task
SELECT content FROM job WHERE origin = ? AND origin <> '' ORDER BY number;

-- name: list_jobs
SELECT content FROM job
WHERE number < :before AND (:account IS NULL OR account = :account)
    AND (:states = '' OR instr(:states, ' ' || state || ' '))
    AND (:name = '' OR name = :name) AND (:framework = '' OR framework = :framework)
    AND (:queue IS NULL OR queue = :queue) AND (end_ms = 0 OR end_ms >= :since_ms)
ORDER BY number DESC LIMIT :most;

-- name: instances
SELECT content FROM instance WHERE job = ? ORDER BY role, place;

-- name: insert_seat
INSERT INTO seat (job, role, place, task) VALUES (?, ?, ?, ?) ON CONFLICT (job, task) DO NOTHING;

-- name: seats
SELECT number, task, stdout_bytes, stderr_bytes FROM seat
WHERE job = ? AND role = ? AND place = ? ORDER BY number;

-- name: seats_of_job
SELECT role, place, task FROM seat WHERE job = ? ORDER BY number;

-- name: seated
SELECT DISTINCT role, place FROM seat WHERE job = ? ORDER BY role, place;

-- name: close_seat
UPDATE seat SET stdout_bytes = ?, stderr_bytes = ? WHERE number = ?;

-- name: insert_launch
INSERT INTO launch (job, task, epoch, stdout_offset, stderr_offset) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (job, task, epoch) DO NOTHING;

-- name: launches
SELECT epoch, stdout_offset, stderr_offset FROM launch WHERE job = ? AND task = ? ORDER BY epoch;

-- name: count_series
SELECT count(*) FROM series WHERE job = ?;

-- name: insert_series
INSERT INTO series (job, name, role, place) VALUES (?, ?, ?, ?) ON CONFLICT (job, name, role, place) DO NOTHING;

-- name: get_series
SELECT number, seen, kept, stride, last_step, last_ms, is_passing FROM series
WHERE job = ? AND name = ? AND role = ? AND place = ?;

-- name: put_series
UPDATE series SET seen = ?, kept = ?, stride = ?, last_step = ?, last_ms = ?, is_passing = ? WHERE number = ?;

-- name: list_series
SELECT number, name, role, place, kept FROM series
WHERE job = :job AND (:names = '[]' OR name IN (SELECT value FROM json_each(:names)))
ORDER BY name, role, place LIMIT :most OFFSET :start;

-- name: insert_point
INSERT INTO point (series, step, value, time_ms) VALUES (?, ?, ?, ?) ON CONFLICT (series, step) DO NOTHING;

-- name: set_point
UPDATE point SET value = ?3, time_ms = ?4 WHERE series = ?1 AND step = ?2;

-- name: drop_point
DELETE FROM point WHERE series = ? AND step = ?;

-- name: halve_points
DELETE FROM point WHERE series = ?1 AND step IN (
    SELECT step FROM (
        SELECT step, row_number() OVER (ORDER BY step) AS place, count(*) OVER () AS total FROM point WHERE series = ?1
    ) WHERE place % 2 = 0 AND place < total
);

-- name: points
SELECT step, value, time_ms FROM point WHERE series = ? ORDER BY step;

-- name: all_errands
SELECT number, kind, account, content FROM errand ORDER BY number;

-- name: insert_errand
INSERT INTO errand (number, kind, account, content) VALUES (?, ?, ?, ?);

-- name: delete_errand
DELETE FROM errand WHERE number = ?;

-- name: put_sweep
INSERT INTO sweep (number, account, name, state, revision, create_ms, end_ms, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (number) DO UPDATE SET
    state = excluded.state, revision = excluded.revision, end_ms = excluded.end_ms, content = excluded.content;

-- name: put_trial
INSERT INTO trial (sweep, number, content) VALUES (?, ?, ?)
ON CONFLICT (sweep, number) DO UPDATE SET content = excluded.content;

-- name: last_sweep
SELECT coalesce(max(number), 0), coalesce(max(revision), 0) FROM sweep;

-- name: live_sweeps
SELECT content FROM sweep WHERE end_ms = 0 ORDER BY number;

-- name: get_sweep
SELECT content FROM sweep WHERE number = ?;

-- name: trials
SELECT content FROM trial WHERE sweep = ? ORDER BY number;

-- name: list_sweeps
SELECT content FROM sweep
WHERE number < :before AND (:account IS NULL OR account = :account)
    AND (:states = '' OR instr(:states, ' ' || state || ' ')) AND (:name = '' OR name = :name)
    AND (end_ms = 0 OR end_ms >= :since_ms)
ORDER BY number DESC LIMIT :most;

-- name: put_stacks
INSERT INTO stacks (job, role, place, epoch, node, text, time_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (job, role, place) DO UPDATE SET
    epoch = excluded.epoch, node = excluded.node, text = excluded.text, time_ms = excluded.time_ms;

-- name: drop_stacks
DELETE FROM stacks WHERE job = ?;

-- name: stacks
SELECT role, place, epoch, node, text, time_ms FROM stacks WHERE job = ? ORDER BY role, place;
