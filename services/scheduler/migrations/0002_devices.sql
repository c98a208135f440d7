-- Which of the node's devices an attempt holds: comma-separated indexes, so that a restart gives none out twice.
ALTER TABLE change ADD COLUMN devices TEXT NOT NULL DEFAULT '';
