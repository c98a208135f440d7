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
