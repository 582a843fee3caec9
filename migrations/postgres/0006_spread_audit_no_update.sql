CREATE FUNCTION refuse_change_of_audit() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$;

CREATE TRIGGER spread_audit_no_update BEFORE UPDATE ON spread_audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit();
