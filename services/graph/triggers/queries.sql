-- name: insert_trigger
INSERT INTO run_trigger (account, name, project, wish, kind, cursor, next_ms, secret, create_time_ms, update_time_ms)
VALUES (:account, :name, :project, :wish, :kind, :cursor, :next_ms, :secret, :now_ms, :now_ms)
ON CONFLICT DO NOTHING RETURNING number;

-- name: get_trigger
SELECT number, account, name, project, wish, is_paused, pause_reason, cursor, next_ms, missed_from_ms, missed_to_ms,
    old_until_ms, revision, create_time_ms, update_time_ms
FROM run_trigger WHERE number = ?;

-- name: number_of_name
SELECT number FROM run_trigger WHERE account = ? AND name = ?;

-- name: list_triggers
SELECT number, account, name, project, wish, is_paused, pause_reason, cursor, next_ms, missed_from_ms, missed_to_ms,
    old_until_ms, revision, create_time_ms, update_time_ms
FROM run_trigger t
WHERE number < :before AND (:project = 0 OR project = :project) AND (
    :account IS NULL OR account = :account
    OR EXISTS (SELECT 1 FROM project p WHERE p.number = t.project AND p.account = :account)
    OR EXISTS (SELECT 1 FROM project_access a WHERE a.project = t.project AND a.account = :account)
) ORDER BY number DESC LIMIT :most;

-- name: count_triggers
SELECT count(*) FROM run_trigger WHERE account = ?;

-- name: due_triggers
SELECT number, account, name, project, wish, is_paused, pause_reason, cursor, next_ms, missed_from_ms, missed_to_ms,
    old_until_ms, revision, create_time_ms, update_time_ms
FROM run_trigger WHERE next_ms IS NOT NULL AND next_ms <= ? AND NOT is_paused ORDER BY next_ms LIMIT 500;

-- name: next_due
SELECT min(next_ms) FROM run_trigger WHERE next_ms IS NOT NULL AND NOT is_paused;

-- name: watching_triggers
SELECT number, account, name, project, wish, is_paused, pause_reason, cursor, next_ms, missed_from_ms, missed_to_ms,
    old_until_ms, revision, create_time_ms, update_time_ms
FROM run_trigger WHERE kind IN ('artifact', 'model') AND NOT is_paused ORDER BY number;

-- name: advance_trigger
UPDATE run_trigger SET cursor = :cursor, next_ms = :next_ms,
    missed_from_ms = coalesce(:missed_from, missed_from_ms), missed_to_ms = coalesce(:missed_to, missed_to_ms)
WHERE number = :number AND cursor = :was AND revision = :revision AND NOT is_paused;

-- name: change_trigger
UPDATE run_trigger SET wish = :wish, is_paused = :is_paused, pause_reason = :pause_reason, cursor = :cursor,
    next_ms = :next_ms, revision = revision + 1, update_time_ms = :now_ms
WHERE number = :number;

-- name: forget_missed
UPDATE run_trigger SET missed_from_ms = NULL, missed_to_ms = NULL
WHERE number = ? AND missed_from_ms >= ? AND missed_to_ms <= ?;

-- name: pause_trigger
UPDATE run_trigger SET is_paused = 1, pause_reason = ?, revision = revision + 1, update_time_ms = ?
WHERE number = ? AND NOT is_paused;

-- name: delete_trigger
DELETE FROM run_trigger WHERE number = ?;

-- name: get_secrets
SELECT secret, old_secret, old_until_ms FROM run_trigger WHERE number = ?;

-- name: rotate_secret
UPDATE run_trigger SET old_secret = secret, secret = :secret, old_until_ms = :until_ms, revision = revision + 1,
    update_time_ms = :now_ms
WHERE number = :number;

-- name: insert_firing
INSERT INTO firing (trigger, key, state, logical_ms, backfill, event, params, create_time_ms, reason, message)
VALUES (:trigger, :key, :state, :logical_ms, :backfill, :event, :params, :now_ms, :reason, :message)
ON CONFLICT DO NOTHING RETURNING number;

-- name: get_firing
SELECT f.number, f.trigger, f.key, f.state, f.logical_ms, f.backfill, f.event, f.params, f.create_time_ms, f.run,
    f.reason, f.message, coalesce(r.state, '')
