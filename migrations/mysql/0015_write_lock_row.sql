INSERT INTO write_lock (id) VALUES (1);
