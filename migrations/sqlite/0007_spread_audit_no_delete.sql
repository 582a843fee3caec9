CREATE TRIGGER spread_audit_no_delete BEFORE DELETE ON spread_audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
