-- name: get_meta
SELECT value FROM meta WHERE name = ?

-- name: set_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: insert_spec
INSERT INTO spec (number, account, name, body, head, inputs) VALUES (?, ?, ?, ?, ?, ?)

-- name: insert_task
INSERT INTO task (key, revision, spec, account, params, submit_ms) VALUES (?, ?, ?, ?, ?, ?)

-- name: insert_change
INSERT INTO change (revision, task, state, attempt, epoch, node, time_ms, start_ms, cause, detail, payload, devices)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: insert_modification
INSERT INTO modification (revision, task, request_revision, attempt, time_ms, spec, params, pending, verdicts)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: insert_request
INSERT INTO request (account, request_id, content, first, count, time_ms) VALUES (?, ?, ?, ?, ?, ?)

-- name: insert_request_if_new
INSERT INTO request (account, request_id, content, first, count, time_ms) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (account, request_id) DO NOTHING

-- name: get_answer
SELECT content, answer FROM answer WHERE account = ? AND request_id = ?

-- name: insert_answer
INSERT INTO answer (account, request_id, content, answer, time_ms) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (account, request_id) DO UPDATE SET answer = excluded.answer, time_ms = excluded.time_ms

-- name: prune_answers
DELETE FROM answer WHERE rowid IN (SELECT rowid FROM answer WHERE time_ms < ? ORDER BY time_ms LIMIT 1000)

