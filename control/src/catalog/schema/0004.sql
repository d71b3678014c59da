-- What was found on the root disk of an image. Nothing of it is known of images that were registered before.
ALTER TABLE images ADD COLUMN partition_table TEXT CHECK (partition_table IN ('none', 'mbr', 'gpt'));
ALTER TABLE images ADD COLUMN platform TEXT CHECK (platform IN ('windows'));
ALTER TABLE images ADD COLUMN system_name TEXT;
ALTER TABLE images ADD COLUMN system_id TEXT;
ALTER TABLE images ADD COLUMN system_version TEXT;
