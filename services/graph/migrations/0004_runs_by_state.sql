-- Runs are listed by state too: those that failed are found among many that did not. Whoever wants all states asks for
-- one after the other.

DROP INDEX live_run;
DROP INDEX run_by_project;
DROP INDEX run_by_account;

CREATE INDEX run_by_state ON run (state, number);
CREATE INDEX run_by_project ON run (project, state, number);
CREATE INDEX run_by_account ON run (account, state, number);
