-- What is due is looked up all the time.
CREATE INDEX scheduled_spreads_due ON scheduled_spreads (state, effective_from);
