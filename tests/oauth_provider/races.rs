use super::*;

/// All answers to `count` refreshes at once, spread over both instances.
async fn race(apps: &[TestClient; 2], refresh_token: &str, count: usize) -> Vec<Answer> {
    let calls = (0..count).map(|i| {
        let (app, token) = (apps[i % 2].clone(), refresh_token.to_owned());
        tokio::spawn(async move { app.refresh(&token).await })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.unwrap());
    }
    answers
}

/// Racing tabs, lost answers, two servers: everybody gets the same successor, and the family has one live token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_refreshes_at_two_instances_all_get_the_same_successor() {
    let (op, app, ada) = start().await;
    let apps = [app.clone(), app.at(&op.second_instance().await)];
    let mut current = tokens(&app, &ada, "openid").await.refresh().to_owned();
    for round in 0..100 {
        let answers = race(&apps, &current, 20).await;
        let next = answers[0].tokens().refresh().to_owned();
        for answer in &answers {
            assert_eq!(answer.tokens().refresh(), next, "round {round}");
        }
        assert_eq!(count(&op, LIVE_REFRESH_TOKENS).await, 1, "round {round}");
        current = next;
    }
}

/// With leeway 0 one use succeeds, the others are reuse, and the family ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_leeway_exactly_one_racing_refresh_succeeds() {
    let (op, _, ada) = start().await;
    let app = op
        .client_with(|client| client.refresh_reuse_leeway_secs = Some(0))
        .await;
    let apps = [app.clone(), app.at(&op.second_instance().await)];
    for round in 0..20 {
        let first = tokens(&app, &ada, "openid").await;
        let answers = race(&apps, first.refresh(), 10).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!(won.len(), 1, "round {round}");
        for answer in lost {
            answer.refused("invalid_grant");
        }
        app.refresh(won[0].tokens().refresh())
            .await
            .refused("invalid_grant");
        assert_eq!(count(&op, LIVE_REFRESH_TOKENS).await, 0, "round {round}");
    }
}

/// Security rule RT-3: no token survives a revocation that has been answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_refresh_survives_a_revocation_that_races_it() {
    let (op, app, ada) = start().await;
    for _ in 0..20 {
        let first = tokens(&app, &ada, "openid").await;
        let (racing, token) = (app.clone(), first.refresh().to_owned());
        let refresh = tokio::spawn(async move { racing.refresh(&token).await });
        app.revoke(first.refresh()).await.is(200);
        if let Ok(answer) = refresh.await
            && answer.status == 200
        {
            app.refresh(answer.tokens().refresh())
                .await
                .refused("invalid_grant");
        }
        assert_eq!(count(&op, LIVE_REFRESH_TOKENS).await, 0);
    }
}
