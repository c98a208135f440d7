-- name: get_answer
SELECT content, answer FROM answer WHERE account = ? AND request_id = ?;

-- name: insert_answer
INSERT INTO answer (account, request_id, content, answer, time_ms) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (account, request_id) DO UPDATE SET answer = excluded.answer, time_ms = excluded.time_ms;

-- name: prune_answers
DELETE FROM answer WHERE rowid IN (SELECT rowid FROM answer WHERE time_ms < ? ORDER BY time_ms LIMIT 1000);

-- name: insert_project
INSERT INTO project (account, name, create_time_ms, latest_version, next_sequence)
VALUES (:account, :name, :now_ms, 0, 1) ON CONFLICT DO NOTHING RETURNING number;

-- name: get_project
SELECT number, account, name, create_time_ms, latest_version FROM project WHERE number = :project;

-- name: get_access
SELECT account, role FROM project_access WHERE project = :project ORDER BY account;

-- name: list_projects
SELECT number, account, name, create_time_ms, latest_version FROM project
WHERE number < :before AND (:name = '' OR name = :name) AND (
    :account IS NULL OR account = :account
    OR EXISTS (SELECT 1 FROM project_access a WHERE a.project = number AND a.account = :account)
) ORDER BY number DESC LIMIT :most;

-- name: delete_project
DELETE FROM project WHERE number = :project;

-- name: put_access
INSERT INTO project_access (project, account, role) VALUES (:project, :account, :role)
ON CONFLICT (project, account) DO UPDATE SET role = excluded.role;

-- name: delete_access
DELETE FROM project_access WHERE project = :project AND account = :account;

-- name: next_sequence
SELECT next_sequence FROM project WHERE number = :project;

-- name: list_seen_nodes
SELECT node, drag_sequence, drag_in_time_ns FROM project_node WHERE project = :project;

-- name: insert_seen_node
INSERT INTO project_node (project, node, drag_sequence, drag_in_time_ns)
VALUES (?, ?, ?, ?);

-- name: advance_project
UPDATE project SET latest_version = :version, next_sequence = :next_sequence WHERE number = :project;

-- name: insert_version
INSERT INTO project_version (
    project, version, parent, author, create_time_ms, comment, digest, node_count, edge_count, document
) VALUES (
    :project, :version, :parent, :author, :now_ms, :comment, :digest, :node_count, :edge_count, :document
);

-- name: get_version
SELECT project, version, parent, author, create_time_ms, comment, digest, node_count, edge_count
FROM project_version WHERE project = :project AND version = :version;

-- name: get_document
SELECT document FROM project_version WHERE project = :project AND version = :version;

-- name: list_versions
SELECT project, version, parent, author, create_time_ms, comment, digest, node_count, edge_count
FROM project_version WHERE project = :project AND version < :before ORDER BY version DESC LIMIT :most;

-- name: is_valid_canvas
SELECT 1 FROM valid_canvas WHERE digest = :digest;

-- name: insert_valid_canvas
INSERT INTO valid_canvas (digest, time_ms) VALUES (:digest, :now_ms)
ON CONFLICT (digest) DO UPDATE SET time_ms = excluded.time_ms;

-- name: prune_valid_canvases
DELETE FROM valid_canvas WHERE digest IN (
    SELECT digest FROM valid_canvas ORDER BY time_ms DESC LIMIT -1 OFFSET :most
);

-- name: get_meta
SELECT value FROM meta WHERE name = ?;

-- name: set_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: find_plan
SELECT number FROM plan WHERE digest = ?;

-- name: insert_plan
INSERT INTO plan (digest, node_count, graph) VALUES (?, ?, ?) RETURNING number;

-- name: get_plan
SELECT graph FROM plan WHERE number = ?;

-- name: next_run
SELECT max(coalesce((SELECT max(number) FROM run), 0), coalesce((SELECT value FROM meta WHERE name = 'last_run'), 0)) + 1;

