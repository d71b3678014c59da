-- The first schema. Times are milliseconds since 1970, sizes are bytes, states are EC2's words.
-- Every row of a thing carries region, host (or the location of its bytes) and owner.

CREATE TABLE accounts (
    id          TEXT PRIMARY KEY,               -- 12 digits
    name        TEXT NOT NULL UNIQUE,
    alias       TEXT UNIQUE,                    -- 'kiln' for what comes with Kiln
    created     INTEGER NOT NULL
) STRICT;

CREATE TABLE hosts (
    id          TEXT PRIMARY KEY,
    created     INTEGER NOT NULL
) STRICT;

-- Work in progress: what it is about and how far it is, so that it can be finished or undone.
CREATE TABLE operations (
    id          TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    region      TEXT NOT NULL,
    host        TEXT NOT NULL REFERENCES hosts,
    owner       TEXT NOT NULL REFERENCES accounts,
    step        TEXT NOT NULL,
    payload     TEXT NOT NULL,                  -- JSON, by kind
    created     INTEGER NOT NULL
) STRICT;

-- A qcow2 file of the store. `state`: creating (its file may not be there, or not whole), writing, sealed,
-- deleting (its file may be gone).
CREATE TABLE layers (
    id          TEXT PRIMARY KEY,
    region      TEXT NOT NULL,
    location    TEXT NOT NULL,                  -- the host whose disk has the file
    owner       TEXT NOT NULL REFERENCES accounts,
    parent      TEXT REFERENCES layers,
    depth       INTEGER NOT NULL CHECK (depth BETWEEN 1 AND 256),
    size        INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('creating', 'writing', 'sealed', 'deleting')),
    operation   TEXT REFERENCES operations,     -- whose work keeps it alive while nothing else names it
    digest      TEXT,
    created     INTEGER NOT NULL
) STRICT;
CREATE INDEX layers_parent ON layers (parent);

CREATE TABLE snapshots (
    id          TEXT PRIMARY KEY,
    region      TEXT NOT NULL,
    location    TEXT NOT NULL,
    owner       TEXT NOT NULL REFERENCES accounts,
    state       TEXT NOT NULL CHECK (state IN ('pending', 'completed', 'error')),
    layer       TEXT REFERENCES layers,         -- the top layer; set when completed
    volume      TEXT NOT NULL,                  -- the volume may be gone
    size        INTEGER NOT NULL,
    description TEXT NOT NULL,
    started     INTEGER NOT NULL
) STRICT;
CREATE INDEX snapshots_layer ON snapshots (layer);

CREATE TABLE images (
    id          TEXT PRIMARY KEY,
    region      TEXT NOT NULL,
    location    TEXT NOT NULL,
    owner       TEXT NOT NULL REFERENCES accounts,
    name        TEXT NOT NULL,
    description TEXT,
    state       TEXT NOT NULL CHECK (state IN ('pending', 'available', 'failed', 'disabled', 'deregistered')),
    reason_code TEXT,
    reason      TEXT,
    architecture        TEXT NOT NULL,
    virtualization      TEXT NOT NULL CHECK (virtualization IN ('paravirtual', 'hvm')),
    boot_mode           TEXT,
    root_device         TEXT NOT NULL,
    source_instance     TEXT,
    created             INTEGER NOT NULL,
    deregistered        INTEGER
) STRICT;
CREATE UNIQUE INDEX images_name ON images (region, owner, name) WHERE state NOT IN ('deregistered', 'failed');

CREATE TABLE image_devices (
    image       TEXT NOT NULL REFERENCES images,
    position    INTEGER NOT NULL,               -- 0 is the root
    device      TEXT NOT NULL,
    snapshot    TEXT NOT NULL,                  -- may be deleted once the image is deregistered
    size        INTEGER NOT NULL,
    delete_on_termination INTEGER NOT NULL,
    PRIMARY KEY (image, position),
    UNIQUE (image, device)
) STRICT;
CREATE INDEX image_devices_snapshot ON image_devices (snapshot);

CREATE TABLE reservations (
    id          TEXT PRIMARY KEY,
    region      TEXT NOT NULL,
    owner       TEXT NOT NULL REFERENCES accounts,
    client_token TEXT,
    parameters  TEXT NOT NULL,                  -- what the token was used with
    created     INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX reservations_token ON reservations (region, owner, client_token) WHERE client_token IS NOT NULL;

CREATE TABLE instances (
    id          TEXT PRIMARY KEY,
    region      TEXT NOT NULL,
    host        TEXT NOT NULL REFERENCES hosts,
    owner       TEXT NOT NULL REFERENCES accounts,
    reservation TEXT NOT NULL REFERENCES reservations,
    launch_index INTEGER NOT NULL,
    image       TEXT NOT NULL REFERENCES images,
    type        TEXT NOT NULL,
    vcpus       INTEGER NOT NULL,
    memory      INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('pending', 'running', 'stopping', 'stopped', 'shutting-down', 'terminated')),
    reason_code TEXT,
    reason      TEXT,
    transition  TEXT NOT NULL DEFAULT '',
    virtualization TEXT NOT NULL,
    root_device TEXT NOT NULL,
    boot        TEXT NOT NULL,                  -- JSON: what is entered
    on_shutdown TEXT NOT NULL CHECK (on_shutdown IN ('stop', 'terminate')),
    operation   TEXT REFERENCES operations,     -- whose work it is in; one at a time
    launched    INTEGER NOT NULL,
    terminated  INTEGER
) STRICT;
CREATE INDEX instances_state ON instances (state);
CREATE INDEX instances_reservation ON instances (reservation);

CREATE TABLE volumes (
    id          TEXT PRIMARY KEY,
    region      TEXT NOT NULL,
    location    TEXT NOT NULL,
    owner       TEXT NOT NULL REFERENCES accounts,
    state       TEXT NOT NULL CHECK (state IN ('creating', 'available', 'in-use', 'deleting')),
    layer       TEXT NOT NULL REFERENCES layers,
    snapshot    TEXT,                           -- what it began as; may be gone
    size        INTEGER NOT NULL,
    instance    TEXT REFERENCES instances,
    position    INTEGER,                        -- 0 is the root
    device      TEXT,
    delete_on_termination INTEGER NOT NULL DEFAULT 0,
    attached    INTEGER,
    operation   TEXT REFERENCES operations,
    created     INTEGER NOT NULL,
    CHECK ((instance IS NULL) = (device IS NULL))
) STRICT;
CREATE UNIQUE INDEX volumes_device ON volumes (instance, device) WHERE instance IS NOT NULL;
CREATE INDEX volumes_layer ON volumes (layer);

CREATE TABLE tags (
    resource    TEXT NOT NULL,
    key         TEXT NOT NULL,
    value       TEXT NOT NULL,
    PRIMARY KEY (resource, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_value ON tags (key, value);
