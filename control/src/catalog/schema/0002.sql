-- The pages that an instance's memory is made of; those of older instances are what the kernel finds.
ALTER TABLE instances ADD COLUMN huge_pages TEXT NOT NULL DEFAULT 'transparent'
    CHECK (huge_pages IN ('off', 'transparent', '2M', '1G'));
