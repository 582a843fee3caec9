CREATE TRIGGER spread_audit_no_delete BEFORE DELETE OR TRUNCATE ON spread_audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit();
