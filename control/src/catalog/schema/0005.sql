-- What the user of an instance has it told, as it is; nothing of older ones.
ALTER TABLE instances ADD COLUMN user_data BLOB;