FROM firing f LEFT JOIN run r ON r.number = f.run WHERE f.number = ?;

-- name: firing_of_key
SELECT number FROM firing WHERE trigger = ? AND key = ?;

-- name: list_firings
SELECT f.number, f.trigger, f.key, f.state, f.logical_ms, f.backfill, f.event, f.params, f.create_time_ms, f.run,
    f.reason, f.message, coalesce(r.state, '')
FROM firing f LEFT JOIN run r ON r.number = f.run
WHERE f.trigger = :trigger AND f.number < :before AND (:backfill = 0 OR f.backfill = :backfill)
    AND (:states = '' OR instr(:states, ',' || f.state || ',') > 0)
ORDER BY f.number DESC LIMIT :most;

-- name: waiting_heads
SELECT f.number, f.trigger, f.key, f.state, f.logical_ms, f.backfill, f.event, f.params, f.create_time_ms, f.run,
    f.reason, f.message, ''
FROM firing f WHERE f.number IN (SELECT min(number) FROM firing WHERE state = 'waiting' GROUP BY trigger, backfill)
ORDER BY f.number;

-- name: count_waiting
SELECT count(*) FROM firing WHERE trigger = ? AND state = 'waiting' AND backfill IS NULL;

-- name: count_running
SELECT count(*) FROM run r JOIN firing f ON f.run = r.number
WHERE r.state IN ('running', 'paused') AND f.trigger = :trigger AND f.backfill IS :backfill;

-- name: start_firing
UPDATE firing SET state = 'started', run = ? WHERE number = ?;

-- name: end_firing
UPDATE firing SET state = ?, reason = ?, message = ? WHERE number = ? AND state = 'waiting';

-- name: firings_at
SELECT f.state, coalesce(r.state, ''), coalesce(f.run, 0) FROM firing f LEFT JOIN run r ON r.number = f.run
WHERE f.trigger = ? AND f.logical_ms = ? AND f.state IN ('waiting', 'started') ORDER BY f.number;

-- name: prune_firings
DELETE FROM firing WHERE number IN (
    SELECT f.number FROM firing f WHERE f.trigger = :trigger AND f.state <> 'waiting' AND f.number < (
        SELECT g.number FROM firing g WHERE g.trigger = :trigger ORDER BY g.number DESC LIMIT 1 OFFSET :most
    ) ORDER BY f.number LIMIT 1000
);

-- name: trigger_numbers
SELECT number FROM run_trigger;

-- name: insert_backfill
INSERT INTO backfill (trigger, account, from_ms, to_ms, max_running, sequence, reprocess, params, kept_count, create_time_ms)
VALUES (:trigger, :account, :from_ms, :to_ms, :max_running, :sequence, :reprocess, :params, :kept_count, :now_ms)
RETURNING number;

-- name: get_backfill
SELECT number, trigger, account, from_ms, to_ms, max_running, sequence, reprocess, params, kept_count, is_cancelled,
    create_time_ms
FROM backfill WHERE number = ?;

-- name: count_backfill
SELECT f.state, coalesce(r.state, ''), count(*) FROM firing f LEFT JOIN run r ON r.number = f.run
WHERE f.backfill = ? GROUP BY 1, 2;

-- name: list_backfills
SELECT b.number, b.trigger, b.account, b.from_ms, b.to_ms, b.max_running, b.sequence, b.reprocess, b.params,
    b.kept_count, b.is_cancelled, b.create_time_ms
FROM backfill b JOIN run_trigger t ON t.number = b.trigger
WHERE b.number < :before AND (:trigger = 0 OR b.trigger = :trigger) AND (
    :account IS NULL OR t.account = :account
    OR EXISTS (SELECT 1 FROM project p WHERE p.number = t.project AND p.account = :account)
    OR EXISTS (SELECT 1 FROM project_access a WHERE a.project = t.project AND a.account = :account)
) ORDER BY b.number DESC LIMIT :most;

-- name: cancel_backfill
UPDATE backfill SET is_cancelled = 1 WHERE number = ?;

-- name: cancel_firings
UPDATE firing SET state = 'cancelled' WHERE backfill = ? AND state = 'waiting';

-- name: live_runs_of_backfill
SELECT r.number FROM run r JOIN firing f ON f.run = r.number
WHERE f.backfill = ? AND r.state IN ('running', 'paused');
