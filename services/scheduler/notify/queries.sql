-- name: insert_contact
INSERT INTO contact (id, account, name, scheme, address, sealed_url, sealed_secret, default_for, create_ms, verify_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: get_contact
SELECT id, account, name, scheme, address, sealed_url, sealed_secret, default_for, create_ms, verify_ms
FROM contact
WHERE account = ? AND name = ?

-- name: contact_by_id
SELECT id, account, name, scheme, address, sealed_url, sealed_secret, default_for, create_ms, verify_ms
FROM contact
WHERE id = ?

-- name: contacts_of_account
SELECT id, account, name, scheme, address, sealed_url, sealed_secret, default_for, create_ms, verify_ms
FROM contact
WHERE account = ? AND name > ?
ORDER BY name
LIMIT ?

-- name: known_contacts
SELECT account, id, name, verify_ms, default_for FROM contact ORDER BY account, name

-- name: schemes_in_use
SELECT DISTINCT scheme FROM contact WHERE verify_ms > 0

-- name: count_contacts
SELECT count(*) FROM contact WHERE account = ?

-- name: set_default_contact
UPDATE contact SET default_for = ? WHERE id = ?

-- name: verify_contact
UPDATE contact SET verify_ms = ? WHERE id = ?

-- name: delete_contact
DELETE FROM contact WHERE id = ?

-- name: delete_contacts_of_account
DELETE FROM contact WHERE account = ?

-- name: delete_deliveries_of_account
DELETE FROM delivery WHERE account = ?

-- name: insert_delivery
-- A repetition of the same event changes nothing.
INSERT INTO delivery (event_id, contact_id, account, contact, subject, event, title, state, create_ms, next_ms, message)
VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)
ON CONFLICT (event_id) DO NOTHING

-- name: insert_message
INSERT INTO message (account, event_id, text, facts, outputs, create_ms) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (account, event_id) DO NOTHING
RETURNING number

-- name: find_message
SELECT number FROM message WHERE account = ? AND event_id = ?

-- name: get_message
SELECT text, facts, outputs FROM message WHERE number = ?

-- name: deliveries_of_message
SELECT number, event_id, contact_id, account, contact, subject, event, title, state, attempt_count, failures,
    create_ms, attempt_ms, next_ms, error, message
FROM delivery
WHERE message = ? AND message > 0
ORDER BY number

-- name: prune_messages
DELETE FROM message WHERE number IN (
    SELECT number FROM message
    WHERE create_ms < ? AND NOT EXISTS (
        SELECT 1 FROM delivery WHERE delivery.message = message.number AND delivery.message > 0
    )
    ORDER BY create_ms LIMIT 1000
)

-- name: delete_messages_of_account
DELETE FROM message WHERE account = ?

-- name: get_delivery
SELECT number, event_id, contact_id, account, contact, subject, event, title, state, attempt_count, failures,
    create_ms, attempt_ms, next_ms, error, message
FROM delivery
WHERE event_id = ?

-- name: next_delivery
-- What is due first at one contact.
SELECT number, event_id, contact_id, account, contact, subject, event, title, state, attempt_count, failures,
    create_ms, attempt_ms, next_ms, error, message
FROM delivery
WHERE contact_id = ? AND state = 1
ORDER BY next_ms, number
LIMIT 1

-- name: contacts_with_pending
SELECT contact_id, min(next_ms) FROM delivery WHERE state = 1 GROUP BY contact_id

-- name: backlog_of_deliveries
SELECT count(*), min(create_ms) FROM delivery WHERE state = 1

-- name: list_deliveries
-- Newest first, before a number. NULL: any.
SELECT number, event_id, contact_id, account, contact, subject, event, title, state, attempt_count, failures,
    create_ms, attempt_ms, next_ms, error, message
FROM delivery
WHERE account = :account AND number < :before
  AND (:contact IS NULL OR contact = :contact)
  AND (:subject IS NULL OR subject = :subject)
  AND (:states & (1 << state))
ORDER BY number DESC
LIMIT :most

-- name: mark_delivered
UPDATE delivery
SET state = 2, attempt_count = attempt_count + 1, attempt_ms = ?, error = ''
WHERE event_id = ? AND state = 1

-- name: mark_failed
UPDATE delivery
SET state = ?, attempt_count = attempt_count + 1, failures = ?, attempt_ms = ?, next_ms = ?, error = ?
WHERE event_id = ? AND state = 1

-- name: replay_delivery
UPDATE delivery SET state = 1, failures = 0, next_ms = ? WHERE event_id = ?

-- name: cancel_deliveries
UPDATE delivery SET state = 3, error = ? WHERE contact_id = ? AND state = 1

-- name: prune_deliveries
DELETE FROM delivery WHERE number IN (
    SELECT number FROM delivery WHERE state <> 1 AND create_ms < ? ORDER BY create_ms LIMIT 1000
)
