-- Artefacts that go along with a message: JSON, [[name, digest, bytes], …]; empty: none.
ALTER TABLE message ADD COLUMN outputs TEXT NOT NULL DEFAULT '';