-- name: is_ended_run
SELECT account FROM run WHERE number = ? AND state NOT IN ('running', 'paused');

-- name: delete_run
DELETE FROM run WHERE number = ?;

-- name: delete_gates
DELETE FROM gate WHERE run = ?;

-- name: delete_node_modifications
DELETE FROM node_modification WHERE run = ?;

-- name: insert_cleared
INSERT INTO cleared_run (run) VALUES (?) ON CONFLICT DO NOTHING;

-- name: cleared_runs
SELECT run FROM cleared_run ORDER BY run;

-- name: delete_cleared
DELETE FROM cleared_run WHERE run = ?;

-- name: delete_some_nodes
DELETE FROM run_node WHERE run = :run AND place IN (SELECT place FROM run_node WHERE run = :run LIMIT :most);

-- name: old_runs
SELECT number FROM run WHERE end_ms > 0 AND end_ms < ? ORDER BY end_ms LIMIT ?;

-- name: runs_without_project
SELECT number FROM run
WHERE state NOT IN ('running', 'paused') AND project NOT IN (SELECT number FROM project) LIMIT ?;

-- name: next_batch
SELECT coalesce(max(number), 0) + 1 FROM batch;

-- name: insert_run
INSERT INTO run (number, account, project, plan, spec, changed, state, revision)
VALUES (?, ?, ?, ?, ?, ?, 'running', ?);

-- name: end_run
UPDATE run SET state = ?, revision = ?, end_ms = ?, done = ?, error = ?, cached = ?, order_wait_ms = ?, failure = ?
WHERE number = ?;

-- name: delete_batches
-- One that was not answered stays: if the answer does not come to this process, the next one withdraws it.
DELETE FROM batch WHERE run = ? AND first_task <> '';

-- name: delete_batch
DELETE FROM batch WHERE number = ?;

-- name: delete_kept
DELETE FROM kept_node WHERE run = ?;

-- name: insert_kept
INSERT INTO kept_node (run, place, from_run, ended) VALUES (?, ?, ?, ?);

-- name: insert_batch
INSERT INTO batch (number, run, request_id, places, content) VALUES (?, ?, ?, ?, ?);

-- name: record_tasks
UPDATE batch SET first_task = ?, content = x'' WHERE number = ?;

-- name: insert_run_node
INSERT INTO run_node (run, place, sequence, revision, is_recorded, outputs, ended) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: drop_outputs
UPDATE run_node SET outputs = ? WHERE run = ? AND place = ?;

-- name: values_below
SELECT place, outputs FROM run_node WHERE run = ? AND place > ? AND place < ? AND NOT is_recorded;

-- name: put_gate
INSERT INTO gate (run, place, open_ms, is_approved, account, comment, decide_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run, place) DO UPDATE SET
    is_approved = excluded.is_approved, account = excluded.account, comment = excluded.comment,
    decide_ms = excluded.decide_ms;

-- name: gates
SELECT place, open_ms, is_approved, account, comment, decide_ms FROM gate WHERE run = ?;

-- name: insert_node_modification
INSERT INTO node_modification (run, place, revision, params, time_ms) VALUES (?, ?, ?, ?, ?);

-- name: put_cached
INSERT INTO cache (account, key, run, node_id, outputs, size_bytes, has_artifacts, time_ms, used_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account, key) DO UPDATE SET
    run = excluded.run, node_id = excluded.node_id, outputs = excluded.outputs, size_bytes = excluded.size_bytes,
    has_artifacts = excluded.has_artifacts, time_ms = excluded.time_ms, used_ms = excluded.used_ms;

-- name: touch_cached
UPDATE cache SET used_ms = ? WHERE account = ? AND key = ?;

-- name: drop_cached
DELETE FROM cache WHERE account = ? AND key = ?;

-- name: get_cached
SELECT run, node_id, outputs FROM cache WHERE account = ? AND key = ?;

