-- name: get_artifact
SELECT a.digest, b.size_bytes, a.name, a.media_type, a.account, a.create_time_ms,
    (SELECT count(*) FROM reference r WHERE r.account = a.account AND r.digest = a.digest)
FROM artifact a JOIN blob b USING (digest)
WHERE a.account = :account AND a.digest = :digest;

-- name: list_artifacts
SELECT a.digest, b.size_bytes, a.name, a.media_type, a.account, a.create_time_ms,
    (SELECT count(*) FROM reference r WHERE r.account = a.account AND r.digest = a.digest)
FROM artifact a JOIN blob b USING (digest)
WHERE a.account = :account
    AND (a.create_time_ms < :time_ms OR (a.create_time_ms = :time_ms AND a.digest > :digest))
    AND (:name = '' OR a.name = :name)
    AND (:prefix = '' OR substr(a.name, 1, length(:prefix)) = :prefix) AND a.create_time_ms >= :since_ms
ORDER BY a.create_time_ms DESC, a.digest
LIMIT :most;

-- name: upsert_blob
INSERT INTO blob (digest, size_bytes, create_time_ms) VALUES (:digest, :size_bytes, :now_ms)
ON CONFLICT (digest) DO UPDATE SET quarantine_time_ms = NULL;

-- name: upsert_artifact
INSERT INTO artifact (account, digest, name, media_type, create_time_ms, idle_since_ms)
VALUES (:account, :digest, :name, :media_type, :now_ms, :now_ms)
ON CONFLICT (account, digest) DO UPDATE SET
    name = iif(excluded.name = '', name, excluded.name),
    media_type = iif(excluded.media_type = '', media_type, excluded.media_type),
    idle_since_ms = iif(idle_since_ms IS NULL, NULL, excluded.idle_since_ms);

-- name: get_blob
SELECT size_bytes, quarantine_time_ms IS NOT NULL FROM blob WHERE digest = :digest;

-- name: sum_account
SELECT coalesce(sum(b.size_bytes), 0) FROM artifact a JOIN blob b USING (digest) WHERE a.account = :account;

-- name: sum_accounts
SELECT a.account, sum(b.size_bytes) FROM artifact a JOIN blob b USING (digest) GROUP BY a.account
ORDER BY 2 DESC LIMIT 100;

-- name: sum_blobs
SELECT count(*), coalesce(sum(size_bytes), 0) FROM blob;

-- name: insert_reference
INSERT OR IGNORE INTO reference (holder, account, digest) VALUES (:holder, :account, :digest);

-- name: mark_referenced
UPDATE artifact SET idle_since_ms = NULL WHERE account = :account AND digest = :digest;

-- name: delete_references
DELETE FROM reference WHERE holder = :holder AND (:account IS NULL OR account = :account)
RETURNING account, digest;

-- name: mark_idle
UPDATE artifact SET idle_since_ms = :now_ms WHERE account = :account AND digest = :digest
    AND NOT EXISTS (SELECT 1 FROM reference r WHERE r.account = :account AND r.digest = :digest);

-- name: list_holders
SELECT holder FROM reference WHERE account = :account AND digest = :digest ORDER BY holder LIMIT 10;

-- name: get_artifact_of_any
SELECT a.digest, b.size_bytes, a.name, a.media_type, a.account, a.create_time_ms, 0
FROM artifact a JOIN blob b USING (digest)
WHERE a.digest = :digest AND (:account IS NULL OR a.account = :account)
ORDER BY a.create_time_ms LIMIT 1;

-- name: list_holders_after
SELECT DISTINCT r.holder
FROM artifact a JOIN reference r ON r.account = a.account AND r.digest = a.digest
WHERE a.digest = :digest AND (:account IS NULL OR a.account = :account) AND r.holder > :after
ORDER BY r.holder LIMIT :most;

-- name: delete_artifact
DELETE FROM artifact WHERE account = :account AND digest = :digest;

-- name: delete_blob_if_unowned
DELETE FROM blob WHERE digest = :digest AND NOT EXISTS (SELECT 1 FROM artifact a WHERE a.digest = :digest);

-- name: quarantine_blob
UPDATE blob SET quarantine_time_ms = :now_ms WHERE digest = :digest;

-- name: list_collectable
SELECT account, digest FROM artifact WHERE idle_since_ms IS NOT NULL AND idle_since_ms <= :before_ms
ORDER BY idle_since_ms LIMIT :most;

-- name: get_deletion
SELECT digest FROM deletion WHERE account = :account AND request_id = :request_id;

-- name: insert_deletion
INSERT INTO deletion (account, request_id, digest, time_ms) VALUES (:account, :request_id, :digest, :now_ms);

-- name: prune_deletions
DELETE FROM deletion WHERE time_ms <= :before_ms;
