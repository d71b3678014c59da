-- The UEFI variables that instances of an image begin with: a store as the firmware keeps it, compressed by zlib.
CREATE TABLE image_variables (
    image       TEXT PRIMARY KEY REFERENCES images,
    store       BLOB NOT NULL
) STRICT;
