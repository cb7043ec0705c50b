//! `GET /metrics`, in Prometheus' text format, for whoever shows the token if one is configured.

use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::ExposeSecret as _;
use time::OffsetDateTime;

use crate::db::{self, Pool};
use crate::error::{AppError, ErrorBody};
use crate::http::state::AppState;
use crate::metrics::key_age::{self, KeyDates};
use crate::metrics::{Asked, Counted, DatabaseConnections, KeyAge};

/// How long the database may take; without its answer the rest is told.
const BUDGET: Duration = Duration::from_secs(1);
/// Of the text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The route, if there is one on this listener. `own_listener`: the one of `metrics.listen`.
pub fn routes(state: &AppState, own_listener: bool) -> Router<AppState> {
    let config = &state.config.metrics;
    if config.enabled && config.listen.is_some() == own_listener {
        Router::new().route("/metrics", get(metrics))
    } else {
        Router::new()
    }
}

/// Figures in Prometheus' text format; with `metrics.bearer_token`, for whoever shows it.
#[utoipa::path(get, path = "/metrics", tag = "operation", operation_id = "metrics",
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "Prometheus' text format"),
        (status = 401, body = ErrorBody, description = "A token is configured and was not shown"),
    ))]
pub async fn metrics(State(state): State<AppState>, headers: HeaderMap) -> Response {
    if !may_read(&state, &headers) {
        let mut refusal = AppError::new(
            StatusCode::UNAUTHORIZED,
            "invalid_token",
            "show the token of metrics.bearer_token",
        )
        .into_response();
        refusal
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return refusal;
    }
    let now = state.clock.now();
    let counting = state.clone();
    let counted = state
        .metrics
        .counted(now, async move { count(&counting, now).await })
        .await;
    let text = state.metrics.render(&Asked {
        active_sessions: counted.active_sessions,
        key_ages: key_ages(&state, &counted, now),
        database: Some(connections(&state.db)),
    });
    let headers = [
        (header::CONTENT_TYPE, CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}

/// Whether the request shows the token, in the one way that scrapers know (RFC 6750 §2.1). Digests are compared, so that
/// the time tells nothing, not even a length.
fn may_read(state: &AppState, headers: &HeaderMap) -> bool {
    let Some(expected) = &state.config.metrics.bearer_token else {
        return true;
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Some((scheme, token)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return false;
    };
    let digest = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    scheme.eq_ignore_ascii_case("Bearer")
        && constant_time::verify_slices_are_equal(
            digest(token.trim_matches(' ')).as_ref(),
            digest(expected.expose_secret()).as_ref(),
        )
        .is_ok()
}

async fn count(state: &AppState, now: OffsetDateTime) -> Counted {
    let counted = tokio::time::timeout(BUDGET, ask(state, now)).await;
    match counted {
        Ok(Ok(counted)) => counted,
        Ok(Err(error)) => {
            tracing::warn!(error = %error, "the metrics are told without what the database knows");
            Counted::default()
        }
        Err(_) => {
            tracing::warn!("the metrics are told without what the database knows: it does not answer");
            Counted::default()
        }
    }
}

async fn ask(state: &AppState, now: OffsetDateTime) -> sqlx::Result<Counted> {
    let db = &state.background_db;
    let active_sessions = db::sessions::count_active(db, now).await?;
    let keys = db::signing_keys::list(db).await?;
    let first_signed_at = keys
        .into_iter()
        .filter_map(|key| Some((key.kid, key.first_signed_at?)));
    Ok(Counted {
        active_sessions: Some(active_sessions),
        first_signed_at: first_signed_at.collect(),
    })
}

/// What the pool says of itself, without asking the database.
fn connections(pool: &Pool) -> DatabaseConnections {
    let idle = pool.idle();
    DatabaseConnections {
        // Two readings: one may have come back in between.
        in_use: pool.size().saturating_sub(idle),
        idle,
        max: pool.max_connections(),
    }
}

/// The ages of the keys that are published now, as far as they are known.
fn key_ages(state: &AppState, counted: &Counted, now: OffsetDateTime) -> Vec<KeyAge> {
    let keys = state.keys.current();
    let age = |key: &crate::jwt::KeyEntry| {
        let recorded = counted.first_signed_at.iter().find(|(kid, _)| kid == key.kid());
        let since = key_age::in_use_since(&KeyDates {
            kid: key.kid(),
            signs_from: key.signs_from(),
            first_signed_at: recorded.map(|(_, at)| *at),
            file_modified_at: key.file_modified_at(),
        })?;
        Some(KeyAge {
            kid: key.kid().to_owned(),
            age: (now - since).max(time::Duration::ZERO),
        })
    };
    keys.entries().iter().filter_map(age).collect()
}
