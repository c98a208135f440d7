-- When a drain ends what runs on a node, wall clock; 0: nobody drains it.
ALTER TABLE node ADD COLUMN drain_deadline_ms INTEGER NOT NULL DEFAULT 0;
