-- The identity provider of an organisation; lists are JSON, the secret is encrypted.
CREATE TABLE org_sso (
    org_id text PRIMARY KEY REFERENCES organizations (id),
    enabled bigint NOT NULL CHECK (enabled IN (0, 1)),
    issuer text NOT NULL,
    client_id text NOT NULL,
    client_secret text,
    redirect_url text NOT NULL,
    scopes text NOT NULL,
    auto_provision bigint NOT NULL CHECK (auto_provision IN (0, 1)),
    default_role text NOT NULL,
    group_sync bigint NOT NULL CHECK (group_sync IN (0, 1)),
    group_claim text NOT NULL,
    group_rules text NOT NULL,
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL
);

-- A mail domain has one organisation to whose provider its people are sent.
CREATE TABLE sso_domains (
    domain text PRIMARY KEY,
    org_id text NOT NULL REFERENCES org_sso (org_id) ON DELETE CASCADE
);
CREATE INDEX sso_domains_org ON sso_domains (org_id);

-- Who somebody is at a provider; what one provider says counts for no other one. '' is the installation's.
CREATE TABLE sso_identities (
    provider text NOT NULL,
    issuer text NOT NULL,
    subject text NOT NULL,
    user_id text NOT NULL REFERENCES users (id),
    created_at_ms bigint NOT NULL,
    seen_at_ms bigint NOT NULL,
    PRIMARY KEY (provider, issuer, subject)
);
CREATE INDEX sso_identities_user ON sso_identities (user_id);

-- Memberships that groups gave, and that go with the group.
CREATE TABLE sso_teams (
    team_id text NOT NULL,
    user_id text NOT NULL,
    PRIMARY KEY (team_id, user_id),
    FOREIGN KEY (team_id, user_id) REFERENCES team_memberships (team_id, user_id) ON DELETE CASCADE
);

-- Digests of sign-ons that came back, so that none does twice.
CREATE TABLE sso_used (
    state text PRIMARY KEY,
    expires_at_ms bigint NOT NULL
);
CREATE INDEX sso_used_expiry ON sso_used (expires_at_ms);

CREATE TABLE invites (
    id text PRIMARY KEY,
    org_id text NOT NULL REFERENCES organizations (id),
    email text NOT NULL,
    role text NOT NULL CHECK (role IN ('member', 'org_admin')),
    hash text NOT NULL UNIQUE CHECK (length(hash) = 64),
    hint text NOT NULL,
    created_by text,
    created_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL,
    redeemed_at_ms bigint,
    redeemed_by text,
    revoked_at_ms bigint
);
CREATE INDEX invites_org ON invites (org_id, id);
CREATE UNIQUE INDEX invites_open ON invites (org_id, email) WHERE redeemed_at_ms IS NULL AND revoked_at_ms IS NULL;
