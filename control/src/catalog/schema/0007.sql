-- The public keys by which users log in. A private key is in nobody's catalogue.
CREATE TABLE key_pairs (
    id          TEXT PRIMARY KEY,
    region      TEXT NOT NULL,
    owner       TEXT NOT NULL REFERENCES accounts,
    name        TEXT NOT NULL,
    public_key  TEXT NOT NULL,                  -- as a line of authorized_keys
    fingerprint TEXT NOT NULL,
    created     INTEGER NOT NULL,
    UNIQUE (region, owner, name)
) STRICT;

-- The key that an instance was launched with: it stays the instance's when the key pair is deleted.
ALTER TABLE instances ADD COLUMN key_name TEXT;
ALTER TABLE instances ADD COLUMN public_key TEXT;
