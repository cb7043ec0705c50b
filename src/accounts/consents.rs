//! What people let apps have, taken back.

use time::OffsetDateTime;

use crate::db::{self, Transaction};
use crate::events::Event;
use crate::protocol::ids::{ClientId, UserId};

/// Withdraws a consent: what the app had of this person ends at once, the app is told for each session it had a part in,
/// and the person is asked again next time. `false`: there was no such consent.
pub async fn withdraw_consent(
    tx: &mut Transaction,
    user_id: UserId,
    client_id: &ClientId,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    // With whatever else ends something of this person's; issuing takes no lock of the account.
    db::users::lock_live(tx, user_id).await?;
    let Some(sessions) = db::consents::withdraw(tx, user_id, client_id, now).await? else {
        return Ok(false);
    };
    let revoked = Event::ConsentRevoked {
        user_id,
        client_id: client_id.clone(),
    };
    db::events::emit(tx, &[revoked], now).await?;
    db::deliveries::enqueue_logout_at_client(tx, client_id, user_id, &sessions, now).await?;
    Ok(true)
}

/// Forgets what was consented to since an identity came to the account by a merge that turned out to be wrong, or that is
/// taken away: nobody can tell who did it, and the account's owner is only asked once more.
pub async fn forget_consents_since(
    tx: &mut Transaction,
    user_id: UserId,
    since: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let clients = db::consents::forget_given_since(tx, user_id, since).await?;
    let events: Vec<Event> = clients
        .into_iter()
        .map(|client_id| Event::ConsentRevoked { user_id, client_id })
        .collect();
    db::events::emit(tx, &events, now).await
}
