//! The whole database as texts, so that a test can say that nothing has changed.

use riley_auth::db::Pool;
use sqlx::AssertSqlSafe;

/// What every request with a session moves: when the session was last used, and how long it lasts from then.
pub(crate) const LAST_SEEN: &[&str] = &["sessions.last_used_at", "sessions.expires_at"];

/// Every row of every table that the catalogue names, without the columns in `but` (`table.column`, or `table` alone for one
/// that does not matter as a whole).
pub(crate) async fn all_rows(db: &Pool, but: &[&str]) -> Vec<String> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, string_agg(table_name || '.' || column_name, ' ')
         FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
         WHERE table_schema = 'public' AND table_type = 'BASE TABLE' GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(db)
    .await
    .expect("the catalogue can be read");
    for name in but {
        let is_there = columns
            .iter()
            .any(|(table, columns)| table == name || columns.split(' ').any(|column| column == *name));
        assert!(is_there, "there is no {name}");
    }
    let mut rows = Vec::new();
    for (table, _) in columns.iter().filter(|(table, _)| !but.contains(&table.as_str())) {
        let left_out: Vec<String> = but
            .iter()
            .filter_map(|name| name.strip_prefix(&format!("{table}.")))
            .map(str::to_owned)
            .collect();
        let sql =
            format!("SELECT '{table} ' || (to_jsonb(row) - $1::text[])::text FROM {table} row ORDER BY 1");
        let found: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(left_out)
            .fetch_all(db)
            .await
            .expect("a table can be read");
        rows.extend(found);
    }
    rows
}
