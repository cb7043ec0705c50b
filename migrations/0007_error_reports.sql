-- What `riley-auth explain` shows for the id on an error page: nothing personal, seven days, ten thousand at most.
CREATE TABLE error_reports (
    error_id   text        PRIMARY KEY,
    report     jsonb       NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX error_reports_created_at ON error_reports (created_at);
