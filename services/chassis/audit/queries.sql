-- name: insert_entry
INSERT INTO entry (time_ms, rpc, role, account, token_id, node, peer, resources, code, reason, request_id, call_id, count)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: list_entries
-- Newest first, before a number. Empty filters let everything through.
SELECT number, time_ms, rpc, role, account, token_id, node, peer, resources, code, reason, request_id, call_id, count
FROM entry
WHERE number < :before
  AND time_ms >= :since_ms
  AND (:account = '' OR account = :account)
  AND (:rpc = '' OR substr(rpc, -length(:rpc)) = :rpc)
  AND (:resource = '' OR instr(' ' || resources || ' ', :resource || ' ') > 0)
  AND (NOT :refused_only OR code <> 'OK')
ORDER BY number DESC
LIMIT :most

-- name: prune_old
DELETE FROM entry WHERE number IN (SELECT number FROM entry WHERE time_ms < ? ORDER BY time_ms LIMIT 1000)

-- name: prune_oldest
DELETE FROM entry WHERE number IN (SELECT number FROM entry ORDER BY number LIMIT 1000)

-- name: used_bytes
SELECT (p.page_count - f.freelist_count) * s.page_size
FROM pragma_page_count AS p, pragma_freelist_count AS f, pragma_page_size AS s
