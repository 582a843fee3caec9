-- Why, in the words of who changed it; null for none given.
ALTER TABLE spread_audit ADD COLUMN reason TEXT;
