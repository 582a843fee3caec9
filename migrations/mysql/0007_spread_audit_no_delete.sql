CREATE TRIGGER spread_audit_no_delete BEFORE DELETE ON spread_audit FOR EACH ROW
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the audit log is append-only';