-- name: all_cached
SELECT account, key, run, size_bytes, has_artifacts FROM cache ORDER BY used_ms;

-- name: live_runs
SELECT number, plan, spec, changed, state, revision FROM run WHERE state IN ('running', 'paused') ORDER BY number;

-- name: get_run
SELECT number, plan, spec, changed, state, revision, end_ms, done, error, cached, order_wait_ms, failure,
    (SELECT node_count FROM plan WHERE plan.number = run.plan)
FROM run WHERE number = ?;

-- name: list_runs
SELECT number, plan, spec, changed, state, revision, end_ms, done, error, cached, order_wait_ms, failure,
    (SELECT node_count FROM plan WHERE plan.number = run.plan)
FROM run
WHERE state = :state AND number < :before
ORDER BY number DESC LIMIT :most;

-- name: list_runs_of_account
SELECT number, plan, spec, changed, state, revision, end_ms, done, error, cached, order_wait_ms, failure,
    (SELECT node_count FROM plan WHERE plan.number = run.plan)
FROM run
WHERE account = :account AND state = :state AND number < :before
ORDER BY number DESC LIMIT :most;

-- name: list_runs_of_project
SELECT number, plan, spec, changed, state, revision, end_ms, done, error, cached, order_wait_ms, failure,
    (SELECT node_count FROM plan WHERE plan.number = run.plan)
FROM run
WHERE project = :project AND state = :state AND number < :before AND (:account IS NULL OR account = :account)
ORDER BY number DESC LIMIT :most;

-- name: has_live_run
SELECT 1 FROM run WHERE project = ? AND state IN ('running', 'paused') LIMIT 1;

-- name: run_node
SELECT place, sequence, revision, outputs, ended FROM run_node WHERE run = ? AND place = ?;

-- name: event_of_run
SELECT event FROM firing WHERE run = ?;

-- name: runs_of_event
-- Of an account's triggers; NULL: of everybody's. `model` NULL: its key says it all.
SELECT f.run FROM run_trigger t JOIN firing f ON f.trigger = t.number AND f.key = :key
WHERE t.kind = :kind AND f.run IS NOT NULL AND (:account IS NULL OR t.account = :account)
    AND (:model IS NULL OR json_extract(f.event, '$.model') = :model)
ORDER BY f.run LIMIT 1000;

-- name: run_nodes_with
SELECT place, sequence, revision, outputs, ended FROM run_node WHERE run = ? AND instr(ended, ?) > 0;

-- name: run_nodes
SELECT place, sequence, revision, outputs, ended FROM run_node
WHERE run = ? AND place > ? AND place < ? ORDER BY place LIMIT ?;

-- name: run_nodes_level
SELECT place, sequence, revision, outputs, ended FROM run_node
WHERE run = ? AND place > ? AND place < ? AND length(place) = ? ORDER BY place LIMIT ?;

-- name: run_nodes_since
SELECT place, sequence, revision, outputs, ended FROM run_node
WHERE run = ? AND revision > ? AND length(place) > ? ORDER BY sequence;

-- name: kept_nodes
SELECT place, from_run, ended FROM kept_node WHERE run = ?;

-- name: batches
SELECT number, request_id, places, content, first_task FROM batch WHERE run = ? ORDER BY number;

-- name: get_batch
SELECT run, request_id, places, content FROM batch WHERE number = ?;

-- name: node_modifications
SELECT place, params FROM node_modification WHERE run = ? ORDER BY revision;

-- name: insert_errand
INSERT INTO errand (number, kind, account, content) VALUES (?, ?, ?, ?);

-- name: all_errands
SELECT number, kind, account, content FROM errand ORDER BY number;

-- name: orphaned_batches
SELECT b.number, r.account, b.content FROM batch b JOIN run r ON r.number = b.run
WHERE r.state NOT IN ('running', 'paused') ORDER BY b.number;

-- name: delete_errand
DELETE FROM errand WHERE number = ?;