-- name: put_node
INSERT INTO node (id, is_cordoned, labels, drain_deadline_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    is_cordoned = excluded.is_cordoned, labels = excluded.labels, drain_deadline_ms = excluded.drain_deadline_ms

-- name: put_grace
INSERT INTO grace (task, grace_ms) VALUES (?, ?) ON CONFLICT (task) DO NOTHING

-- name: graces_of_live_tasks
SELECT g.task, g.grace_ms
FROM grace AS g
WHERE g.task >= ?
  AND NOT EXISTS (SELECT 1 FROM change AS o WHERE o.task = g.task AND o.state IN (4, 5, 6))

-- name: delete_node
DELETE FROM node WHERE id = ?

-- name: delete_tokens_of_node
DELETE FROM token WHERE node = ? AND role = 'agent'

-- name: all_nodes
SELECT id, is_cordoned, labels, drain_deadline_ms FROM node

-- name: live_tasks
-- Tasks without an outcome, from a key on.
SELECT t.key, t.spec, t.account, t.params, t.submit_ms, t.revision
FROM task AS t
WHERE t.key >= ?
  AND NOT EXISTS (SELECT 1 FROM change AS c WHERE c.task = t.key AND c.state IN (4, 5, 6))
ORDER BY t.key

-- name: changes_of_live_tasks
SELECT c.task, c.state, c.attempt, c.epoch, c.node, c.time_ms, c.start_ms, c.cause, c.detail, c.revision, c.devices
FROM task AS t
JOIN change AS c ON c.task = t.key
WHERE t.key >= ?
  AND NOT EXISTS (SELECT 1 FROM change AS o WHERE o.task = t.key AND o.state IN (4, 5, 6))
ORDER BY c.revision

-- name: modifications_of_live_tasks
SELECT m.task, m.revision, m.request_revision, m.attempt, m.time_ms, m.spec, m.params, m.pending, m.verdicts
FROM modification AS m
WHERE m.task >= ?
  AND NOT EXISTS (SELECT 1 FROM change AS o WHERE o.task = m.task AND o.state IN (4, 5, 6))
ORDER BY m.revision

-- name: modifications_of_task
SELECT task, revision, request_revision, attempt, time_ms, spec, params, pending, verdicts
FROM modification
WHERE task = ?
ORDER BY revision

-- name: insert_dependency
INSERT INTO dependency (task, place, on_task, condition, is_element_wise) VALUES (?, ?, ?, ?, ?)

-- name: modifications_of_request
-- Of the tasks that were changed under these revisions, all that was recorded of these changes.
SELECT m.task, m.revision, m.request_revision, m.attempt, m.time_ms, m.spec, m.params, m.pending, m.verdicts
FROM modification AS m
WHERE m.task IN (SELECT task FROM modification WHERE revision BETWEEN :first AND :last)
  AND m.request_revision BETWEEN :first AND :last
ORDER BY m.revision

-- name: dependencies_of_live_tasks
SELECT d.task, d.on_task, d.condition, d.is_element_wise
FROM dependency AS d
WHERE d.task >= ?
  AND NOT EXISTS (SELECT 1 FROM change AS o WHERE o.task = d.task AND o.state IN (4, 5, 6))
ORDER BY d.task, d.place

-- name: dependencies_of_task
SELECT on_task, condition, is_element_wise FROM dependency WHERE task = ? ORDER BY place

-- name: outcome_of_task
-- Its final state, and whether any attempt of it started.
SELECT max(CASE WHEN state IN (4, 5, 6) THEN state ELSE 0 END), max(start_ms) > 0 FROM change WHERE task = ?

-- name: outcomes_of_elements
SELECT task, max(CASE WHEN state IN (4, 5, 6) THEN state ELSE 0 END), max(start_ms) > 0
FROM change
WHERE task > ? AND task <= ?
GROUP BY task

-- name: verdicts_of_modification
SELECT verdicts FROM modification WHERE task = ? AND request_revision = ? ORDER BY revision

-- name: all_specs
SELECT number, account, body, head FROM spec

-- name: tally_of_array
SELECT c.state, count(*)
FROM change AS c
WHERE c.task > ? AND c.task <= ? AND c.state IN (4, 5, 6)
GROUP BY c.state

-- name: highest_assigned_element
SELECT task FROM change WHERE task > ? AND task <= ? AND attempt > 0 ORDER BY task DESC LIMIT 1

-- name: elements
SELECT key FROM task WHERE key > ? AND key <= ?

-- name: put_gang
INSERT OR REPLACE INTO gang (key, last, name, units, is_loose) VALUES (?, ?, ?, ?, ?)

-- name: live_gangs
-- Those that may have an unfinished member, from a key on.
SELECT key, name, units, is_loose FROM gang WHERE last >= ? ORDER BY key

-- name: recent_requests
SELECT account, request_id, content, first, count FROM request WHERE time_ms >= ? ORDER BY time_ms DESC LIMIT ?

-- name: older_request
SELECT 1 FROM request WHERE time_ms < ? LIMIT 1

-- name: get_request
SELECT content, first, count FROM request WHERE account = ? AND request_id = ?

-- name: recent_changes
SELECT c.revision, c.task, t.account
FROM change AS c
JOIN task AS t ON t.key = c.task
UNION ALL
SELECT m.revision, m.task, t.account
FROM modification AS m
JOIN task AS t ON t.key = m.task
ORDER BY 1 DESC
LIMIT ?

-- name: prune_requests
DELETE FROM request WHERE (account, request_id) IN (
    SELECT account, request_id FROM request WHERE time_ms < ? ORDER BY time_ms LIMIT 1000
)

-- name: history_from
SELECT revision, task, state, time_ms FROM change WHERE revision > ? ORDER BY revision LIMIT ?

-- name: awaited_tasks
SELECT DISTINCT d.on_task
FROM dependency AS d
WHERE NOT EXISTS (SELECT 1 FROM change AS o WHERE o.task = d.task AND o.state IN (4, 5, 6))

-- name: some_elements
SELECT key FROM task WHERE key > ? AND key <= ? LIMIT ?

-- name: outcome_payload
SELECT payload FROM change WHERE task = ? AND state IN (4, 5, 6)

-- name: last_revision_of_task
SELECT max(revision) FROM change WHERE task = ?

-- name: delete_task
DELETE FROM task WHERE key = ?

-- name: delete_change
DELETE FROM change WHERE task = ?

-- name: delete_modification
DELETE FROM modification WHERE task = ?

-- name: delete_dependency
DELETE FROM dependency WHERE task = ?

-- name: delete_grace
DELETE FROM grace WHERE task = ?

-- name: delete_gang
-- The gang that the task was of, once nothing of it is left; gangs do not overlap.
DELETE FROM gang
WHERE key = (SELECT max(key) FROM gang WHERE key <= :task) AND last >= :task
    AND NOT EXISTS (SELECT 1 FROM task WHERE task.key BETWEEN gang.key AND gang.last)

-- name: unused_specs
SELECT s.number, s.account, s.body, s.head, s.inputs
FROM spec AS s
WHERE s.number NOT IN (SELECT spec FROM task UNION SELECT spec FROM modification)

-- name: spec_with_inputs
SELECT number FROM spec WHERE inputs = ? AND number <> ? LIMIT 1

-- name: account_of_inputs
SELECT account FROM spec WHERE inputs = ? AND inputs <> '' LIMIT 1

-- name: earlier_task
SELECT key FROM task WHERE account = :account AND key < :before ORDER BY key DESC LIMIT 1 OFFSET :looked_at

-- name: tasks_with_inputs
SELECT key
FROM task
WHERE account = :account AND key < :before AND key >= :low AND key % 16777213 = 0
  AND spec IN (SELECT number FROM spec WHERE inputs = :inputs AND inputs <> '' AND account = :account)
ORDER BY key DESC
LIMIT :most

-- name: delete_spec
DELETE FROM spec WHERE number = ?

-- name: get_task
-- As it is after its latest modification.
SELECT t.key, s.number, t.account, coalesce(m.params, t.params), t.submit_ms, t.revision, s.body
FROM task AS t
LEFT JOIN modification AS m ON m.revision = (SELECT max(revision) FROM modification WHERE task = t.key)
JOIN spec AS s ON s.number = coalesce(m.spec, t.spec)
WHERE t.key = ?

-- name: changes_of_task
SELECT revision, state, attempt, epoch, node, time_ms, start_ms, cause, detail, payload
FROM change
WHERE task = ?
ORDER BY revision

-- name: list_tasks
-- Newest first, before a key; without elements of arrays. NULL account: everybody's.
SELECT t.key
FROM task AS t
LEFT JOIN change AS c ON c.task = t.key AND c.state IN (4, 5, 6)
WHERE t.key < :before
  AND t.key % 16777213 = 0
  AND (:account IS NULL OR t.account = :account)
  AND (c.time_ms IS NULL OR c.time_ms >= :ended_after_ms)
ORDER BY t.key DESC
LIMIT :most

-- name: list_elements
SELECT t.key
FROM task AS t
WHERE t.key > :array AND t.key < :before AND (:account IS NULL OR t.account = :account)
ORDER BY t.key DESC
LIMIT :most

-- name: insert_account
INSERT INTO account (name, create_ms) VALUES (?, ?)

-- name: list_accounts
SELECT name, create_ms FROM account WHERE name > ? ORDER BY name LIMIT ?

-- name: get_account
SELECT name, create_ms FROM account WHERE name = ?

-- name: task_of_account
SELECT 1 FROM task WHERE account = ? LIMIT 1

-- name: delete_account
DELETE FROM account WHERE name = ?

-- name: put_token
INSERT INTO token (id, hash, account, role, node, comment, create_ms, expire_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hash) DO NOTHING

-- name: token_by_hash
SELECT id, account, role, node, comment, create_ms, expire_ms FROM token WHERE hash = ?

-- name: get_token
SELECT id, account, role, node, comment, create_ms, expire_ms FROM token WHERE id = ?

-- name: list_tokens
SELECT id, account, role, node, comment, create_ms, expire_ms
FROM token
WHERE id > :after AND (:account IS NULL OR account = :account) AND role NOT IN ('agent', 'service')
ORDER BY id
LIMIT :most

-- name: delete_token
DELETE FROM token WHERE id = ?

-- name: delete_tokens_of_account
DELETE FROM token WHERE account = ? AND role IN ('admin', 'user', 'viewer')

-- name: delete_expired_tokens
DELETE FROM token WHERE expire_ms > 0 AND expire_ms < ?

-- name: put_join_token
INSERT INTO join_token (hash, node, expire_ms, is_reusable) VALUES (?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING

-- name: get_join_token
SELECT node, expire_ms, is_reusable FROM join_token WHERE hash = ?

-- name: delete_join_token
DELETE FROM join_token WHERE hash = ?

-- name: put_queue
INSERT INTO queue (name, settings) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET settings = excluded.settings

-- name: all_queues
SELECT name, settings FROM queue ORDER BY rowid

-- name: delete_queue
DELETE FROM queue WHERE name = ?

-- name: put_share
INSERT INTO share (account, settings) VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET settings = excluded.settings

-- name: all_shares
SELECT account, settings FROM share

-- name: delete_share
DELETE FROM share WHERE account = ?

-- name: put_use
INSERT INTO use (queue, account, decayed, time_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (queue, account) DO UPDATE SET decayed = excluded.decayed, time_ms = excluded.time_ms

-- name: all_uses
SELECT queue, account, decayed, time_ms FROM use

-- name: delete_uses_of_queue
DELETE FROM use WHERE queue = ?

-- name: delete_uses_of_account
DELETE FROM use WHERE account = ?
