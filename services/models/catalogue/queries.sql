-- name: put_model
INSERT INTO model (name, content) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET content = excluded.content;

-- name: put_version
INSERT INTO version (model, version, content) VALUES (?, ?, ?)
ON CONFLICT (model, version) DO UPDATE SET content = excluded.content;

-- name: put_config
INSERT INTO config (model, version, revision, content) VALUES (?, ?, ?, ?)
ON CONFLICT (model, version, revision) DO UPDATE SET content = excluded.content;

-- name: put_finding
INSERT INTO finding (model, version, content) VALUES (?, ?, ?)
ON CONFLICT (model, version) DO UPDATE SET content = excluded.content;

-- name: insert_alias_change
INSERT INTO alias_change (model, alias, from_version, to_version, account, comment, time_ms)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: insert_association
INSERT INTO association (key, kind, image, environment_key, content) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: put_config_association
INSERT INTO config_association (model, version, revision, association) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET association = excluded.association;

-- name: all_config_associations
SELECT model, version, revision, content FROM config_association JOIN association ON key = association;

-- name: insert_step
INSERT INTO step (number, account, content) VALUES (?, ?, ?);

-- name: drop_step
DELETE FROM step WHERE number = ?;

-- name: all_steps
SELECT number, account, content FROM step ORDER BY number;

-- name: all_models
SELECT content FROM model ORDER BY name;

-- name: all_versions
SELECT content FROM version ORDER BY model, version;

-- name: get_config
SELECT content FROM config WHERE model = ? AND version = ? AND revision = ?;

-- name: get_finding
SELECT content FROM finding WHERE model = ? AND version = ?;

-- name: alias_changes
SELECT number, alias, from_version, to_version, account, comment, time_ms FROM alias_change
WHERE model = :model AND (:alias = '' OR alias = :alias) AND number < :before ORDER BY number DESC LIMIT :most;

-- name: drop_version
DELETE FROM version WHERE model = ? AND version = ?;

-- name: drop_configs
DELETE FROM config WHERE model = ? AND version = ?;

-- name: drop_config_associations
DELETE FROM config_association WHERE model = ? AND version = ?;

-- name: drop_finding
DELETE FROM finding WHERE model = ? AND version = ?;

-- name: drop_usage
DELETE FROM usage WHERE model = ? AND version = ?;

-- name: add_usage
INSERT INTO usage (model, version, account, day, calls, failures, compute_s, last_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (model, version, day, account) DO UPDATE SET calls = calls + excluded.calls,
    failures = failures + excluded.failures, compute_s = compute_s + excluded.compute_s,
    last_ms = max(last_ms, excluded.last_ms);

-- name: add_task_usage
INSERT INTO task_usage (task, model, version, account, calls, last_ms) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (task, model, version) DO UPDATE SET calls = calls + excluded.calls,
    last_ms = max(last_ms, excluded.last_ms);

-- name: prune_task_usage
DELETE FROM task_usage WHERE last_ms < ?;

-- name: drop_task_usage
DELETE FROM task_usage WHERE model = ? AND version = ?;

-- name: calls_of_task
SELECT task, model, version, account, calls, last_ms FROM task_usage WHERE task = ? ORDER BY model, version;

-- name: tasks_that_called
SELECT task, model, version, account, calls, last_ms FROM task_usage
WHERE model = :model AND version = :version AND (:account IS NULL OR account = :account)
ORDER BY last_ms DESC, task LIMIT :most OFFSET :start;

-- name: usage_by_account
SELECT account, sum(calls), max(last_ms) FROM usage WHERE model = ? AND version = ? GROUP BY account ORDER BY account;

-- name: usage_totals
SELECT version, sum(calls), max(last_ms) FROM usage WHERE model = ? GROUP BY version;

-- name: usage_days
SELECT version, account, day, calls, failures, compute_s FROM usage
WHERE model = :model AND (:version = 0 OR version = :version) AND day >= :day
ORDER BY day DESC, version DESC, account;

-- name: put_quota
INSERT INTO quota (account, content) VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET content = excluded.content;

-- name: drop_quota
DELETE FROM quota WHERE account = ?;

-- name: all_quotas
SELECT account, content FROM quota;
