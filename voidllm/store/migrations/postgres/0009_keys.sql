-- Who made an alias, and when; 0 and NULL where nobody noted it.
ALTER TABLE model_aliases ADD COLUMN created_at_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE model_aliases ADD COLUMN created_by text;
-- The key that a rotation put in the place of one: a key is rotated once.
ALTER TABLE api_keys ADD COLUMN replaced_by text;
