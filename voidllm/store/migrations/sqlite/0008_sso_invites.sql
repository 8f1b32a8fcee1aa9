-- The identity provider of an organisation; lists are JSON, the secret is encrypted.
CREATE TABLE org_sso (
    org_id TEXT PRIMARY KEY REFERENCES organizations (id),
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    issuer TEXT NOT NULL,
    client_id TEXT NOT NULL,
    client_secret TEXT,
    redirect_url TEXT NOT NULL,
    scopes TEXT NOT NULL,
    auto_provision INTEGER NOT NULL CHECK (auto_provision IN (0, 1)),
    default_role TEXT NOT NULL,
    group_sync INTEGER NOT NULL CHECK (group_sync IN (0, 1)),
    group_claim TEXT NOT NULL,
    group_rules TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

-- A mail domain has one organisation to whose provider its people are sent.
CREATE TABLE sso_domains (
    domain TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES org_sso (org_id) ON DELETE CASCADE
) STRICT;
CREATE INDEX sso_domains_org ON sso_domains (org_id);

-- Who somebody is at a provider; what one provider says counts for no other one. '' is the installation's.
CREATE TABLE sso_identities (
    provider TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    created_at_ms INTEGER NOT NULL,
    seen_at_ms INTEGER NOT NULL,
    PRIMARY KEY (provider, issuer, subject)
) STRICT;
CREATE INDEX sso_identities_user ON sso_identities (user_id);

-- Memberships that groups gave, and that go with the group.
CREATE TABLE sso_teams (
    team_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (team_id, user_id),
    FOREIGN KEY (team_id, user_id) REFERENCES team_memberships (team_id, user_id) ON DELETE CASCADE
) STRICT;

-- Digests of sign-ons that came back, so that none does twice.
CREATE TABLE sso_used (
    state TEXT PRIMARY KEY,
    expires_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX sso_used_expiry ON sso_used (expires_at_ms);

CREATE TABLE invites (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organizations (id),
    email TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('member', 'org_admin')),
    hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 64),
    hint TEXT NOT NULL,
    created_by TEXT,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    redeemed_at_ms INTEGER,
    redeemed_by TEXT,
    revoked_at_ms INTEGER
) STRICT;
CREATE INDEX invites_org ON invites (org_id, id);
CREATE UNIQUE INDEX invites_open ON invites (org_id, email) WHERE redeemed_at_ms IS NULL AND revoked_at_ms IS NULL;
