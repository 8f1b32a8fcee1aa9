-- Whose doing it was and what was done to a thing are asked for on their own; both newest first.
CREATE INDEX audit_log_actor ON audit_log (actor_id, seq);
CREATE INDEX audit_log_resource ON audit_log (resource_id, seq);
