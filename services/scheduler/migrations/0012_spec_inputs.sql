-- Who refers to the artefacts that a specification names (see inputs.py); empty: nobody, or as it was before each set of
-- artefacts was referred to once.
ALTER TABLE spec ADD COLUMN inputs TEXT NOT NULL DEFAULT '';

CREATE INDEX spec_by_inputs ON spec (inputs) WHERE inputs <> '';
