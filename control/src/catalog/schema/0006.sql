-- What an instance is run as, where that is not Linux or another Unix; nothing of older ones.
ALTER TABLE instances ADD COLUMN platform TEXT CHECK (platform IN ('windows'));
